"""Settings of the effect scan and of the feature index made from it."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, parent


@dataclass(frozen=True, kw_only=True)
class EffectsConfig:
    """Ablate every alive feature of an SAE on every text of a dataset, exactly."""

    sae: str = parent("sae")
    """Id or name of the SAE."""

    dataset: str = parent("dataset")
    """Id or name of the dataset to scan."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset to scan."""

    num_pairs: int = 500
    """Pairs (or texts, where the data has no pairs) to scan; 0 takes all."""

    shard_size: int = 64
    """Texts per shard: what is lost at most when a scan is interrupted."""

    max_tokens: int = 8192
    """Tokens rerun at once; lower it when memory runs out."""

    num_resamples: int = 1000
    """Bootstrap resamples behind each interval."""

    seed: int = 0
    """Seed of the sample of pairs and of the bootstrap."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=0, shard_size=1, max_tokens=1, num_resamples=1)


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """Prepare each feature's page: examples over its activation range, tokens, neighbours, projection."""

    effects: str = parent("effects")
    """Id or name of the effects."""

    name: str = ""
    """What to call the result."""

    num_bins: int = 10
    """Quantile bins of activation that examples are drawn from."""

    per_bin: int = 2
    """Examples drawn from each bin."""

    context: int = 24
    """Tokens shown on each side of the strongest firing."""

    num_neighbours: int = 10
    """Nearest features kept per feature."""

    seed: int = 0
    """Seed of the sample of examples and of the projection."""

    def __post_init__(self) -> None:
        at_least(self, num_bins=1, per_bin=1, context=1, num_neighbours=1)
