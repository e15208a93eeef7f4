"""Statistics of a comparison, held against known answers and laws."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rmviz.compare.calibration import (
    calibration_bins,
    calibration_error,
    calibration_noise,
    calibration_slope,
    sigmoid,
)
from rmviz.compare.slices import slice_table
from rmviz.compare.statistics import accuracy_difference, flipped, ranks
from rmviz.compare.tables import flip_table, margins_of, model_table, pair_table, reward_table
from rmviz.data.slices import slicings
from rmviz.estimates import accuracy, correlation, mean, right
from rmviz.ranks import standardised
from rmviz.types import Pair

NAN = float("nan")
NUMBER = st.one_of(st.just(NAN), st.just(float("inf")), st.just(0.0), st.floats(-9, 9))
MARGINS = st.integers(1, 12).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=NUMBER), arrays(float, n, elements=NUMBER))
)


def test_by_hand():
    found = accuracy(np.array([1.0, -1, 0, 2, NAN]))
    assert (found.value, found.n) == (0.625, 4)
    share = accuracy(np.array([1.0] * 40 + [-1.0] * 10))
    assert (share.low, share.high) == (pytest.approx(0.669, abs=1e-3), pytest.approx(0.888, abs=1e-3))
    whole = accuracy(np.ones(10))
    assert whole.low < 0.8 and whole.high == pytest.approx(1), "ten of ten is no proof of all"
    assert accuracy(np.array([NAN])).n == 0 and np.isnan(accuracy(np.zeros(0)).value)
    assert mean(np.array([1.0, 3.0, NAN])).value == 2 and np.isnan(mean(np.array([1.0])).low)


@given(MARGINS, st.integers(0, 3))
def test_swapping_two_models_negates_their_difference(margins, seed):
    first, second = margins
    one, other = accuracy_difference(first, second, seed), accuracy_difference(second, first, seed)
    np.testing.assert_array_equal([one.value, one.low, one.high], [-other.value, -other.high, -other.low])
    np.testing.assert_array_equal(flipped(first, second), -flipped(second, first))


@given(MARGINS)
def test_a_model_does_not_differ_from_itself(margins):
    found = accuracy_difference(margins[0], margins[0])
    assert found.n == np.isfinite(right(margins[0])).sum()
    if found.n:
        assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not flipped(margins[0], margins[0]).any()


def test_the_interval_holds_the_truth_at_its_rate():
    rng, inside = np.random.default_rng(0), 0
    for seed in range(300):
        first = np.where(rng.random(400) < 0.7, 1.0, -1.0)
        second = np.where(rng.random(400) < 0.1, -first, first)  # truth: 0.1 * (0.3 - 0.7)
        found = accuracy_difference(first, second, seed)
        inside += found.low <= -0.04 <= found.high
    assert 0.92 <= inside / 300 <= 0.98


def test_hand_made_flips_are_all_found():
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(1, 500, 2)).repeat(2, axis=0)
    gained = np.flatnonzero(rewards[0, :, 0] < rewards[0, :, 1])[:7]
    lost = np.flatnonzero(rewards[0, :, 0] > rewards[0, :, 1])[:5]
    rewards[1, [*gained, *lost]] = rewards[1, [*gained, *lost]][:, ::-1]
    pairs = pair_table([Pair(pair_id=str(i), prompt="", chosen="a", rejected="b") for i in range(500)])
    found = flip_table(pairs, 3 * rewards + np.array([0, 8])[:, None, None], 0, 1)
    assert set(found.loc[found["change"] == "gained", "pair_id"]) == {str(i) for i in gained}
    assert set(found.loc[found["change"] == "lost", "pair_id"]) == {str(i) for i in lost}
    assert (
        found["moved"].abs().is_monotonic_decreasing
        and (np.sign(found["moved"]) == np.where(found["change"] == "gained", 1, -1)).all()
    )
    assert flip_table(pairs, rewards[[0, 0]], 0, 1).empty


def test_scale_and_shift_change_neither_rank_nor_z():
    rewards = np.array([3.0, 1.0, NAN, 1.0, 7.0])
    for made in (ranks, standardised):
        np.testing.assert_allclose(made(rewards), made(5 * rewards - 40))
    assert ranks(rewards)[[0, 1, 3, 4]].tolist() == [0.625, 0.25, 0.25, 0.875] and np.isnan(ranks(rewards)[2])
    assert standardised(np.array([2.0, 2.0, NAN]))[:2].tolist() == [0, 0]
    assert np.isnan(standardised(np.array([NAN, NAN]))).all()


def test_correlation_goes_by_order_and_knows_its_n():
    a = np.arange(50.0)
    assert correlation(a, a**3).value == pytest.approx(1)
    assert correlation(a, -a).value == pytest.approx(-1)
    assert correlation(a, np.ones(50)).n == 0 and correlation(a[:3], a[:3]).n == 0
    noisy = a + np.random.default_rng(0).normal(0, 40, 50)
    wide, narrow = correlation(a, noisy, 25), correlation(a, noisy)
    assert wide.value == narrow.value and wide.low < narrow.low < narrow.high < wide.high


def test_exact_bradley_terry_labels_lie_on_the_diagonal():
    rng, outside, bad = np.random.default_rng(0), 0, 0
    for _ in range(60):
        sizes = np.abs(rng.normal(0, 2, 1000))
        margins = np.where(rng.random(1000) < sigmoid(sizes), sizes, -sizes)
        bins = calibration_bins(margins, 10)
        assert bins["n"].tolist() == [100] * 10 and bins["predicted"].is_monotonic_increasing
        outside += ((bins["predicted"] < bins["low"]) | (bins["predicted"] > bins["high"])).sum()
        bad += calibration_error(bins) > calibration_noise(margins, 10)
        assert calibration_slope(margins) == pytest.approx(1, abs=0.25)
    assert outside / 600 < 0.08 and bad / 60 < 0.15


def test_too_sure_and_not_sure_enough_are_told():
    rng = np.random.default_rng(0)
    sizes = np.abs(rng.normal(0, 1.5, 4000))
    margins = np.where(rng.random(4000) < sigmoid(sizes), sizes, -sizes)
    for scale in (0.5, 3.0):
        assert calibration_slope(scale * margins) == pytest.approx(1 / scale, rel=0.15)
        assert calibration_error(calibration_bins(scale * margins, 10)) > calibration_noise(scale * margins, 10)


@pytest.mark.parametrize(
    "margins", [[], [NAN], [1.0], [0.0, 0.0], [1.0, 2.0, 3.0], [-1.0, -2.0], [800.0, -900.0, 700.0]]
)
def test_calibration_of_next_to_nothing(margins):
    margins = np.array(margins)
    bins = calibration_bins(margins, 10)
    assert bins["n"].sum() == np.isfinite(margins).sum() and len(bins) <= 1
    assert np.isnan(calibration_error(bins)) == (len(bins) == 0)
    calibration_slope(margins), calibration_noise(margins, 10)


def some_pairs():
    return pair_table(
        [
            Pair(pair_id=str(i), prompt="p" * (i % 5), chosen="c" * (1 + i), rejected="r" * (40 - i),
                 extra={"topics": ["rain sea", "sea", "", None][i % 4], "score": i / 3, "note": f"text {i} of many words {i * 7}",
                        "flag": i % 2 == 0, "only": 1, "chosen": "mine", "list": [i % 2]})
            for i in range(60)
        ]
    )  # fmt: skip


def test_slices_cut_by_column_word_number_and_length():
    cuts = {cut.column: cut for cut in slicings(some_pairs())}
    assert set(cuts) == {"length of the replies, characters", "longer reply", "length of the prompt, characters", "flag",
                         "list", "score", "topics"}  # fmt: skip
    assert cuts["topics"].values == ("rain sea", "sea") and cuts["topics"].members.sum(axis=1).tolist() == [15, 15]
    assert cuts["longer reply"].members.sum() == 60 and len(cuts["score"].values) == 4
    assert cuts["score"].members.sum(axis=0).tolist() == [1] * 60, "bins part the pairs"


def test_a_column_of_topics_is_cut_by_topic():
    rng = np.random.default_rng(0)
    words = [f"topic{i}" for i in range(12)]
    values = [" ".join(sorted(rng.choice(words, 3, replace=False))) for _ in range(300)]
    pairs = pd.DataFrame({"pair_id": "", "prompt": "", "chosen": "a", "rejected": "b", "topics": values})
    (cut,) = slicings(pairs)
    assert set(cut.values) == set(words) and (cut.members.sum(axis=0) == 3).all()


def test_slices_find_where_two_models_differ():
    pairs = some_pairs()
    margins = np.ones((2, 60))
    margins[1, ::2] = -1  # the pairs with flag True
    margins[0, 1] = NAN
    table = slice_table(slicings(pairs), margins)
    flags = table[(table["column"] == "flag") & (table["model"] == 1)].set_index("value")
    assert flags.loc["True", ["difference", "difference_low", "difference_high", "num_flips"]].tolist() == [
        -1,
        -1,
        -1,
        30,
    ]
    assert flags.loc["False", ["difference", "n", "num_common"]].tolist() == [0, 30, 29]
    nothing = slice_table(slicings(pairs), np.full((2, 60), NAN))
    assert (nothing["n"] == 0).all() and nothing["accuracy"].isna().all()


def test_the_tables_say_how_much_was_left_out():
    pairs = some_pairs()
    rewards = np.random.default_rng(0).normal(size=(3, 60, 2))
    rewards[1, :4, 0] = NAN
    rewards[2] = NAN
    records = [{"id": str(i), "name": str(i), "step": None} for i in range(3)]
    table = model_table(records, pairs, rewards, 10)
    assert table["num_missing"].tolist() == [0, 4, 120] and table["n"].tolist() == [60, 56, 0]
    assert table["num_common"].tolist() == [60, 56, 0] and np.isnan(table["accuracy"][2])
    kept = reward_table(pairs, rewards, np.zeros((3, 60, 2), int))
    assert len(kept) == 360 and kept["text_id"][1] == "0/rejected" and kept.loc[kept["model"] == 2, "z"].isna().all()
    np.testing.assert_array_equal(margins_of(rewards)[0], rewards[0, :, 0] - rewards[0, :, 1])


def test_one_pair_and_all_ties_are_told_without_fuss():
    pairs = pair_table([Pair(pair_id="a", prompt="", chosen="x", rejected="y")])
    records = [{"id": "1", "name": "1", "step": None}, {"id": "2", "name": "2", "step": None}]
    table = model_table(records, pairs, np.ones((2, 1, 2)), 10)
    assert table["accuracy"].tolist() == [0.5, 0.5] and table["num_ties"].tolist() == [1, 1]
    assert slice_table(slicings(pairs), np.zeros((2, 1))).empty
