"""Sums and dot products over a few chosen rows of a matrix, and the exact top-k that chooses them.

All of it runs through the embedding-bag kernels, which read each chosen row once and write nothing dense.
A bag is a run of consecutive entries: bag b holds `entries[starts[b]:starts[b + 1]]`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_GROUP = 8
_FEW = 4  # with fewer groups than this for each entry wanted, one plain top-k is as quick


def top_entries(
    pre_acts: Float[Tensor, "row d_sae"], k: int
) -> tuple[Float[Tensor, "row {k}"], Int[Tensor, "row {k}"]]:
    """The k largest entries of each row, unsorted: first the k best groups of 8 strided columns, then their entries.

    The k largest entries lie in the k groups with the largest maxima, so this is exact.
    """
    num_rows, d_sae = pre_acts.shape
    num_groups = d_sae // _GROUP
    if d_sae % _GROUP or num_groups < _FEW * k:
        values, indices = pre_acts.topk(k, dim=-1, sorted=False)
        return values, indices
    groups = top_entries(pre_acts.view(num_rows, _GROUP, num_groups).amax(1), k)[1]
    strides = torch.arange(0, d_sae, num_groups, device=pre_acts.device)
    candidates = (groups.unsqueeze(-1) + strides).view(num_rows, k * _GROUP)
    values, places = pre_acts.gather(1, candidates).topk(k, dim=-1, sorted=False)
    return values, candidates.gather(1, places)


def bag_sums(
    rows: Float[Tensor, "total width"],
    entries: Int[Tensor, " entry"],
    starts: Int[Tensor, " bag"],
    weights: Float[Tensor, " entry"],
) -> Float[Tensor, "bag width"]:
    """For each bag, the sum of `weights[e] * rows[entries[e]]`."""
    return F.embedding_bag(entries, rows, starts, per_sample_weights=weights, mode="sum")


def bag_dots(
    left: Float[Tensor, "bag width"],
    rows: Float[Tensor, "total width"],
    entries: Int[Tensor, " entry"],
    starts: Int[Tensor, " bag"],
    bags: Int[Tensor, " entry"],
) -> Float[Tensor, " entry"]:
    """`left[bags[e]] . rows[entries[e]]` for each entry: the gradient of `bag_sums` in its weights."""
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(left, rows, entries, starts, bags, 0)
