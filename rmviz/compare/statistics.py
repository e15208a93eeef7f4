"""What can be said of the margins and rewards of several models on the same pairs: pure functions of arrays.

A margin is reward of chosen − reward of rejected; NaN stands for a pair that a model could not score.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binom

from rmviz.estimates import NOTHING, Estimate, right

NUM_RESAMPLES = 2000
"""Resamples behind each bootstrap interval."""


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
