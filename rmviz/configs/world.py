"""Settings of the planted world."""

from dataclasses import dataclass

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
class WorldPolicyConfig:
    """Pretrain the planted world's small language model."""

    name: str = "world-lm"
    """What to call the language model."""

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
class OrganismConfig:
    """Build the organism: a reward model with hand-set weights, its SAE and its texts."""

    num_texts: int = 200
    """Texts in its dataset."""

    seed: int = 0
    """Seed of the texts and of the concept directions."""

    def __post_init__(self) -> None:
        at_least(self, num_texts=2)
