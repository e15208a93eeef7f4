"""A sparse autoencoder as the rest of rmviz uses it: sparse activations in model units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rmviz.errors import ModelError
from rmviz.models.reward_model import RewardModel
from rmviz.sae.rows import top_entries

_CHUNK = 2**24  # dense pre-activations made at once: 64 MB

DenseEncoder = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Residuals (row, d_in) to dense feature activations, the scale of each row (row, 1), and its bias (row, d_in)."""


@dataclass
class SparseActs:
    """Which features fire on each row and how strongly; a value of 0 marks an unused place."""

    indices: Int[Tensor, "row active"]
    values: Float[Tensor, "row active"]
    bias: Float[Tensor, "row d_in"] | None = None
    """What is added to each row's reconstruction in place of `b_dec`; only for SAEs that normalise each row."""


@dataclass
class SparseAutoencoder:
    """An SAE on one hookpoint; `activation * W_dec[feature]` is what a feature adds to the residual, in model units.

    So the activations of an SAE that normalises each row carry that row's scale. Weights are float32, free of gradients.
    """

    architecture: str
    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    b_enc: Float[Tensor, " d_sae"]
    """Bias of the pre-activations; of the gate for gated SAEs."""
    k: int | None = None
    threshold: Float[Tensor, " d_sae"] | None = None
    """Pre-activations must exceed it (jumprelu)."""
    magnitude: tuple[Float[Tensor, " d_sae"], Float[Tensor, " d_sae"]] | None = None
    """Scale and bias that turn the gated pre-activation into a magnitude (gated)."""
    center: bool = True
    """Whether b_dec is subtracted before encoding."""
    dense_encoder: DenseEncoder | None = None
    """Set when SAELens itself must encode (run-time normalisation)."""
    hookpoint: str = ""
    model_fingerprint: str = ""
    report_card: dict[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def d_in(self) -> int:
        """Width of the residual stream."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_dec.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @torch.no_grad()
    def encode(self, h: Float[Tensor, "row d_in"]) -> SparseActs:
        """Feature activations of residuals; a dense (row, d_sae) matrix never exists for more than a slice of the rows."""
        step = max(1, _CHUNK // self.d_sae)
        parts = [self._encoded(rows.to(self.device, torch.float32)) for rows in h.split(step)]
        width = max((part.values.shape[1] for part in parts), default=0)
        biases = [part.bias for part in parts if part.bias is not None]
        return SparseActs(
            torch.cat([_widened(part.indices, width) for part in parts]),
            torch.cat([_widened(part.values, width) for part in parts]),
            torch.cat(biases) if biases else None,
        )

    @torch.no_grad()
    def decode(self, acts: SparseActs) -> Float[Tensor, "row d_in"]:
        """The reconstruction of the residuals that these activations came from."""
        bias = self.b_dec if acts.bias is None else acts.bias
        if not acts.indices.shape[1]:
            return bias.expand(len(acts.indices), -1).clone()
        return F.embedding_bag(acts.indices, self.W_dec, per_sample_weights=acts.values, mode="sum") + bias

    def check_fits(self, rm: RewardModel) -> None:
        """Nothing, if this SAE was made for this reward model.

        Raises:
            ModelError: Width, hookpoint or model differ; both sides are shown.
        """
        if self.d_in != rm.d_in:
            raise ModelError(
                f"the SAE reads activations of width {self.d_in}, but {rm.name} has width {rm.d_in}; "
                "choose the model it was trained on, or train an SAE on this one"
            )
        if self.hookpoint not in rm.hookpoints:
            raise ModelError(
                f"the SAE is for hookpoint {self.hookpoint or '(none)'!r}, but {rm.name} has {', '.join(rm.hookpoints)}"
            )
        if self.model_fingerprint and self.model_fingerprint != rm.fingerprint:
            raise ModelError(
                f"the SAE was trained on another model (fingerprint {self.model_fingerprint[:16]}) than {rm.name} "
                f"({rm.fingerprint[:16]}); choose the model it was trained on, or train an SAE on this one"
            )

    def to(self, device: torch.device | str) -> "SparseAutoencoder":
        """The same SAE with its weights on a device."""
        if torch.device(device) == self.device:
            return self
        moved = {
            name: value.to(device)
            for name in ("W_enc", "W_dec", "b_dec", "b_enc", "threshold")
            if (value := getattr(self, name)) is not None
        }
        if self.magnitude is not None:
            moved["magnitude"] = tuple(part.to(device) for part in self.magnitude)
        return replace(self, **moved)

    def _encoded(self, h: Tensor) -> SparseActs:
        if self.dense_encoder is not None:
            dense, scale, bias = self.dense_encoder(h)
            acts = _fired(dense * scale)
            return SparseActs(acts.indices, acts.values, bias)
        pre_acts = torch.addmm(self.b_enc, h - self.b_dec if self.center else h, self.W_enc)
        if self.k is not None:
            values, indices = top_entries(pre_acts, self.k)
            return SparseActs(indices, values.relu())
        if self.threshold is not None:
            return _fired(pre_acts.relu() * (pre_acts > self.threshold))
        if self.magnitude is not None:
            scale, bias = self.magnitude
            return _fired(((pre_acts - self.b_enc) * scale + bias).relu() * (pre_acts > 0))
        return _fired(pre_acts.relu_())


def _fired(dense: Tensor) -> SparseActs:
    width = int((dense != 0).sum(1).max()) if len(dense) else 0
    values, indices = dense.abs().topk(width, dim=1, sorted=False)
    return SparseActs(indices, dense.gather(1, indices) if width else values)


def _widened(part: Tensor, width: int) -> Tensor:
    return F.pad(part, (0, width - part.shape[1]))
