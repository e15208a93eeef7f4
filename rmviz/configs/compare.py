"""Settings of the comparison of reward models."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, parent, parent_list, require

ON_COMPARE = ("models", "crosscoder")
"""What the figure `what` says of the comparisons that the Compare page shows; those of maps are on the Maps page."""

MOST_MODELS = 64
"""More lines or bars than this no figure can show."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare reward models, or the steps of one training, on the same preference pairs."""

    models: str = parent_list("reward_model")
    """Ids or names of reward models, as in `rm-a, rm-b`; the first is what the others are held against. One name alone
    stands for all kept steps of the training that made it."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose pairs are scored."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset to score."""

    num_pairs: int = 2000
    """Pairs to score; 0 takes all."""

    num_bins: int = 10
    """Bins of the calibration curve, with equally many pairs in each."""

    effects: str = parent_list("effects", optional=True)
    """Ids or names of effects, at most one per model, as in `effects-a, effects-b`: their features are matched, and how
    their effects moved is shown."""

    num_matched_texts: int = 256
    """Texts on whose tokens the features are matched."""

    shard_size: int = 256
    """Pairs per shard: what is lost at most when the job is interrupted."""

    max_tokens: int = 8192
    """Tokens scored at once; lower it when memory runs out."""

    seed: int = 0
    """Seed of the sample of pairs and of the resamples behind the intervals."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=0, num_bins=1, num_matched_texts=1, shard_size=1, max_tokens=1, seed=0)
        require(bool(names_of(self.models)), "models must name reward models, as in `rm-a, rm-b`, got nothing")
        require(
            len(names_of(self.models)) <= MOST_MODELS,
            f"at most {MOST_MODELS} models are compared at once, got {len(names_of(self.models))}",
        )


def names_of(text: str) -> tuple[str, ...]:
    """The names in `rm-a, rm-b`, in order."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
