"""What every SAE trainer offers to the training loop, and the one for TopK and BatchTopK."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.rows import bag_sums
from rmviz.sae.topk_step import Encoder, TopKWeights, aux_active, fired, forward, gradients

_BETAS = (0.5, 0.95)  # a feature fires in few rows: a longer memory keeps pushing it by stale gradients
_ENCODER_SCALE = 0.6  # at first many features overlap, and a full-size encoder would overshoot
_THRESHOLD_RATE = 0.1


@dataclass
class StepFigures:
    """One training step in numbers; tensors, so that nothing waits for the device."""

    loss: Float[Tensor, ""]
    squared_error: Float[Tensor, ""]
    """Sum over the batch."""
    num_active: Float[Tensor, ""]
    """Entries above 0, summed over the batch."""


@runtime_checkable
class Trainer(Protocol):
    """An SAE in training, on activations that are already normalised."""

    def step(self, x: Float[Tensor, "row d_in"], learning_rate: float) -> StepFigures:
        """Take one gradient step on a batch."""
        ...

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Features silent for longer than allowed."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later as if nothing had happened."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        ...

    def result(self) -> SparseAutoencoder:
        """The SAE as it stands, in the units of the activations it is trained on."""
        ...


class TopKTrainer:
    """TopK or BatchTopK by rmviz's own step, with fused Adam, unit-norm decoder rows and AuxK.

    Args:
        d_in: Width of the activations.
        d_sae: Number of features.
        k: Active features per row (BatchTopK: on average).
        mean: Initial b_dec.
        batchwise: Train BatchTopK; the result is a JumpReLU SAE with the mean of the smallest activation as its threshold.
        aux_coefficient: Weight of the AuxK loss relative to FVU.
        dead_after: Rows of silence after which a feature is dead.
        seed: Of the initial decoder; the encoder starts as its transpose, made smaller.
        bfloat16: Whether the encoder looks for candidates in bfloat16; where that is quick, when None.
    """

    def __init__(
        self, *, d_in: int, d_sae: int, k: int, mean: Float[Tensor, " d_in"] | None = None, batchwise: bool = False,
        aux_coefficient: float = 1 / 32, dead_after: int = 200_000, seed: int = 0, device: torch.device | str = "cpu",
        bfloat16: bool | None = None,
    ) -> None:  # fmt: skip
        device = torch.device(device)
        W_dec = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed))
        W_dec /= W_dec.norm(dim=1, keepdim=True)
        b_dec = torch.zeros(d_in) if mean is None else mean.clone().float()
        self.weights = TopKWeights(
            *(tensor.to(device) for tensor in (_ENCODER_SCALE * W_dec, torch.zeros(d_sae), W_dec, b_dec))
        )
        self._parameters = [torch.nn.Parameter(tensor) for tensor in self.weights.tensors()]
        self._adam = torch.optim.Adam(self._parameters, betas=_BETAS, fused=True)
        self._encoder = Encoder(
            k, batchwise=batchwise, bfloat16=_bfloat16_is_quick(device) if bfloat16 is None else bfloat16
        )
        self._aux_coefficient = aux_coefficient
        self._dead_after = dead_after
        self._silent_for = torch.zeros(d_sae, dtype=torch.long, device=device)
        self._threshold = torch.zeros((), dtype=torch.float64, device=device)
        self._num_steps = 0

    @torch.no_grad()
    def step(self, x: Float[Tensor, "row d_in"], learning_rate: float) -> StepFigures:
        """Take one gradient step on a batch; the loss is the mean squared error of a row, plus AuxK while features are dead."""
        weights = self.weights
        done = forward(weights, self._encoder, x)
        squared_error = done.error.square().sum()
        loss = squared_error / len(x)
        parts = [(done.active, done.error * (2 / len(x)))]
        may_be_dead = self._aux_coefficient and self._num_steps * len(x) > self._dead_after
        if may_be_dead and len(dead := self.dead().nonzero()[:, 0]):
            aux = aux_active(weights, x, done.pre_acts, dead, self._encoder.k)
            aux_error = bag_sums(weights.W_dec, aux.features, aux.starts, aux.values).add_(done.error)
            scale = self._aux_coefficient * x.var(0).sum() / loss.clamp(min=1e-12)
            loss = loss + scale * aux_error.square().sum() / len(x)
            parts.append((aux, aux_error * (scale * 2 / len(x))))
        self._update(gradients(weights, x, parts), learning_rate)
        self._silent_for += len(x)
        self._silent_for[fired(done.active, len(weights.W_dec))] = 0
        if self._encoder.batchwise:
            self._follow_threshold(done.active.values)
        self._num_steps += 1
        return StepFigures(loss, squared_error, (done.active.values > 0).sum().float())

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Features silent for longer than allowed."""
        return self._silent_for > self._dead_after

    def state(self) -> dict[str, Tensor]:
        """Weights, Adam's moments, silences and threshold."""
        state = {
            "silent_for": self._silent_for,
            "threshold": self._threshold,
            "num_steps": torch.tensor(self._num_steps),
        }
        for number, parameter in enumerate(self._parameters):
            state[f"weights.{number}"] = parameter.data
            state |= {f"adam.{number}.{name}": value for name, value in self._adam.state[parameter].items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        for number, parameter in enumerate(self._parameters):
            parameter.data.copy_(state[f"weights.{number}"])
            names = [name for name in state if name.startswith(f"adam.{number}.")]
            self._adam.state[parameter] = {
                name.split(".")[2]: state[name].clone().to(parameter.device) for name in names
            }
        self._silent_for.copy_(state["silent_for"])
        self._threshold.copy_(state["threshold"])
        self._num_steps = int(state["num_steps"])

    def result(self) -> SparseAutoencoder:
        """A topk SAE, or a jumprelu SAE with the learnt threshold."""
        W_enc, b_enc, W_dec, b_dec = (tensor.clone() for tensor in self.weights.tensors())
        batchwise = self._encoder.batchwise
        return SparseAutoencoder(
            architecture="jumprelu" if batchwise else "topk", W_enc=W_enc.t().contiguous(), W_dec=W_dec, b_dec=b_dec, b_enc=b_enc,
            k=None if batchwise else self._encoder.k, threshold=torch.full_like(b_enc, float(self._threshold)) if batchwise else None,
        )  # fmt: skip

    def _update(self, grads: TopKWeights, learning_rate: float) -> None:
        W_dec = self.weights.W_dec
        # decoder rows stay at norm 1, so the part of the gradient along them would only disturb Adam's scales
        grads.W_dec.addcmul_((grads.W_dec * W_dec).sum(1, keepdim=True), W_dec, value=-1)
        for parameter, grad in zip(self._parameters, grads.tensors(), strict=True):
            parameter.grad = grad
        self._adam.param_groups[0]["lr"] = learning_rate
        self._adam.step()
        W_dec.div_(W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12))

    def _follow_threshold(self, values: Tensor) -> None:
        smallest = torch.where(values > 0, values, torch.inf).min().double()
        rate = max(_THRESHOLD_RATE, 1 / (self._num_steps + 1))
        self._threshold.add_(torch.where(smallest.isfinite(), smallest - self._threshold, 0.0), alpha=rate)


def _bfloat16_is_quick(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return any(torch.cpu.get_capabilities().get(name) for name in ("amx_bf16", "avx512_bf16"))
