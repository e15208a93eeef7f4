"""Settings of the jobs that train several reward models on the same preferences."""

from dataclasses import dataclass

from rmviz.configs.base import at_least, often, parent
from rmviz.configs.models import RewardConfig


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(RewardConfig):
    """Train an ensemble of reward models, each its own seed and draw of pairs: their mean less λ times their disagreement."""

    num_members: int = 4
    """Reward models in it; their seeds follow one another."""

    penalty: float = often(1.0)
    """λ: standard deviations of the members that are taken off their mean reward; 0 takes the mean."""

    other: str = parent("dataset", optional=True)
    """Id or name of a dataset unlike the training data, on which disagreement is measured too; when empty, the held-out
    replies with their words in random order."""

    name: str = ""
    """What to call the ensemble; its members are numbered."""

    num_pairs: int = 0
    """Each member trains on at most this many pairs, drawn by its own seed; 0 takes all."""

    resample: bool = True
    """Whether each member draws its training pairs anew with replacement (a bootstrap); else members that train on all
    pairs differ by their seed alone."""

    num_checkpoints: int = 1
    """Checkpoints of each member kept as reward models of their own, evenly spaced; the last is the member."""

    seed: int = 0
    """Seed of the first member: of its head, its draw, the order of pairs and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_members=2, penalty=0)
