"""A crosscoder in training, and beside it the same on one model twice: what decoder norms differ by where nothing does."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.configs.sae import SAEConfig
from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.train import make_trainer
from rmviz.sae.trainer import StepFigures, Trainer

_NULL = "null."


class CrosscoderTrainer:
    """A BatchTopK crosscoder, and its null: a second one of another seed that sees the first model on both sides.

    A crosscoder with a shared code is an SAE on both models' activations side by side: one encoder and one decoder for
    each half. Each decoder row has norm 1 over both halves, so an activation weighs as much as what it adds to both
    reconstructions, and what fires is chosen by that. BatchTopK has no L1 penalty, which would shrink the shorter half
    to 0 and make features look exclusive that are not.

    Source: Lindsey et al. 2024, Sparse Crosscoders; Minder et al. 2025 (arXiv:2504.02922), section 3, for BatchTopK.
    """

    def __init__(self, config: SAEConfig, *, mean: Float[Tensor, " both"], **settings: Any) -> None:
        """Start both with random decoders."""
        self._main = make_trainer(config, mean=mean, **settings)
        half = mean[: len(mean) // 2]
        other = SAEConfig(**{**vars(config), "seed": config.seed + 1})
        self._null = make_trainer(other, mean=torch.cat([half, half]), **settings)

    @property
    def null(self) -> Trainer:
        """The one that sees the first model twice."""
        return self._null

    def step(self, x: Float[Tensor, "row both"], learning_rate: float) -> StepFigures:
        """One step of each; figures of the crosscoder."""
        half = x[:, : x.shape[1] // 2]
        self._null.step(torch.cat([half, half], dim=1), learning_rate)
        return self._main.step(x, learning_rate)

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Features of the crosscoder that have been silent for too long."""
        return self._main.dead()

    def state(self) -> dict[str, Tensor]:
        """The crosscoder's state, and its null's under names of their own."""
        return self._main.state() | {f"{_NULL}{name}": tensor for name, tensor in self._null.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        self._main.load_state({name: tensor for name, tensor in state.items() if not name.startswith(_NULL)})
        self._null.load_state(
            {name.removeprefix(_NULL): tensor for name, tensor in state.items() if name.startswith(_NULL)}
        )

    def result(self) -> SparseAutoencoder:
        """The crosscoder as an SAE on both models' activations side by side."""
        return self._main.result()
