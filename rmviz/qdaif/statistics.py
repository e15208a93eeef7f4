"""What the draws in a cell say, and whether a row or a column of a map is the lowest: pure functions of numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

MOST_EXACT = 50_000
"""Arrangements that a permutation test goes through one by one; beyond, it draws `NUM_DRAWN`."""

NUM_DRAWN = 20_000


@dataclass(frozen=True, kw_only=True)
class CellStatistics:
    """What is known of one cell; NaN where there are too few draws to say."""

    draws: int
    best: float
    median: float
    q90: float
    expected_best: float
    """Expected best of n of its draws, taken at random."""

    low: float
    """Lower end of the 95 % bootstrap interval of `expected_best`."""

    high: float
    thin: bool
    """Whether it has fewer draws than are needed to compare it."""


@dataclass(frozen=True, kw_only=True)
class LabelMean:
    """One row or column of a map: its mean over the cells across it, and whether it is the lowest."""

    label: str
    mean: float
    low: float
    """Lower end of the 95 % bootstrap interval over draws."""

    high: float
    num_cells: int
    p_lowest: float
    """Chance of so low a mean if the labels on this axis made no difference."""

    p_adjusted: float
    """The same, for having looked at all labels of the axis (Holm)."""


@lru_cache(maxsize=4096)
def best_of_weights(num_draws: int, n: int) -> Float[np.ndarray, " draw"]:
    """Weight of each of `num_draws` values, in ascending order, in the expected best of `n` of them without replacement.

    `w_i = C(i − 1, n − 1) / C(num_draws, n)` for the i-th smallest: the chance that it is the largest of n.

    Source: the unbiased estimator of pass@k (Chen et al. 2021, arXiv:2107.03374), for maxima.
    """
    weights = np.zeros(num_draws)
    weight = n / num_draws
    for i in range(
        num_draws, n - 1, -1
    ):  # from the largest down: C(i − 2, n − 1) / C(i − 1, n − 1) = (i − n) / (i − 1)
        weights[i - 1] = weight
        weight *= (i - n) / max(1, i - 1)
    return weights


def expected_best(values: Float[np.ndarray, " draw"], n: int) -> float:
    """Expected best of `n` of the values, drawn without replacement; NaN where there are fewer than `n`, or none.

    It is the mean for n = 1, grows with n, and is the maximum for n = all.
    """
    if n < 1 or len(values) < n:
        return float("nan")
    return float(np.sort(values) @ best_of_weights(len(values), n))


def resampled_best(
    values: Float[np.ndarray, " draw"], n: int, num_resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, " resample"]:
    """`expected_best` of bootstrap resamples, made to lie about that of the values; NaN where there are fewer than `n`.

    A resample holds some values twice, which lowers its best: so the resamples are centred on the estimate, and spread as
    Student's t is for so few values. Central 95 % of them hold the truth in 85 to 95 % of cases where n is a fifth of
    the values (normal, uniform, exponential), and in half of them where n is all: see `common_n`.
    """
    if n < 1 or len(values) < n:
        return np.full(num_resamples, np.nan)
    weights = best_of_weights(len(values), n)
    ordered = np.sort(values)
    # A sorted resample is the sorted values, each as often as it was drawn: no sorting per resample.
    found = [
        np.repeat(ordered, rng.multinomial(len(values), np.full(len(values), 1 / len(values)))) @ weights
        for _ in range(num_resamples)
    ]
    freedom = max(1, len(values) - 1)
    stretch = (1 + 1.21 / freedom) * math.sqrt(len(values) / freedom)  # of the normal's 1.96, as 2.37 / freedom is
    return (np.array(found) - np.mean(found)) * stretch + ordered @ weights


def common_n(draws: Sequence[int], min_draws: int) -> int:
    """Draws at which cells are compared: a fifth of those of the cell with the fewest that has `min_draws`; 1 where none has.

    The best of all draws of a cell is one value, and no interval can be told from one; a fifth leaves room for it.
    """
    return max(1, min((number for number in draws if number >= min_draws), default=1) // 5)


def cell_statistics(
    values: Float[np.ndarray, " draw"], n: int, *, min_draws: int, num_resamples: int, seed: Sequence[int]
) -> tuple[CellStatistics, Float[np.ndarray, " resample"]]:
    """What the rewards drawn in one cell say, and the bootstrap distribution of its expected best.

    Args:
        values: Rewards of the cell's draws, all finite, in any order.
        n: Draws at which cells are compared.
        min_draws: Fewer are too few to compare.
        num_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """
    resamples = resampled_best(values, n, num_resamples, np.random.default_rng(list(seed)))
    low, high = interval(resamples)
    quantile = {q: float(np.quantile(values, q)) if len(values) else math.nan for q in (0.5, 0.9, 1.0)}
    statistics = CellStatistics(
        draws=len(values), best=quantile[1.0], median=quantile[0.5], q90=quantile[0.9],
        expected_best=expected_best(values, n), low=low, high=high, thin=len(values) < max(n, min_draws),
    )  # fmt: skip
    return statistics, resamples


def interval(resamples: Float[np.ndarray, " resample"]) -> tuple[float, float]:
    """The central 95 % of resampled values; NaN where there are none."""
    known = resamples[np.isfinite(resamples)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def label_means(
    values: Float[np.ndarray, "label block"],
    resamples: Float[np.ndarray, "resample label block"],
    labels: Sequence[str],
    seed: int = 0,
) -> list[LabelMean]:
    """Mean of each label over its cells, with an interval, and a one-sided test of whether it is the lowest.

    The test permutes the labels within each block (the cells of one label of the other axis, in one run), so that what
    the blocks differ in counts for nothing, and so does the number of draws in a cell: each cell is one observation.

    Args:
        values: A figure per cell, NaN where there is none.
        resamples: Its bootstrap distribution.
        labels: Names of the labels.
        seed: Seed of the permutations, where there are too many to go through.
    """
    p = [lowest_p(values, i, seed) for i in range(len(labels))]
    adjusted = holm(p)
    rows = []
    for i, label in enumerate(labels):
        known = np.isfinite(values[i])
        means = resamples[:, i, known].mean(1) if known.any() else np.full(len(resamples), np.nan)
        low, high = interval(means)
        mean = float(values[i, known].mean()) if known.any() else math.nan
        rows.append(
            LabelMean(
                label=label, mean=mean, low=low, high=high, num_cells=int(known.sum()), p_lowest=p[i],
                p_adjusted=adjusted[i],
            )
        )  # fmt: skip
    return rows


def lowest_p(values: Float[np.ndarray, "label block"], label: int, seed: int = 0) -> float:
    """One-sided p-value: how often a label's sum is at most what it is when labels are shuffled within each block.

    All arrangements where there are few (a block gives this label any of its values), else a random sample of them with
    the usual 1 added. 1 where the label has no value, or no block has two.
    """
    blocks = [column[np.isfinite(column)] for column in values.T if np.isfinite(column[label])]
    blocks = [block for block in blocks if len(block) > 1]
    if not blocks:
        return 1.0
    own = [column[label] for column in values.T if np.isfinite(column[label]) and np.isfinite(column).sum() > 1]
    observed = float(np.sum(own)) + 1e-9 * float(
        np.ptp(np.concatenate(blocks))
    )  # sums in another order may differ a bit
    if math.prod(map(len, blocks)) <= MOST_EXACT:
        sums = np.zeros(1)
        for block in blocks:
            sums = (sums[:, None] + block[None, :]).ravel()
        return float((sums <= observed).mean())
    rng = np.random.default_rng([seed, label])
    drawn = np.sum([rng.choice(block, NUM_DRAWN) for block in blocks], axis=0)
    return float((1 + (drawn <= observed).sum()) / (1 + NUM_DRAWN))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p, kind="stable")
    adjusted, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = highest
    return adjusted


def confusion(
    asked: Int[np.ndarray, " text"], judged: Int[np.ndarray, " text"], num_labels: int
) -> Int[np.ndarray, "asked judged"]:
    """Texts by the label asked for and the label found; the last row and column are for none."""
    counts = np.zeros((num_labels + 1, num_labels + 1), np.int64)
    np.add.at(counts, (np.where(asked < 0, num_labels, asked), np.where(judged < 0, num_labels, judged)), 1)
    return counts


def mean_interval(
    values: Float[np.ndarray, " run"], num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over runs and its 95 % bootstrap interval; the interval of one run is the run."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(num_resamples, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def summary_of(values: Mapping[str, Float[np.ndarray, " run"]]) -> dict[str, dict[str, float | int | None]]:
    """`mean`, `low`, `high` and `n` of each named set of runs; runs without a figure are left out."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name, runs in values.items():
        known = runs[np.isfinite(runs)]
        mean, low, high = mean_interval(known) if len(known) else (None, None, None)
        found[name] = {"mean": mean, "low": low, "high": high, "n": len(known)}
    return found
