"""Settings of the jobs that ask a language model."""

from typing import Literal, Protocol, runtime_checkable

from rmviz.configs.base import require

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
    require(
        config.asked != "openai" or config.server.startswith(("http://", "https://")),
        f"server must be an http address, got {config.server[:80]!r}",
    )
