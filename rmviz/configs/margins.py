"""Settings of the probe of margins."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, parent


@dataclass(frozen=True, kw_only=True)
class MarginsConfig:
    """Say how much of the margins k features explain, and which features make the wrong pairs wrong."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model is probed."""

    dataset: str = parent("dataset")
    """Id or name of the dataset of preference pairs."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset is taken."""

    num_pairs: int = 500
    """Pairs to take; 0 takes all."""

    shard_size: int = 32
    """Pairs per shard: what is lost at most when a probe is interrupted."""

    max_tokens: int = 8192
    """Tokens rerun at once; lower it when memory runs out."""

    num_resamples: int = 1000
    """Bootstrap resamples behind each interval."""

    seed: int = 0
    """Seed of the sample, of the halves and of the bootstrap."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=0, shard_size=1, max_tokens=1, num_resamples=1)
