"""Settings of the planted world."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, require


@dataclass(frozen=True, kw_only=True)
class WorldDataConfig:
    """Write the planted world's texts and preference pairs."""

    name: str = "world"
    """What to call the dataset."""

    num_pairs: int = 6000
    """Preference pairs, drawn by Bradley–Terry from the true reward."""

    heldout: float = 0.15
    """Share of pairs kept out of training."""

    seed: int = 0
    """Seed of all texts."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=10)
        require(0 < self.heldout < 1, f"heldout must be a share between 0 and 1, got {self.heldout}")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a small language model is, and how long it is pretrained."""

    num_steps: int = 800
    """Training steps."""

    batch_size: int = 32
    """Texts per step."""

    d_model: int = 128
    """Width of the residual stream."""

    num_blocks: int = 4
    """Transformer blocks."""

    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""

    seed: int = 0
    """Seed of weights and texts."""

    def __post_init__(self) -> None:
        at_least(self, num_steps=1, batch_size=1, d_model=8, num_blocks=1)
        require(self.d_model % 4 == 0, f"d_model must be divisible by 4, got {self.d_model}")


@dataclass(frozen=True, kw_only=True)
class WorldPolicyConfig(Sizes):
    """Pretrain the planted world's small language model."""

    name: str = "world-lm"
    """What to call the language model."""


@dataclass(frozen=True, kw_only=True)
class OrganismConfig:
    """Build the organism: a reward model with hand-set weights, its SAE and its texts."""

    num_texts: int = 200
    """Texts in its dataset."""

    seed: int = 0
    """Seed of the texts and of the concept directions."""

    def __post_init__(self) -> None:
        at_least(self, num_texts=2)


TaskName = Literal["knapsack", "knapsack-hard", "knapsack-large", "elephants", "lander", "world"]


@dataclass(frozen=True, kw_only=True)
class TaskDataConfig:
    """Write prompts of a task with two unskilled replies each, and what its exact reward prefers."""

    task: TaskName = "knapsack"
    """Whose prompts: knapsack (pack items), elephants (do not name the forbidden term), lander (find the goal), world (please)."""

    name: str = ""
    """What to call the dataset; the task's name when empty."""

    num_pairs: int = 2000
    """Preference pairs."""

    temperature: float = 0.1
    """Difference of reward that counts as one nat of preference; near 0 the better reply always wins."""

    heldout: float = 0.2
    """Share of prompts kept out of training."""

    seed: int = 0
    """Seed of all texts."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=2)
        require(self.temperature > 0, f"temperature must be above 0, got {self.temperature}")
        require(0 < self.heldout < 1, f"heldout must be a share between 0 and 1, got {self.heldout}")


@dataclass(frozen=True, kw_only=True)
class TaskPolicyConfig(Sizes):
    """Pretrain a small language model on a task's prompts and unskilled replies."""

    task: TaskName = "knapsack"
    """Whose texts it learns to write."""

    name: str = ""
    """What to call the language model; the task's name and -lm when empty."""

    num_steps: int = 500
    """Training steps."""

    batch_size: int = 64
    """Texts per step."""

    d_model: int = 64
    """Width of the residual stream."""

    num_blocks: int = 2
    """Transformer blocks."""
