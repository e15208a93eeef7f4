"""Bradley–Terry strengths fitted from many comparisons, with intervals. Pure functions of arrays.

Items that were never compared, directly or through others, have no common scale: each connected group is rated apart.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

ELO = 400 / math.log(10)
"""Elo points of one nat of strength: 400 points are odds of ten to one."""

ELO_MEAN = 1500.0
"""Elo points of the mean of a group."""

LARGEST_GROUP = 5000
"""Items of one group at most: its covariance is a dense matrix."""

_Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations
_MOST_STEPS = 100


@dataclass(frozen=True)
class Ratings:
    """Strengths in nats, each less the mean of its group, with 95 % intervals."""

    strength: Float[np.ndarray, " item"]
    error: Float[np.ndarray, " item"]
    """Standard error of each strength."""

    group: Int[np.ndarray, " item"]
    """Which connected group each item is in."""

    @property
    def low(self) -> Float[np.ndarray, " item"]:
        """Lower ends of the intervals."""
        return self.strength - _Z * self.error

    @property
    def high(self) -> Float[np.ndarray, " item"]:
        """Upper ends of the intervals."""
        return self.strength + _Z * self.error


def elo(strength: Float[np.ndarray, " item"]) -> Float[np.ndarray, " item"]:
    """Strengths in Elo points."""
    return ELO_MEAN + ELO * strength


def groups_of(
    num_items: int, first: Int[np.ndarray, " comparison"], second: Int[np.ndarray, " comparison"]
) -> Int[np.ndarray, " item"]:
    """The connected group of each item, numbered from 0."""
    edges = coo_array((np.ones(len(first)), (first, second)), shape=(num_items, num_items))
    return connected_components(edges, directed=False)[1].astype(np.int64)


def fitted(
    num_items: int,
    first: Int[np.ndarray, " comparison"],
    second: Int[np.ndarray, " comparison"],
    score: Float[np.ndarray, " comparison"],
    prior: float = 5.0,
) -> Ratings:
    """The most probable strengths s, where item a beats item b with probability σ(s_a − s_b).

    Newton's method on the concave log posterior. Intervals are the normal approximation: the inverse of the Hessian,
    taken of strengths less their group's mean.

    Args:
        num_items: Items, numbered from 0.
        first: One item of each comparison.
        second: The other one.
        score: 1 where the first won, 0 where the second did, ½ for a tie.
        prior: Standard deviation in nats of the normal prior, which keeps an item that always wins finite.

    Source: Bradley & Terry 1952; Hunter 2004, MM algorithms for generalized Bradley–Terry models (its equations 1 and 2;
    Newton's method in place of MM).
    """
    strength = np.zeros(num_items)
    for _ in range(_MOST_STEPS):
        won = _probability(strength, first, second)
        slope = np.bincount(first, score - won, num_items) - np.bincount(second, score - won, num_items)
        step = splu(_hessian(num_items, first, second, won, prior)).solve(slope - strength / prior**2)
        strength += step * min(1.0, 2.0 / max(np.abs(step).max(initial=0.0), 1e-300))  # a long step may overshoot
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    group = groups_of(num_items, first, second)
    hessian = _hessian(num_items, first, second, _probability(strength, first, second), prior)
    error = np.zeros(num_items)
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        strength[members] -= strength[members].mean()
        error[members] = _centred_errors(hessian[members][:, members].toarray())
    return Ratings(strength, error, group)


def _probability(
    strength: Float[np.ndarray, " item"], first: Int[np.ndarray, " comparison"], second: Int[np.ndarray, " comparison"]
) -> Float[np.ndarray, " comparison"]:
    """That the first item of each comparison wins."""
    return 1 / (1 + np.exp(strength[second] - strength[first]))


def _hessian(
    num_items: int,
    first: Int[np.ndarray, " comparison"],
    second: Int[np.ndarray, " comparison"],
    won: Float[np.ndarray, " comparison"],
    prior: float,
) -> csc_array:
    """Of the negative log posterior."""
    weight, every = won * (1 - won), np.arange(num_items)
    rows = np.concatenate([first, second, first, second, every])
    columns = np.concatenate([first, second, second, first, every])
    values = np.concatenate([weight, weight, -weight, -weight, np.full(num_items, prior**-2.0)])
    return csc_array(coo_array((values, (rows, columns)), shape=(num_items, num_items)))


def _centred_errors(hessian: Float[np.ndarray, "item item"]) -> Float[np.ndarray, " item"]:
    """Standard errors of the strengths less their mean."""
    covariance = np.linalg.inv(hessian)
    centred = covariance - covariance.mean(0) - covariance.mean(1)[:, None] + covariance.mean()
    return np.sqrt(np.maximum(np.diag(centred), 0.0))
