import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control, ttest_1samp

from rmviz.ablation.groups import cofiring_groups, firing_matrix, topic_of_features
from rmviz.ablation.statistics import bootstrap_weights, effective_n, q_values, ratio_estimate


def test_mean_over_all_texts_and_where_it_fires_by_hand():
    sums = csr_array(np.array([[2.0, 0.0], [0.0, 0.0], [4.0, 1.0], [0.0, 0.0]]))
    firing = csr_array(np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 1.0], [0.0, 0.0]]))
    weights = bootstrap_weights(4, 50, 0)
    np.testing.assert_allclose(ratio_estimate(sums, np.full(4, 2.0, np.float32), weights).mean, [6 / 8, 1 / 8])
    np.testing.assert_allclose(ratio_estimate(sums, firing, weights).mean, [2.0, 1.0])
    assert effective_n(sums).tolist() == [2, 1]


def test_resamples_draw_every_unit_equally_often():
    weights = bootstrap_weights(7, 4000, 1)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)


def test_intervals_cover_at_the_stated_rate():
    generator = np.random.default_rng(0)
    weights, inside = bootstrap_weights(200, 400, 1), []
    for _ in range(40):
        values = np.where(generator.random((200, 20)) < 0.5, generator.normal(0.4, 1, (200, 20)), 0.0)
        found = ratio_estimate(csr_array(values), np.ones(200, np.float32), weights)
        inside.append((found.low <= 0.2) & (found.high >= 0.2))
    assert 0.92 <= np.mean(inside) <= 0.97


def test_p_is_the_t_test_when_every_unit_fires():
    values = np.random.default_rng(0).normal(0.2, 1, (60, 5))
    found = ratio_estimate(csr_array(values), np.ones(60, np.float32), bootstrap_weights(60, 10, 0))
    np.testing.assert_allclose(found.p, ttest_1samp(values, 0).pvalue, rtol=1e-6)


def test_one_firing_pair_is_no_evidence():
    values = np.zeros((50, 1))
    values[3] = 5.0
    assert ratio_estimate(csr_array(values), np.ones(50, np.float32), bootstrap_weights(50, 10, 0)).p.tolist() == [1.0]


def test_few_resamples_without_a_firing_give_an_interval_not_a_crash():
    values = csr_array((np.ones(1), (np.zeros(1, int), np.zeros(1, int))), shape=(30, 2))
    found = ratio_estimate(values, values, bootstrap_weights(30, 20, 0))
    assert found.mean[0] == found.low[0] == found.high[0] == 1 and np.isnan(found.mean[1])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_q_values_are_benjamini_hochberg_and_keep_gaps(p):
    with_gap = np.array([*p, np.nan])
    found = q_values(with_gap)
    np.testing.assert_allclose(found[:-1], false_discovery_control(p))
    assert np.isnan(found[-1])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31 - 1))
def test_swapping_the_sides_of_every_pair_negates_the_margin_effect(seed):
    values = csr_array(np.random.default_rng(seed).normal(size=(12, 3)))
    weights, ones = bootstrap_weights(12, 30, seed), np.ones(12, np.float32)
    there, back = ratio_estimate(values, ones, weights), ratio_estimate(-values, ones, weights)
    np.testing.assert_allclose(there.mean, -back.mean)
    np.testing.assert_allclose(there.low, -back.high, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(there.p, back.p)


def test_features_go_to_the_topic_they_fire_on():
    presence = np.zeros((40, 3), bool)
    presence[:20, 0] = presence[20:, 1] = presence[::2, 2] = True
    text = np.array([*range(10), *range(20, 40), *range(40)])
    feature = np.array([0] * 10 + [1] * 20 + [2] * 40)
    firing = firing_matrix(text, feature, (40, 4))
    assert topic_of_features(firing, presence).tolist() == [0, 1, -1, -1]


def test_features_that_fire_on_the_same_texts_are_one_group():
    text = np.array([0, 1, 2, 0, 1, 2, 5, 6, 7, 8])
    feature = np.array([0, 0, 0, 3, 3, 3, 1, 1, 2, 2])
    assert [group.tolist() for group in cofiring_groups(firing_matrix(text, feature, (10, 5)))] == [[0, 3]]


@pytest.mark.parametrize("num_units", [1, 2])
def test_tiny_data_gives_numbers(num_units):
    values = csr_array(np.ones((num_units, 2)))
    found = ratio_estimate(values, np.ones(num_units, np.float32), bootstrap_weights(num_units, 10, 0))
    assert found.mean.tolist() == [1, 1] and np.isfinite(found.p).all()
