"""What can be said of the margins and rewards of several models on the same pairs: pure functions of arrays.

A margin is reward of chosen − reward of rejected; NaN stands for a pair that a model could not score.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binom

NUM_RESAMPLES = 2000
"""Resamples behind each bootstrap interval."""

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


def accuracy_difference(
    first: Float[np.ndarray, " pair"], second: Float[np.ndarray, " pair"], seed: int = 0
) -> Estimate:
    """Accuracy of the second model − that of the first, on the pairs that both could score.

    The interval is a percentile bootstrap over pairs. A pair changes the difference by −1, −½, 0, ½ or 1, so drawing
    pairs is drawing how often each of the five occurs. Swapping the two models negates everything.
    """
    change = right(second) - right(first)
    change = change[np.isfinite(change)]
    return changed(np.bincount(np.round(2 * change).astype(int) + 2, minlength=5), seed)


def changed(counts: Int[np.ndarray, " step"], seed: int = 0) -> Estimate:
    """The mean change of pairs of which so many changed by −1, −½, 0, ½ and 1, see `accuracy_difference`."""
    n = int(counts.sum())
    if not n:
        return NOTHING
    steps = np.arange(-2, 3)
    mirrored = tuple(counts[::-1]) > tuple(counts)  # one of the two directions is drawn, the other is its negative
    drawn = np.random.default_rng(seed).multinomial(n, (counts[::-1] if mirrored else counts) / n, NUM_RESAMPLES)
    means = (drawn @ steps) / (2 * n) * (-1 if mirrored else 1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(counts @ steps) / (2 * n), float(low), float(high), n)


def mcnemar(num_righted: Int[np.ndarray, " case"], num_wronged: Int[np.ndarray, " case"]) -> Float[np.ndarray, " case"]:
    """Exact two-sided p of as many pairs turning right as wrong, in each case; 1 where none turns.

    Source: McNemar 1947, with the binomial distribution in place of χ².
    """
    fewer, both = np.minimum(num_righted, num_wronged), num_righted + num_wronged
    return np.minimum(1.0, 2 * binom.cdf(fewer, both, 0.5))


def mean(values: Float[np.ndarray, " unit"]) -> Estimate:
    """Mean with its interval by the normal approximation; NaN is left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return NOTHING
    middle = float(known.mean())
    half = _Z * float(known.std(ddof=1)) / np.sqrt(len(known)) if len(known) > 1 else np.nan
    return Estimate(middle, middle - half, middle + half, len(known))


def flipped(first: Float[np.ndarray, " pair"], second: Float[np.ndarray, " pair"]) -> Int[np.ndarray, " pair"]:
    """Pairs that changed side: 1 where the second model is right (or ties) and the first was less so, −1 the other way.

    0 where both agree, and where one of them gave no number.
    """
    change = right(second) - right(first)
    return np.sign(np.where(np.isfinite(change), change, 0.0)).astype(np.int64)


def ranks(rewards: Float[np.ndarray, " text"]) -> Float[np.ndarray, " text"]:
    """The share of texts with a lower reward, ties counting half: 0 to 1; NaN stays NaN."""
    known = np.isfinite(rewards)
    result = np.full(len(rewards), np.nan)
    if known.any():
        result[known] = (pd.Series(rewards[known]).rank().to_numpy() - 0.5) / known.sum()
    return result


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
