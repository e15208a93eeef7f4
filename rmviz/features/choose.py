"""Choosing example texts over a feature's whole range of activation."""

import numpy as np
from jaxtyping import Float, Int, UInt64


def chosen_examples(
    feature: Int[np.ndarray, " row"],
    text: Int[np.ndarray, " row"],
    pair: Int[np.ndarray, " row"],
    activation: Float[np.ndarray, " row"],
    *,
    num_bins: int,
    per_bin: int,
    seed: int,
) -> tuple[Int[np.ndarray, " example"], Int[np.ndarray, " example"]]:
    """Rows to show, and the quantile bin of activation that each was drawn from (0: weakest firing).

    Each pair is shown once per feature, by the text in which the feature is stronger: else the shared prompt would be
    shown twice. The strongest row of a feature is always chosen; within a bin the draw is uniform. The choice depends
    on the seed and on the rows alone, not on their order.

    Args:
        feature: Feature of each firing row.
        text: Text of each row; a (feature, text) occurs once.
        pair: Pair of each row (the text itself where there are no pairs).
        activation: Strongest activation of the feature in the text, above 0.
        num_bins: Quantile bins.
        per_bin: Rows per bin; fewer where the bin has fewer.
        seed: Seed of the draw.
    """
    lots = _lots(feature, text, seed)
    order = np.lexsort((lots, -activation, pair, feature))
    rows = order[_first_of_run(feature[order], pair[order])]

    rows = rows[np.lexsort((lots[rows], activation[rows], feature[rows]))]
    starts = np.flatnonzero(_first_of_run(feature[rows]))
    sizes = np.diff(np.append(starts, len(rows)))
    rank = np.arange(len(rows)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    bins = rank * num_bins // np.maximum(size, 1)

    draw = np.where(rank == size - 1, np.uint64(0), lots[rows])
    order = np.lexsort((draw, bins, feature[rows]))
    starts = np.flatnonzero(_first_of_run(feature[rows][order], bins[order]))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    kept = order[place < per_bin]
    return rows[kept], bins[kept]


def _first_of_run(*keys: np.ndarray) -> np.ndarray:
    """Whether each element differs from the one before it in any of the keys."""
    first = np.ones(len(keys[0]), dtype=bool)
    if len(first):
        first[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return first


def _lots(feature: np.ndarray, text: np.ndarray, seed: int) -> UInt64[np.ndarray, " row"]:
    """A random number above 0 for each (seed, feature, text): the finaliser of SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = (
            feature.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            + text.astype(np.uint64)
            + np.uint64(seed % 2**32) * np.uint64(0xD1B54A32D192ED03)
        )
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (x ^ (x >> np.uint64(31))) | np.uint64(1)
