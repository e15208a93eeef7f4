"""Settings of the jobs that ask a language model."""

import re
from typing import Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

from rmviz.configs.base import require
from rmviz.errors import ConfigError

AskedModel = Literal["transformers", "openai"]
"""A language model on this machine, or on any server that speaks the OpenAI protocol."""


@runtime_checkable
class Asks(Protocol):
    """What a config says of the language model that it asks."""

    @property
    def asked(self) -> str:
        """Which kind of language model is asked, as in `AskedModel`; empty where none is."""
        ...

    @property
    def policy(self) -> str:
        """A policy of the workspace, a folder or a hub id, or the name of a model on the server."""
        ...

    @property
    def server(self) -> str:
        """Address of the openai server."""
        ...

    @property
    def max_requests(self) -> int:
        """Requests to the server at most; 0 sets no bound."""
        ...

    @property
    def temperature(self) -> float:
        """Of the sampling."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Tokens of an answer at most."""
        ...


def check_asked(config: Asks) -> None:
    """Check what is said of the language model.

    Raises:
        ConfigError: It is asked and not named, its server is no address, or a number is out of range.
    """
    require(config.max_requests >= 0, f"max_requests must be at least 0, got {config.max_requests}")
    require(config.max_new_tokens >= 1, f"max_new_tokens must be at least 1, got {config.max_new_tokens}")
    require(config.temperature > 0, f"temperature must be above 0, got {config.temperature}")
    require(not config.asked or bool(config.policy), f"{config.asked} needs policy, the language model")
    if config.asked == "openai":
        check_server(config.server)


def check_server(server: str) -> None:
    """Check the address of a server.

    Raises:
        ConfigError: It is no http address, or it names a user: configs are kept and shown, and a key has its own place.
    """
    try:
        url = urlsplit(server)
        host, _ = url.hostname or "", url.port
    except ValueError:  # a port that is no number, an open bracket
        raise ConfigError(_no_address(server)) from None
    require("@" not in server, "server must be named without user and password; its key is read from OPENAI_API_KEY")
    good = (
        url.scheme in ("http", "https")
        and re.fullmatch(r"[\w.:-]*\w[\w.:-]*", host)
        and not (url.query or url.fragment)
    )
    require(bool(good) and not re.search(r"\s", server), _no_address(server))


def _no_address(server: str) -> str:
    shown = server.rpartition("@")[2]  # without a password
    return f"server must be an http address like http://localhost:8000/v1, got {shown[:80]!r}"
