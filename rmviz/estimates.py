"""Figures with their intervals: shares of pairs, means, rank correlations. Pure functions of arrays.

A margin is reward of chosen − reward of rejected; NaN stands for a pair that could not be scored.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

_Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the units that it rests on; all NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(np.nan, np.nan, np.nan, 0)


def right(margins: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """1 where the chosen reply has the higher reward, 0 where the rejected one has, ½ for a tie; NaN stays."""
    return np.where(np.isfinite(margins), (np.sign(margins) + 1) / 2, np.nan)


def accuracy(margins: Float[np.ndarray, " pair"]) -> Estimate:
    """Share of pairs ranked as people did, a tie counting half; pairs without a margin are left out.

    Source: Wilson 1927 (score interval).
    """
    known = right(margins)
    known = known[np.isfinite(known)]
    if not len(known):
        return NOTHING
    share = float(known.mean())
    low, high = wilson(share, len(known))
    return Estimate(share, low, high, len(known))


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share of n.

    Source: Wilson 1927.
    """
    spread = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    centre, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    return float(max(0.0, (centre - spread) / scale)), float(min(1.0, (centre + spread) / scale))


def mean(values: Float[np.ndarray, " unit"]) -> Estimate:
    """Mean with its interval by the normal approximation; NaN is left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return NOTHING
    middle = float(known.mean())
    half = _Z * float(known.std(ddof=1)) / np.sqrt(len(known)) if len(known) > 1 else np.nan
    return Estimate(middle, middle - half, middle + half, len(known))


def correlation(a: Float[np.ndarray, " unit"], b: Float[np.ndarray, " unit"], num_units: int | None = None) -> Estimate:
    """Spearman's rank correlation with its interval; `NOTHING` for fewer than four units or where one does not vary.

    Args:
        a: Values; units without a finite one on both sides are left out.
        b: Values.
        num_units: Independent units behind them, where these are fewer than the values (two texts of one pair).

    Source: Bonett & Wright 2000 (variance (1 + ρ² / 2) / (n − 3) of Fisher's z).
    """
    known = np.isfinite(a) & np.isfinite(b)
    a, b, n = a[known], b[known], num_units or int(known.sum())
    if min(n, len(a)) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return NOTHING
    rho = float(np.corrcoef(pd.Series(a).rank(), pd.Series(b).rank())[0, 1])
    z, half = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12)), _Z * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return Estimate(rho, float(np.tanh(z - half)), float(np.tanh(z + half)), n)
