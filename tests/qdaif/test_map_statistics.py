"""What draws say: numbers that can be done by hand, and laws."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.qdaif.statistics import (
    best_of_weights,
    cell_statistics,
    common_n,
    confusion,
    expected_best,
    holm,
    interval,
    label_means,
    lowest_p,
    mean_interval,
    resampled_best,
    summary_of,
)

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=12).map(np.array)


def test_expected_best_is_the_mean_over_all_subsets():
    values = np.array([3.0, -1.0, 4.0, 1.0, 5.0])
    for n in range(1, 6):
        assert expected_best(values, n) == pytest.approx(np.mean([max(some) for some in combinations(values, n)]))


@given(VALUES)
def test_expected_best_grows_from_mean_to_maximum(values):
    found = [expected_best(values, n) for n in range(1, len(values) + 1)]
    assert found[0] == pytest.approx(values.mean()) and found[-1] == pytest.approx(values.max())
    assert all(low <= high + 1e-9 for low, high in pairwise(found))
    assert np.isnan(expected_best(values, len(values) + 1)) and np.isnan(expected_best(values, 0))


@given(VALUES, st.floats(-50, 50), st.floats(0.1, 9))
def test_expected_best_moves_with_its_values(values, shift, scale):
    n = max(1, len(values) // 2)
    assert expected_best(scale * values + shift, n) == pytest.approx(scale * expected_best(values, n) + shift)


@pytest.mark.parametrize(("num_draws", "n"), [(1, 1), (7, 3), (2000, 1000), (3000, 2)])
def test_weights_are_a_distribution_at_any_size(num_draws, n):
    weights = best_of_weights(num_draws, n)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all() and (np.diff(weights) >= -1e-12).all()


def test_the_interval_holds_the_figure_and_repeats():
    values = np.random.default_rng(0).normal(size=200)
    found, resamples = cell_statistics(values, 10, min_draws=5, num_resamples=400, seed=(1, 2))
    assert found.low < found.expected_best < found.high and len(resamples) == 400
    assert found == cell_statistics(values[::-1], 10, min_draws=5, num_resamples=400, seed=(1, 2))[0]
    assert not found.thin and found.q90 == pytest.approx(np.quantile(values, 0.9))


def test_resamples_are_those_of_drawing_again():
    values = np.random.default_rng(0).normal(size=30)
    rng = np.random.default_rng(5)
    drawn = [expected_best(rng.choice(values, 30), 6) for _ in range(3000)]
    found = resampled_best(values, 6, 3000, np.random.default_rng(1))
    assert found.mean() == pytest.approx(expected_best(values, 6)), "drawing again alone would lean low"
    assert np.mean(drawn) < expected_best(values, 6) - 0.02
    assert found.std() == pytest.approx(np.std(drawn), rel=0.15)


@pytest.mark.parametrize(("number", "draw"), [(26, "normal"), (60, "random"), (12, "normal")])
def test_intervals_cover_the_truth(number, draw):
    rng = np.random.default_rng(3)
    n = common_n([number], 10)
    truth = getattr(rng, draw)(size=(100_000, n)).max(axis=1).mean()
    found = [interval(resampled_best(getattr(rng, draw)(size=number), n, 200, rng)) for _ in range(400)]
    low, high = np.array(found).T
    assert 0.85 <= np.mean((low < truth) & (truth < high)) < 1
    assert np.mean(truth > high) < 0.12 and np.mean(truth < low) < 0.06


def test_a_cell_without_enough_draws_says_so():
    found, _ = cell_statistics(np.array([]), 3, min_draws=2, num_resamples=5, seed=(0,))
    assert found.draws == 0 and found.thin and np.isnan(found.best) and np.isnan(found.expected_best)
    found, _ = cell_statistics(np.array([1.0, 2.0]), 3, min_draws=2, num_resamples=5, seed=(0,))
    assert found.best == 2 and found.thin and np.isnan(found.low)
    assert common_n([0, 3, 12, 40], 10) == 2 and common_n([60, 52], 10) == 10 and common_n([1, 2], 10) == 1


def test_a_row_that_is_lowest_everywhere_is_found_exactly():
    values = np.arange(25, dtype=float).reshape(5, 5)
    assert lowest_p(values, 0) == pytest.approx(1 / 5**5)
    assert lowest_p(values, 4) == 1.0
    assert lowest_p(np.ones((5, 5)), 2) == 1.0


def test_the_test_keeps_its_level_where_nothing_differs():
    rng = np.random.default_rng(0)
    p = np.array([lowest_p(rng.normal(size=(4, 5)) + 10 * rng.normal(size=5), 1) for _ in range(400)])
    assert 0.02 < (p <= 0.05).mean() < 0.08


def test_many_blocks_are_sampled_and_agree_with_the_exact_test():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(5, 6))
    exact = lowest_p(values, 0)
    more = np.concatenate([values, np.full((5, 6), np.nan)], axis=1)
    assert lowest_p(more, 0) == exact
    assert 0 < lowest_p(np.concatenate([values] * 3, axis=1), 0) <= 1


def test_missing_cells_are_left_out():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 5.0]])
    assert lowest_p(values, 0) == pytest.approx(1 / 3)
    assert lowest_p(np.full((3, 2), np.nan), 0) == 1.0
    rows = label_means(values, values[None], ["a", "b", "c"])
    assert [row.num_cells for row in rows] == [1, 1, 2] and rows[2].mean == 4
    assert np.isnan(label_means(np.full((2, 1), np.nan), np.full((1, 2, 1), np.nan), ["a", "b"])[0].mean)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(q >= one - 1e-12 and q <= 1 for one, q in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p, kind="stable")] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


def test_confusion_counts_every_text_once():
    counts = confusion(np.array([0, 0, 1, -1]), np.array([0, 1, 1, -1]), 2)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_intervals_over_runs():
    assert mean_interval(np.array([2.0])) == (2.0, 2.0, 2.0)
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert low < mean == 2 < high
    assert summary_of({"a": np.array([1.0, 3.0])})["a"]["n"] == 2
