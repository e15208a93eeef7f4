"""Settings of the pink-elephant data."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.asking import AskedModel, check_asked
from rmviz.configs.base import at_least, ceiling, often, parent, require

Maker = Literal["world", "transformers", "openai"]


@dataclass(frozen=True, kw_only=True)
class PinkElephantsConfig:
    """Write preference pairs that teach not to name a forbidden term.

    Topics, pairs of terms, plans, conversations that drift to the forbidden term and ask for it, critiques, revisions of the
    last turn.
    """

    name: str = "pink-elephants"
    """What to call the dataset."""

    maker: Maker = often("world")
    """What writes: world (the grammar of the task elephants), or a language model on this machine or on a server."""

    policy: str = parent("policy", external=True, optional=True)
    """The language model: a policy of the workspace, a folder or a hub id, or the name of a model on the server. With maker
    world, the policy that writes the replies that are revised; the grammar's unskilled writer when empty."""

    server: str = ""
    """Address of the openai server, as in http://127.0.0.1:8000/v1; its key is read from OPENAI_API_KEY."""

    max_requests: int = ceiling(0)
    """Ask the server at most this often in all, retries and earlier tries of the job included; 0: as often as needed. A job
    that stops there goes on when it is given more."""

    topics: str = ""
    """Topics with commas between them, as in `wines, cities`; those of the task elephants when empty."""

    pairs_per_topic: int = 16
    """Pairs of terms that are asked for on each topic: the forbidden one and its alternative."""

    plans_per_pair: int = 4
    """Plans of conversations for each pair of terms."""

    num_conversations: int = often(2000)
    """Conversations, dealt evenly to the plans. Only those whose reply names the forbidden term become preference pairs."""

    temperature: float = 1.0
    """Temperature of the language model."""

    max_new_tokens: int = 256
    """Tokens of an answer at most."""

    heldout: float = 0.1
    """Share of prompts kept out of training."""

    shard_size: int = 256
    """Conversations that are written together."""

    seed: int = 0
    """Seed of all answers."""

    def __post_init__(self) -> None:
        at_least(self, pairs_per_topic=1, plans_per_pair=1, num_conversations=1, shard_size=1)
        require(0 < self.heldout < 1, f"heldout must be a share between 0 and 1, got {self.heldout}")
        require(not self.topics.strip() or bool(topic_list(self.topics)), f"topics name nothing, got {self.topics!r}")
        check_asked(self)

    @property
    def asked(self) -> AskedModel | Literal[""]:
        """Which kind of language model is asked; empty where there is none."""
        if self.maker != "world":
            return self.maker
        return "transformers" if self.policy else ""


def topic_list(text: str) -> tuple[str, ...]:
    """The topics in a list with commas, each once."""
    return tuple(dict.fromkeys(" ".join(one.split()) for one in text.split(",") if one.strip()))
