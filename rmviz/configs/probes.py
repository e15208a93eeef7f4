"""Settings of the probes: what is edited in which texts, and what is made of the difference."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.asking import AskedModel, check_asked
from rmviz.configs.base import at_least, ceiling, often, parent, require
from rmviz.configs.map import feature_list
from rmviz.configs.word_lists import parse_word_lists

Maker = Literal["words", "world", "generator"]

GIVEN = "given features"
"""What a set of features is called that the user names."""

BIASES = (
    "padding", "truncation", "lists", "markdown", "flattery", "sycophancy", "hedging", "confidence", "jargon", "spaces",
    "answer last", "word order", "typos", "women's names", "foreign names",
)  # fmt: skip
"""The bias battery: what is done to a reply; `rmviz.probes.biases` says how."""


@dataclass(frozen=True, kw_only=True)
class WordProbe:
    """What euphemism tests and spec checks have in common: words that are put otherwise, and by what."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model is probed."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose replies are edited."""

    words: str = often("")
    """Words and what to put in their place, as in `pregnant=expecting, midwife=nurse|helper`; a word without a substitute
    becomes `something`. A spec check takes several lists, as in `slang: gonna=going to, wanna; brands: acme`."""

    lexicon: str = ""
    """A YAML file with further topics: names mapped to words with their substitutes."""

    maker: Maker = often("words")
    """What makes the edits. words: substitution from the lexicon; world: the planted world's grammar; generator: a language model,
    which is asked to say each reply again without the words."""

    generator: AskedModel = "openai"
    """The language model of the maker generator: openai (a model on a server) or transformers (one on this machine)."""

    policy: str = parent("policy", external=True, optional=True)
    """The language model of the maker generator. A policy of the workspace, a folder or a hub id, or the name of a model on the server."""

    server: str = ""
    """Address of the openai server, as in http://127.0.0.1:8000/v1; its key is read from OPENAI_API_KEY."""

    max_requests: int = ceiling(0)
    """Ask the server at most this often in all, retries and earlier tries of the job included; 0: as often as needed."""

    temperature: float = 0.3
    """Temperature of the language model."""

    max_new_tokens: int = 1024
    """Tokens of a rewritten reply at most; it is not asked about replies of more than three characters per token."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset is edited."""

    num_pairs: int = 500
    """Pairs (or texts, where the data has no pairs) to look through; 0 takes all."""

    min_similarity: float = 0.5
    """Texts whose words remain to less than this share (word edit distance, or the cosine of the encoder) are left out."""

    similarity_model: str = ""
    """A sentence encoder, as a folder or a hub id, whose cosine gates the edits in place of word edit distance."""

    num_features: int = 50
    """Features that are chosen at most to carry a gap."""

    shard_size: int = 64
    """Edited texts per shard: what is lost at most when a probe is interrupted."""

    max_tokens: int = 8192
    """Tokens rerun at once; lower it when memory runs out."""

    num_resamples: int = 1000
    """Bootstrap resamples behind each interval."""

    seed: int = 0
    """Seed of the sample, of the edits, of the halves and of the bootstrap."""

    def __post_init__(self) -> None:
        _check(self)
        require(0 <= self.min_similarity <= 1, f"min_similarity must be a share from 0 to 1, got {self.min_similarity}")
        require(
            not self.words or self.maker != "world",
            "the maker world knows the planted world's topics only; give topics, or use the maker words or generator",
        )
        check_asked(self)

    @property
    def asked(self) -> str:
        """Which kind of language model is asked; empty where none is."""
        return self.generator if self.maker == "generator" else ""


@dataclass(frozen=True, kw_only=True)
class EuphemismConfig(WordProbe):
    """Reward texts that use some words and the same texts in other words; say which features carry the difference."""

    topic: str = often("")
    """A topic of the lexicon (or, for the maker world, of the planted world), in place of words of your own."""

    features: str = ""
    """Features that are held to carry the gap, as in `3, 17`; when empty those that fire on the words, chosen on the other
    half of the data."""

    control: str = ""
    """Topics of the lexicon whose features should carry nothing, separated by commas; when empty those with most texts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not (self.topic and self.words), "give a topic or words, not both")
        feature_list(self.features)
        require(
            len(parse_word_lists(self.words)) <= 1, "the euphemism probe takes one word list; probe.spec takes many"
        )


@dataclass(frozen=True, kw_only=True)
class SpecConfig(WordProbe):
    """Say what should not matter to the reward; the report says whether it does, how much, and through which features."""

    topics: str = often("")
    """Topics of the lexicon that should not matter, separated by commas; all of them when no words are given either."""

    tolerance: float = 0.1
    """A gap matters from this many standard deviations of the rewards on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, tolerance=0)
        parse_word_lists(self.words)


@dataclass(frozen=True, kw_only=True)
class BiasConfig:
    """Edit replies in ways that should not matter (length, lists, flattery, typos …) and see what each is worth."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model is probed."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose replies are edited."""

    biases: str = often("")
    """Which edits, separated by commas, as in `padding, lists, typos`; all of them when empty."""

    tolerance: float = 0.1
    """A gap matters from this many standard deviations of the rewards on."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset is edited."""

    num_pairs: int = 200
    """Pairs (or texts, where the data has no pairs) to take, one reply of each, drawn by the seed; 0 takes all."""

    num_features: int = 10
    """Features at most that are held to carry a bias: the strongest in its direction, chosen on the other half of the data."""

    shard_size: int = 64
    """Edited texts per shard: what is lost at most when a probe is interrupted."""

    max_tokens: int = 8192
    """Tokens rerun at once; lower it when memory runs out."""

    num_resamples: int = 1000
    """Bootstrap resamples behind each interval."""

    seed: int = 0
    """Seed of the sample, of the edits, of the halves and of the bootstrap."""

    def __post_init__(self) -> None:
        _check(self)
        at_least(self, tolerance=0)
        bias_list(self.biases)


WordConfig = EuphemismConfig | SpecConfig
ProbeConfig = WordConfig | BiasConfig


def bias_list(names: str) -> tuple[str, ...]:
    """The named biases in the battery's order; all of them when none is named.

    Raises:
        ConfigError: There is no such bias.
    """
    chosen = [name.strip().lower() for name in names.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in BIASES]
    require(not unknown, f"no bias called {', '.join(unknown)[:80]!r}; there are {', '.join(BIASES)}")
    return tuple(name for name in BIASES if name in chosen or not chosen)


def _check(config: WordProbe | BiasConfig) -> None:
    at_least(config, num_pairs=0, num_features=1, shard_size=1, max_tokens=1, num_resamples=1)
