"""What the client writes and reads: requests checked before they are sent, answers and errors made ours again."""

import hashlib
from typing import TypeVar

import httpx
from pydantic import ValidationError

from rmviz import errors
from rmviz.backend import wire
from rmviz.backend.process import Address
from rmviz.backend.wire_pair import PairIn
from rmviz.errors import BackendError, ConfigError, DataError
from rmviz.types import Pair, Text

AnyText = Text | wire.TextIn | str
AnyPair = Pair | PairIn

_A = TypeVar("_A", bound=wire.Answer)
_R = TypeVar("_R", bound=wire.Request)
_KINDS: dict[str, type[errors.RmvizError]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), wire.ReplacedError)
    if isinstance(kind, type) and issubclass(kind, errors.RmvizError)
}


def headers(address: Address, view: str = "") -> dict[str, str]:
    """The token, what the body is, and whose session this is: replicas keep one session together."""
    session = view.partition("/")[0].encode("utf-8", "replace")
    own = {"X-Session-Id": hashlib.sha256(session).hexdigest()[:16]} if session else {}
    return {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json", **own}


def is_lost(response: httpx.Response) -> bool:
    """Whether no backend has answered, but what stands before it: its replica died, or is not there yet."""
    if response.status_code not in (500, 502, 503, 504):
        return False
    try:
        wire.Problem.model_validate_json(response.content)
    except ValidationError:
        return True
    return False


def text_in(text: AnyText) -> wire.TextIn:
    """A text as it is sent.

    Raises:
        DataError: It is too long.
    """
    try:
        return wire.TextIn.of(text)
    except ValidationError as error:
        raise DataError(_sentence(error)) from error


def pair_in(pair: AnyPair) -> PairIn:
    """A pair as it is sent.

    Raises:
        DataError: A text of it is too long.
    """
    if isinstance(pair, PairIn):
        return pair
    try:
        return PairIn(prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected)
    except ValidationError as error:
        raise DataError(_sentence(error)) from error


def checked(kind: type[_R], **values: object) -> _R:
    """A request that keeps its bounds.

    Raises:
        ConfigError: A value is out of them.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    return wire.words_of(error.errors(include_url=False, include_input=False, include_context=False))


def read(response: httpx.Response, answer: type[_A]) -> _A:
    """The answer, or the error that the backend raised, raised again."""
    try:
        if response.status_code == 200:
            return answer.model_validate_json(response.content)
        problem = wire.Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise BackendError(
            f"what answered with status {response.status_code} at {response.url} is no backend of this rmviz; "
            "stop it, or check RMVIZ_BACKEND"
        ) from error
    raise _KINDS.get(problem.error, BackendError)(problem.message)


def words_of(error: Exception | None) -> str:
    """Why there was no answer; None where there was one that asks for the token."""
    return (str(error) or type(error).__name__) if error is not None else "it refuses the token"
