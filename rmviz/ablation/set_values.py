"""Features set to values: the sum of what they write at every position, as one direction more of the decoder."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Changes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one set: position, feature and change of the activation, sorted by position."""


def with_values(
    parts: Sequence[Changes],
    places: np.ndarray,
    values: Sequence[Mapping[int, float]],
    W_dec: Float[Tensor, "d_sae d_in"],
    decoder: Float[Tensor, "d_sae d_in"],
) -> tuple[list[Changes], Tensor]:
    """The changes and, at every place, the sum of each set's values: one more direction, so that many cost what one does.

    Args:
        parts: Changes of each set.
        places: Positions where features are defined.
        values: Activations to set, by set.
        W_dec: The SAE's decoder.
        decoder: The same as the residual has it: its device and its type.

    Returns:
        Changes whose features are rows of the second value: the decoder's used rows, then a direction for each set.
    """
    directions = torch.stack([torch.tensor(list(new.values())).to(W_dec) @ W_dec[list(new)] for new in values])
    used = np.unique(joined([feature for _, feature, _ in parts]))
    found: list[Changes] = []
    for i, (position, feature, change) in enumerate(parts):
        where = places if any(values[i].values()) else places[:0]
        position = np.concatenate([position, where])
        order = np.argsort(position, kind="stable")
        feature = np.concatenate([np.searchsorted(used, feature), np.full(len(where), len(used) + i)])
        change = np.concatenate([change, np.ones(len(where), np.float32)])
        found.append((position[order], feature[order], change[order]))
    return found, torch.cat([decoder[used], directions.to(decoder)])


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays one after another; no numbers where there is none."""
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
