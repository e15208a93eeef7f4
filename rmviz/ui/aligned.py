"""Several readings of a text on one axis: tokenizers and formats differ, so tokens are placed by characters of the reply."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmviz.backend.wire import ReadText


@dataclass(frozen=True)
class Shared:
    """What two texts begin with alike: so many tokens, up to this character of the reply (negative: in the prompt)."""

    num_tokens: int
    until: int


def ends(answer: ReadText, reply: str) -> list[int]:
    """Character of the reply at which each token ends, 0 where the reply begins; tokens of the prompt are below 0.

    The tokens that are text join to what the model read, so the reply is found in it by its letters, whatever the format
    writes around it, and of a text that was cut by its end. Special tokens end where the token before them ends.
    """
    pieces = [token if real else "" for token, real in zip(answer.tokens, answer.feature_positions, strict=True)]
    whole = "".join(pieces)
    start = _reply_at(whole, reply, len("".join(pieces[: answer.reply_start])))
    found, end = [], 0
    for piece in pieces:
        end += len(piece)
        found.append(end - start)
    return found


def shared_start(answers: Sequence[ReadText], replies: Sequence[str]) -> Shared | None:
    """What two texts read by one model begin with alike; None where nothing is shared."""
    first, second = answers
    pairs = enumerate(zip(first.tokens, second.tokens, strict=False))
    shortest = min(len(first.tokens), len(second.tokens))
    number = next((i for i, (one, other) in pairs if one != other), shortest)
    if not any(first.feature_positions[:number]):
        return None
    return Shared(number, ends(first, replies[0])[number - 1])


def _reply_at(whole: str, reply: str, otherwise: int) -> int:
    for wanted in (reply, reply.strip()):
        if wanted and (found := whole.rfind(wanted)) >= 0:
            return found - (len(reply) - len(reply.lstrip()) if wanted != reply else 0)
    if whole and reply.endswith(whole):  # the reply itself was cut
        return len(whole) - len(reply)
    return otherwise
