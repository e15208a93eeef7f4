"""Settings of the jobs that bring data in, or repair it."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, parent, require
from rmviz.configs.map import feature_list


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Read preference pairs (or texts) and keep them as a dataset."""

    source: str
    """A .jsonl, .jsonl.gz, .csv or .parquet file, a folder of such files, or a Hugging Face dataset id."""

    name: str = ""
    """What to call the dataset; the file's name when empty."""

    hub_split: str = "train"
    """Split to read from a hub dataset."""

    heldout: float = 0.1
    """Share of prompts kept out of all training; pairs with the same prompt stay together."""

    limit: int = 0
    """Read at most this many rows; 0 reads all."""

    seed: int = 0
    """Seed of the split."""

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "source must name a file, a folder or a hub dataset, got nothing")
        require(0 <= self.heldout < 1, f"heldout must be a share from 0 to below 1, got {self.heldout}")
        at_least(self, limit=0)


@dataclass(frozen=True, kw_only=True)
class RepairConfig:
    """Make a dataset without the pairs that some features decide, or with their labels flipped."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model says which pairs the features decide."""

    dataset: str = parent("dataset")
    """Id or name of the dataset to repair."""

    features: str = often("")
    """Features to undo, as in `3, 17`; all of them are off at once."""

    how: Literal["drop", "flip"] = often("drop")
    """drop leaves the pairs out, flip swaps chosen and rejected."""

    min_share: float = often(1.0)
    """Share of the margin that the features must carry: 1 takes the pairs whose margin is 0 or changes sign without them."""

    pairs: Literal["right", "both"] = often("right")
    """right takes pairs that the model ranks as they are labelled, through the features: labels that teach them. both also
    takes pairs that it ranks against their label through the features: labels that speak against them already."""

    name: str = ""
    """What to call the repaired dataset."""

    split: Literal["train", "heldout", "all"] = "train"
    """Which part is repaired; the other stays as it is, so that it measures models before and after alike."""

    retrain: bool = often(False)
    """Whether to train a reward model on the result afterwards, with the settings that the SAE's model was trained with."""

    shard_size: int = 256
    """Pairs per shard: what is lost at most when the job is interrupted."""

    max_tokens: int = 8192
    """Tokens rerun at once; lower it when memory runs out."""

    def __post_init__(self) -> None:
        feature_list(self.features)
        require(self.min_share > 0, f"min_share must be above 0, got {self.min_share}")
        at_least(self, shard_size=1, max_tokens=1)


@dataclass(frozen=True, kw_only=True)
class RatingsConfig:
    """Rate replies from many comparisons (Elo, Bradley–Terry), and make pairs with the difference of ratings as margin."""

    source: str = parent("dataset", external=True)
    """A dataset whose pairs share replies; or a file, a folder or a hub dataset of comparisons: columns item_a, item_b, winner
    (a, b or tie) and, where replies answer prompts, prompt."""

    name: str = ""
    """What to call the dataset; the source's name and -rated when empty."""

    pairs: Literal["compared", "all"] = often("compared")
    """compared makes a pair of every two replies that were compared, all of every two replies to a prompt."""

    least_gap: float = often(0.0)
    """Least difference of strengths of a pair, in nats (0.69 is odds of two to one); smaller ones are left out."""

    apart: bool = False
    """Whether to rate replies to one prompt that were never compared, directly or through others, on scales of their own."""

    prior: float = 5.0
    """Standard deviation of strengths expected beforehand, in nats; it keeps a reply that always wins finite."""

    heldout: float = 0.1
    """Share of prompts kept out of all training; pairs with the same prompt stay together."""

    seed: int = 0
    """Seed of the split."""

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "source must name a dataset, a file, a folder or a hub dataset, got nothing")
        require(0 <= self.heldout < 1, f"heldout must be a share from 0 to below 1, got {self.heldout}")
        require(
            0 < self.prior <= 1e4,
            f"prior must be above 0 and at most 10,000 nats, got {self.prior:g}; the default is 5",
        )
        at_least(self, least_gap=0)
