"""Bradley–Terry strengths fitted from many comparisons, with intervals. Pure functions of arrays.

Items that were never compared, directly or through others, have no common scale: each connected group is rated apart.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csc_array, csr_array
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
_MOST_ENTRIES = 2**20  # of the matrices that are inverted at once

Told = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""


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
    told: Told = lambda done, total: None,
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
        told: Called as the work goes on: before the intervals nothing is done, then items are.

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
        told(0, num_items)
    group = groups_of(num_items, first, second)
    strength -= (np.bincount(group, strength) / np.bincount(group))[group]
    hessian = _hessian(num_items, first, second, _probability(strength, first, second), prior)
    return Ratings(strength, _centred_errors(hessian, group, told), group)


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


def _centred_errors(hessian: csc_array, group: Int[np.ndarray, " item"], told: Told) -> Float[np.ndarray, " item"]:
    """Standard errors of the strengths less their group's mean; groups of one size are inverted at once."""
    size = np.bincount(group)
    by_size = np.argsort(size, kind="stable")
    items = np.argsort(np.argsort(by_size, kind="stable")[group], kind="stable")  # a group's items are side by side
    sizes, first = size[by_size], np.concatenate([[0], np.cumsum(size[by_size])])
    blocks = csr_array(hessian[items][:, items])
    entries = blocks.tocoo()
    error, at = np.zeros(len(group)), 0
    while at < len(sizes):
        told(int(first[at]), len(group))
        n = int(sizes[at])
        end = min(int(np.searchsorted(sizes, n, "right")), at + max(1, _MOST_ENTRIES // n**2))
        part = slice(blocks.indptr[first[at]], blocks.indptr[first[end]])
        row, column = entries.row[part] - first[at], entries.col[part] - first[at]
        dense = np.zeros((end - at, n, n))
        dense[row // n, row % n, column % n] = entries.data[part]
        covariance = np.linalg.inv(dense)
        variance = np.diagonal(covariance, axis1=1, axis2=2) - covariance.mean(1) - covariance.mean(2)
        variance += covariance.mean((1, 2))[:, None]
        error[items[first[at] : first[end]]] = np.sqrt(np.maximum(variance, 0.0)).ravel()
        at = end
    told(len(group), len(group))
    return error
