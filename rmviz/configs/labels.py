"""Settings of the job that labels features."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.asking import check_asked
from rmviz.configs.base import at_least, ceiling, often, parent, require
from rmviz.configs.map import feature_list

Direction = Literal["", "raises", "lowers"]
DIRECTIONS: tuple[Direction, ...] = ("", "raises", "lowers")
"""What a label may claim of the reward where the feature fires; empty claims nothing."""


def direction_named(text: str) -> Direction:
    """The direction that a word stands for.

    Raises:
        ConfigError: It is neither raises nor lowers nor empty.
    """
    found: dict[str, Direction] = {one: one for one in DIRECTIONS}
    word = text.strip().casefold()
    require(word in found, f"direction must be raises, lowers or empty, got {text[:40]!r}")
    return found[word]


LONGEST_LABEL = 200
"""Characters of a label."""


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Label features, and score each label on texts kept aside: does it tell where the feature fires, and what it does?"""

    effects: str = parent("effects")
    """Id or name of the effects."""

    features: str = often("")
    """Features to label, as in `3, 17`; those with the largest mean effect, either way, when empty."""

    num_features: int = often(50)
    """How many are labelled when none are named."""

    labels: str = ""
    """Labels to score in place of new ones, as in `12: births and babies, lowers; 17: politics`."""

    proposer: Literal["words", "transformers", "openai"] = often("words")
    """What proposes: words (those it fires on, by log-odds), or a language model on this machine or on a server."""

    judge: Literal["words", "transformers", "openai"] = often("words")
    """What says from a label whether the feature fires on a text: words (the text holds one of the label's words), or a
    language model that is asked."""

    policy: str = parent("policy", external=True, optional=True)
    """The language model: a policy of the workspace, a folder or a hub id, or the name of a model on the server."""

    server: str = ""
    """Address of the openai server, as in http://127.0.0.1:8000/v1; its key is read from OPENAI_API_KEY."""

    max_requests: int = ceiling(0)
    """Ask the server at most this often in all, retries and earlier tries of the job included; 0: as often as needed. A job
    that stops there goes on when it is given more. Processes on Ray count together, to a few requests."""

    name: str = ""
    """What to call the result."""

    num_words: int = 8
    """Words in a label at most; how many is settled on the half of the texts that labels are made from."""

    num_examples: int = 12
    """Texts that a language model is shown per feature: as many silent ones as firing ones, over the range of activation."""

    num_texts: int = 50
    """Texts of each kind, firing and silent, that a label is scored on; fewer where there are not as many."""

    context: int = 20
    """Tokens that a language model is shown on each side of the strongest firing."""

    temperature: float = 0.3
    """Temperature of the language model."""

    max_new_tokens: int = 60
    """Tokens of a proposal at most."""

    shard_size: int = 10
    """Features per shard."""

    seed: int = 0
    """Seed of the halves, of the choice of texts and of the language model."""

    def __post_init__(self) -> None:
        at_least(self, num_features=1, num_words=1, num_examples=2, num_texts=1, context=1, shard_size=1)
        feature_list(self.features)
        given = given_labels(self.labels)
        require(not (given and self.features), "give features or labels, not both: labels name their features")
        asked = {self.judge} | (set() if given else {self.proposer})
        require(
            not {"transformers", "openai"} <= asked,
            "one language model proposes and judges: not transformers and openai",
        )
        check_asked(self)

    @property
    def asked(self) -> str:
        """Which kind of language model is asked, for proposals or as the judge; empty where none is."""
        used = [self.judge] if self.labels.strip() else [self.proposer, self.judge]
        return next((one for one in used if one != "words"), "")


def given_labels(text: str) -> dict[int, tuple[str, Direction]]:
    """Label and direction of each feature in `12: births and babies, lowers; 17: politics`.

    Raises:
        ConfigError: It is written otherwise.
    """
    found: dict[int, tuple[str, Direction]] = {}
    for part in filter(str.strip, text.split(";")):
        number, _, label = part.partition(":")
        direction: Direction = ""
        words, _, last = label.rpartition(",")
        if last.strip() in ("raises", "lowers"):
            label, direction = words, direction_named(last)
        require(
            number.strip().isdecimal() and bool(label.strip()),
            f"labels must be written as in `12: births and babies, lowers; 17: politics`, got {part.strip()[:80]!r}",
        )
        found[int(number)] = (" ".join(label.split())[:LONGEST_LABEL], direction)
    return found
