"""Mean effects with bootstrap intervals over pairs, effective n and q-values: pure arrays."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control
from scipy.stats import t as student

LEVEL = 0.95
"""Coverage of every interval."""

_BLOCK = 64
"""Resamples worked on at once, so that copies of their weights stay small."""


@dataclass(frozen=True)
class Estimate:
    """A mean per feature with its interval and p-value; NaN where no unit carries it."""

    mean: Float[np.ndarray, " feature"]
    low: Float[np.ndarray, " feature"]
    high: Float[np.ndarray, " feature"]
    p: Float[np.ndarray, " feature"]


def bootstrap_weights(num_units: int, num_resamples: int, seed: int) -> UInt8[np.ndarray, "resample unit"]:
    """How often each unit (a pair, or a text without one) is drawn in each resample; rows sum to `num_units`."""
    generator = np.random.default_rng(seed)
    equal = np.full(num_units, 1 / num_units)
    weights = np.empty((num_resamples, num_units), np.uint8)  # 255 draws of one unit among many do not happen
    for start in range(0, num_resamples, _BLOCK):
        block = weights[start : start + _BLOCK]
        block[:] = generator.multinomial(num_units, equal, size=len(block))
    return weights


def ratio_estimate(
    sums: csr_array, counts: csr_array | Float[np.ndarray, " unit"], weights: UInt8[np.ndarray, "resample unit"]
) -> Estimate:
    """Σ sums / Σ counts per feature, where a unit is drawn with all that is in it.

    With `counts` the texts of each unit this is the mean over all texts (silent ones count 0); with `counts` the firing
    texts it is the mean where the feature fires.

    Args:
        sums: Summed effect per (unit, feature).
        counts: Texts that count, per (unit, feature), or per unit for all features alike.
        weights: Draws of each unit per resample.

    Returns:
        Mean, percentile interval, and the two-sided p-value of a t-test on the units' deviations, with as many degrees
        of freedom as units in which the feature fires, less one. Source: Cochran 1977, ch. 6 (ratio estimator).
    """
    shared = not isinstance(counts, csr_array)
    total = np.asarray(sums.sum(axis=0), float).ravel()
    size = np.full(len(total), counts.sum()) if shared else np.asarray(counts.sum(axis=0), float).ravel()
    mean = _divided(total, size)
    drawn_sums = _drawn(weights, sums)
    drawn_counts = _drawn(weights, counts)
    drawn_counts = drawn_counts[:, None] if shared else drawn_counts
    low, high = _percentiles(_divided(drawn_sums, np.broadcast_to(drawn_counts, drawn_sums.shape)))
    return Estimate(mean, low, high, _p_values(sums, counts, mean, size))


def _p_values(sums: csr_array, counts: csr_array | np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """t-test of mean = 0 by the linearised variance Σ (sum − mean · count)² of the units."""
    num_units = sums.shape[0]
    squares = np.asarray((sums * sums).sum(axis=0), float).ravel()
    if isinstance(counts, csr_array):
        cross = np.asarray((sums * counts).sum(axis=0), float).ravel()
        own = np.asarray((counts * counts).sum(axis=0), float).ravel()
    else:
        cross, own = np.asarray(counts @ sums, float).ravel(), float(counts @ counts)
    spread = np.maximum(squares - 2 * mean * cross + mean**2 * own, 0) * num_units / max(num_units - 1, 1)
    error = _divided(np.sqrt(spread), size)
    firing = effective_n(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    p = np.where(firing > 1, 2 * student.sf(statistic, np.maximum(firing - 1, 1)), 1.0)
    return np.where(np.isfinite(mean), p, np.nan)


def effective_n(sums: csr_array) -> Int[np.ndarray, " feature"]:
    """Units in which a feature fires at all: what its mean really rests on."""
    return np.bincount(sums.indices, minlength=sums.shape[1])


def q_values(p: Float[np.ndarray, " feature"]) -> Float[np.ndarray, " feature"]:
    """Benjamini–Hochberg q-values across features; NaN stays NaN.

    Source: Benjamini & Hochberg 1995.
    """
    known = np.isfinite(p)
    adjusted = np.full(len(p), np.nan)
    if known.any():
        adjusted[known] = false_discovery_control(np.clip(p[known], 0, 1), method="bh")
    return adjusted


def _drawn(weights: np.ndarray, table: csr_array | np.ndarray) -> np.ndarray:
    """Sums over units in each resample: (resample, feature) of a (unit, feature) table, (resample,) of one value per unit."""
    blocks = (weights[start : start + _BLOCK].astype(np.float32) for start in range(0, len(weights), _BLOCK))
    return np.concatenate([block @ table for block in blocks])


def _percentiles(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(drawn).any(axis=0)
    low, high = np.full(drawn.shape[1], np.nan), np.full(drawn.shape[1], np.nan)
    if known.any():
        tail = (1 - LEVEL) / 2
        low[known], high[known] = np.nanquantile(drawn[:, known], (tail, 1 - tail), axis=0)
    return low, high


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)
