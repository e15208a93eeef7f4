"""Settings of SAE training."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, parent, require

Architecture = Literal["topk", "batchtopk", "jumprelu", "standard", "gated", "matryoshka_batchtopk"]


@dataclass(frozen=True, kw_only=True)
class SAEConfig:
    """Train a sparse autoencoder on one hookpoint of a reward model."""

    model: str = parent("reward_model")
    """Id or name of the reward model."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose texts feed the SAE."""

    hookpoint: str = ""
    """Residual stream after a block, written layers.L; a third of the depth when empty."""

    name: str = ""
    """What to call the SAE."""

    architecture: Architecture = "topk"
    """topk and batchtopk are trained by rmviz, the others by SAELens."""

    d_sae: int = 2048
    """Number of features."""

    k: int = 32
    """Features active per token (topk, batchtopk)."""

    num_tokens: int = 2_000_000
    """Activations to train on; texts are read again when they run out."""

    batch_size: int = 2048
    """Activations per step."""

    learning_rate: float = 3e-3
    """Peak learning rate of Adam."""

    l1_coefficient: float = 1.0
    """Weight of the sparsity penalty (standard, gated, jumprelu)."""

    normalize: Literal["whiten", "center", "none"] = "whiten"
    """What is done to activations before training; whitening makes features follow concepts rather than the few
    largest directions."""

    aux_coefficient: float = 1 / 32
    """Weight of the loss that revives dead features (0: none)."""

    dead_after: int = 200_000
    """A feature silent for this many tokens counts as dead."""

    split: Literal["train", "all"] = "train"
    """Texts to train on."""

    seed: int = 0
    """Seed of the initial weights and of the order of activations."""

    def __post_init__(self) -> None:
        at_least(
            self, d_sae=2, k=1, num_tokens=1, batch_size=1, l1_coefficient=0, aux_coefficient=0, dead_after=1, seed=0
        )
        require(self.k < self.d_sae, f"k must be below d_sae ({self.d_sae}), got {self.k}")
        require(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
