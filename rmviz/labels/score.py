"""How well a label predicts: where the feature fires, and which way the reward goes. Pure arrays."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

from rmviz.configs.labels import Direction


@dataclass(frozen=True)
class Score:
    """A share with its 95 % interval and what it rests on; NaN where it rests on nothing."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LabelScore:
    """What a label is worth."""

    balanced_accuracy: Score
    """Mean of the shares of firing and of silent texts that the label tells right; 0.5 is chance."""
    sign_agreement: Score
    """Share of firing texts in which the effect has the sign that the label claims; nothing where it claims none."""
    num_firing: int
    num_silent: int


NOTHING = Score(np.nan, np.nan, np.nan, 0)


def share(count: int, n: int) -> Score:
    """A share with its Wilson interval. Source: Wilson 1927."""
    if not n:
        return NOTHING
    found = binomtest(count, n).proportion_ci(0.95, method="wilson")
    return Score(count / n, float(found.low), float(found.high), n)


def balanced_accuracy(fires: Bool[np.ndarray, " text"], said: Bool[np.ndarray, " text"]) -> Score:
    """Mean of the share of firing texts said to fire and the share of silent texts said to be silent.

    The interval joins the two Wilson intervals (MOVER): with p the shares and l their lower ends, the lower end is the mean
    of the p − ½ √Σ (p − l)², and the upper end likewise. Source: Newcombe 1998, method 10 (doi:10.1002/sim.779), for a mean.
    """
    hits, passes = (
        share(int((fires & said).sum()), int(fires.sum())),
        share(int((~fires & ~said).sum()), int((~fires).sum())),
    )
    if not (hits.n and passes.n):
        return NOTHING
    value = (hits.value + passes.value) / 2
    below = np.hypot(hits.value - hits.low, passes.value - passes.low) / 2
    above = np.hypot(hits.high - hits.value, passes.high - passes.value) / 2
    return Score(value, max(0.0, value - float(below)), min(1.0, value + float(above)), hits.n + passes.n)


def sign_agreement(effect: Float[np.ndarray, " text"], direction: Direction) -> Score:
    """Share of effects with the claimed sign; effects that are exactly 0 say nothing and do not count."""
    told = effect[np.isfinite(effect) & (effect != 0)]
    if not direction:
        return NOTHING
    return share(int(((told > 0) == (direction == "raises")).sum()), len(told))


def direction_of(effect: Float[np.ndarray, " text"]) -> Direction:
    """Which way the mean effect goes; nothing where it is 0 or there is none."""
    mean = float(effect.mean()) if len(effect) else 0.0
    return "raises" if mean > 0 else "lowers" if mean < 0 else ""
