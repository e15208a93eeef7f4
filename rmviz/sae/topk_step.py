"""The TopK and BatchTopK training step: one matrix product, then only the rows of features that fire.

A dense step costs five products of (batch, d_in) with (d_in, d_sae). Here one is left, the encoder's; the decoder and
all gradients read and write the active rows alone, through embedding-bag kernels.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rmviz.sae.rows import bag_dots, bag_sums, top_entries

_SPARE = 1 / 4  # further candidates that a bfloat16 encoder offers, so that the exact top k is among them


@dataclass
class TopKWeights:
    """`x_hat = sum of top-k(relu((x - b_dec) . W_enc[f] + b_enc[f])) * W_dec[f] + b_dec`; both matrices are (d_sae, d_in)."""

    W_enc: Float[Tensor, "d_sae d_in"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]

    def tensors(self) -> list[Tensor]:
        """The weights, in the order of `Gradients.tensors`."""
        return [self.W_enc, self.b_enc, self.W_dec, self.b_dec]


@dataclass
class Places:
    """Chosen entries of the matrix of activations, row by row."""

    features: Int[Tensor, " entry"]
    rows: Int[Tensor, " entry"]
    starts: Int[Tensor, " row"]
    """Where the entries of each row begin."""


@dataclass
class Active(Places):
    """Chosen entries with their activations."""

    values: Float[Tensor, " entry"]


@dataclass
class Forward:
    """What one batch gives."""

    pre_acts: Float[Tensor, "row d_sae"]
    """Rounded to bfloat16 where the encoder ran so; overwritten by the next batch."""
    active: Active
    error: Float[Tensor, "row d_in"]
    """Reconstruction minus input."""


class Encoder:
    """The encoder's matrix product into one kept buffer, and the choice of the active entries.

    Args:
        k: Entries per row; on average over the batch when `batchwise`.
        batchwise: BatchTopK, the largest `k * rows` entries of the whole batch.
        bfloat16: Whether candidates are found by a bfloat16 product. Their values are always computed in float32.
    """

    def __init__(self, k: int, *, batchwise: bool = False, bfloat16: bool = False) -> None:
        self.k = k
        self.batchwise = batchwise
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32
        self._buffer = torch.empty(0)

    def pre_acts(self, weights: TopKWeights, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_sae"]:
        """Pre-activations of all features, in a buffer that the next call overwrites."""
        shape = (len(x), len(weights.W_enc))
        if self._buffer.shape != shape or self._buffer.device != x.device:
            self._buffer = torch.empty(shape, dtype=self.dtype, device=x.device)
        return torch.addmm(
            _shift(weights).to(self.dtype), x.to(self.dtype), weights.W_enc.to(self.dtype).t(), out=self._buffer
        )

    def active(
        self, weights: TopKWeights, x: Float[Tensor, "row d_in"], pre_acts: Float[Tensor, "row d_sae"]
    ) -> Active:
        """The entries that fire."""
        if self.batchwise:
            return self._active_of_batch(weights, x, pre_acts)
        if self.dtype == torch.float32:
            values, features = top_entries(pre_acts, self.k)
        else:
            candidates = top_entries(pre_acts, min(self.k + max(4, int(self.k * _SPARE)), pre_acts.shape[1]))[1]
            values, chosen = (
                exact_pre_acts(weights, x, _places(candidates)).view_as(candidates).topk(self.k, sorted=False)
            )
            features = candidates.gather(1, chosen)
        return Active(**vars(_places(features)), values=values.relu().reshape(-1))

    def _active_of_batch(self, weights: TopKWeights, x: Tensor, pre_acts: Tensor) -> Active:
        num_rows, d_sae = pre_acts.shape
        flat = top_entries(pre_acts.view(1, -1), self.k * num_rows)[1][0].sort().values
        rows = flat // d_sae
        return _active(weights, x, Places(flat - rows * d_sae, rows, _starts(rows, num_rows)))


def exact_pre_acts(weights: TopKWeights, x: Float[Tensor, "row d_in"], places: Places) -> Float[Tensor, " entry"]:
    """Float32 pre-activations of the chosen entries."""
    return bag_dots(x, weights.W_enc, places.features, places.starts, places.rows) + _shift(weights)[places.features]


def forward(weights: TopKWeights, encoder: Encoder, x: Float[Tensor, "row d_in"]) -> Forward:
    """Activations and error of a batch."""
    pre_acts = encoder.pre_acts(weights, x)
    active = encoder.active(weights, x, pre_acts)
    error = bag_sums(weights.W_dec, active.features, active.starts, active.values).add_(weights.b_dec).sub_(x)
    return Forward(pre_acts, active, error)


def aux_active(
    weights: TopKWeights,
    x: Float[Tensor, "row d_in"],
    pre_acts: Float[Tensor, "row d_sae"],
    dead: Int[Tensor, " dead"],
    k: int,
) -> Active:
    """The k strongest dead features of each row, as if the living were not there.

    Source: AuxK, Gao et al. 2024, appendix A.2 (arXiv:2406.04093).
    """
    return _active(weights, x, _places(dead[top_entries(pre_acts[:, dead], min(k, len(dead)))[1]]))


def gradients(
    weights: TopKWeights, x: Float[Tensor, "row d_in"], parts: list[tuple[Active, Float[Tensor, "row d_in"]]]
) -> TopKWeights:
    """Gradients of the weights, given for each set of active entries the gradient of its reconstruction.

    The first part's reconstruction includes b_dec; further parts (the auxiliary loss) do not.
    """
    d_sae = len(weights.W_enc)
    features, rows, grad_acts, acts, sources = [], [], [], [], []
    for number, (active, grad) in enumerate(parts):
        on = active.values > 0
        grad_acts.append(bag_dots(grad, weights.W_dec, active.features, active.starts, active.rows).mul_(on))
        features.append(active.features)
        rows.append(active.rows)
        acts.append(active.values)
        sources.append(active.rows + number * len(x))
    order = torch.cat(features).argsort(stable=True)
    by_feature = torch.cat(features)[order]
    starts = _starts(by_feature, d_sae)
    grad_pre = torch.cat(grad_acts)[order]
    output_grads = parts[0][1] if len(parts) == 1 else torch.cat([grad for _, grad in parts])
    W_dec = bag_sums(output_grads, torch.cat(sources)[order], starts, torch.cat(acts)[order])
    W_enc = bag_sums(x, torch.cat(rows)[order], starts, grad_pre)
    b_enc = torch.zeros_like(weights.b_enc).index_add_(0, by_feature, grad_pre)
    # x enters the encoder as x - b_dec
    W_enc.addr_(b_enc, weights.b_dec, alpha=-1)
    b_dec = parts[0][1].sum(0) - b_enc @ weights.W_enc
    return TopKWeights(W_enc, b_enc, W_dec, b_dec)


def fired(active: Active, d_sae: int) -> Bool[Tensor, " d_sae"]:
    """Which features have an activation above 0."""
    return torch.zeros(d_sae, dtype=torch.bool, device=active.values.device).index_fill_(
        0, active.features[active.values > 0], True
    )


def _shift(weights: TopKWeights) -> Tensor:
    return weights.b_enc - weights.W_enc @ weights.b_dec


def _active(weights: TopKWeights, x: Tensor, places: Places) -> Active:
    return Active(**vars(places), values=exact_pre_acts(weights, x, places).relu())


def _places(features: Int[Tensor, "row k"]) -> Places:
    starts, rows = _regular(*features.shape, features.device)
    return Places(features.reshape(-1), rows, starts)


@lru_cache(maxsize=8)
def _regular(num_rows: int, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.arange(0, num_rows * k, k, device=device), torch.arange(num_rows, device=device).repeat_interleave(k)


def _starts(numbers: Int[Tensor, " entry"], total: int) -> Int[Tensor, " total"]:
    counts = torch.bincount(numbers, minlength=total)
    return counts.cumsum(0) - counts
