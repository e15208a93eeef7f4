"""Settings of the crosscoder."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, parent
from rmviz.configs.sae import SAEConfig


@dataclass(frozen=True, kw_only=True)
class CrosscoderConfig:
    """Train one dictionary on two reward models at once: which features both have, which only one, and what they do."""

    first: str = parent("reward_model")
    """Id or name of the first reward model (A)."""

    second: str = parent("reward_model")
    """Id or name of the second (B): same architecture, tokenizer and format."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose texts both models read."""

    hookpoint: str = ""
    """Residual stream after a block of both, written layers.L; a third of the depth when empty."""

    name: str = ""
    """What to call the crosscoder."""

    d_sae: int = 2048
    """Number of features that the models share."""

    k: int = 32
    """Features active per token, on average."""

    num_tokens: int = 2_000_000
    """Pairs of activations to train on; texts are read again when they run out."""

    batch_size: int = 2048
    """Pairs of activations per step."""

    learning_rate: float = 3e-3
    """Peak learning rate of Adam."""

    normalize: Literal["whiten", "center"] = "whiten"
    """What is done to each model's activations, apart from the other's, so that decoder norms compare."""

    aux_coefficient: float = 1 / 32
    """Weight of the loss that revives dead features (0: none)."""

    dead_after: int = 200_000
    """A feature silent for this many tokens counts as dead."""

    split: Literal["train", "all"] = "train"
    """Texts to train on."""

    num_train_pairs: int = 0
    """Pairs (or texts) to train on; 0 takes all. Fewer cost less to read, and are read again more often."""

    num_pairs: int = 250
    """Held-out pairs (or texts) on which features are switched off in both models; 0 takes all."""

    shard_size: int = 64
    """Texts per shard: what is lost at most when the scan is interrupted."""

    max_tokens: int = 8192
    """Tokens in memory at once; lower it when memory runs out."""

    num_resamples: int = 1000
    """Bootstrap resamples behind the intervals of effects."""

    seed: int = 0
    """Seed of the initial weights, of the order of activations and of the resamples."""

    def __post_init__(self) -> None:
        at_least(self, num_pairs=0, num_train_pairs=0, shard_size=1, max_tokens=1, num_resamples=1)
        self.training()

    def training(self) -> SAEConfig:
        """The same as settings of an SAE on both models' activations side by side.

        Raises:
            ConfigError: A setting is out of range.
        """
        shared = ("dataset", "hookpoint", "d_sae", "k", "num_tokens", "batch_size", "learning_rate", "normalize",
                  "aux_coefficient", "dead_after", "split", "seed")  # fmt: skip
        return SAEConfig(model=self.first, architecture="batchtopk", **{name: getattr(self, name) for name in shared})
