"""Margins of many pairs, on numbers that can be done by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from rmviz.ablation.margins import Margins, decisive, explained, wrong_pairs


def additive(num_pairs=400, seed=0):
    """Features 0 and 1 make 60 % and 30 % of every margin, feature 2 a tenth; the signs are the pairs' own."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=num_pairs)
    effects = np.stack([0.6 * margin, 0.3 * margin, 0.1 * margin], axis=1)

    def without(pairs, sets):
        return np.stack([margin[pairs] - effects[pairs][:, some].sum(axis=1) for some in sets], axis=1)

    return Margins([f"p{i}" for i in range(num_pairs)], margin, csr_array(effects)), without


def shares(margins, without, *, num_resamples=1000, seed=0):
    chosen = decisive(margins, seed)
    return explained(margins, chosen, without(chosen.measured, chosen.sets), num_resamples=num_resamples, seed=seed)


def test_the_share_of_k_features_is_what_they_carry():
    table = shares(*additive(), num_resamples=50).set_index("k")
    assert table["share"].to_dict() == pytest.approx({1: 0.6, 2: 0.9, 3: 1.0})
    assert table["features"].tolist() == ["0", "0,1", "0,1,2"] and (table["num_pairs"] == 200).all()
    assert (table["share_low"] <= table["share"] + 1e-6).all() and (table["share"] <= table["share_high"] + 1e-6).all()


def test_the_interval_covers_the_share_at_about_its_rate():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        margin = rng.normal(size=240)
        lost = np.abs(margin) * 0.5 + rng.normal(size=240) * 0.3
        margins = Margins(
            [str(i) for i in range(240)], margin, csr_array((np.sign(margin) * np.maximum(lost, 0.01))[:, None])
        )
        row = shares(
            margins,
            lambda pairs, sets, m=margin, x=lost: (m - np.sign(m) * x)[pairs][:, None],
            num_resamples=200,
            seed=seed,
        ).iloc[0]
        covered += row["share_low"] <= 0.5 <= row["share_high"]
    assert covered / 200 >= 0.9


def test_ties_and_single_pairs_explain_nothing():
    one, _ = additive(1)
    ties = Margins(["a", "b", "c"], np.zeros(3), csr_array(np.ones((3, 2))))
    for some in (one, ties):
        chosen = decisive(some)
        assert not chosen.sets and explained(some, chosen, np.zeros((0, 0))).empty
    pairs, groups = wrong_pairs(ties)
    assert pairs.empty and groups.empty


def test_wrong_pairs_belong_to_the_feature_whose_removal_rights_them():
    margin = np.array([-1.0, -1.0, -2.0, 0.5, -1.0, 0.0])
    effects = csr_array(
        np.array([[-1.5, 0, 0], [-1.2, -3.0, 0], [-1.0, -0.5, 0.4], [0.9, 0.0, -0.2], [0.3, 0, 0], [-5.0, 0, 0]])
    )
    pairs, groups = wrong_pairs(Margins(list("abcdef"), margin, effects))
    found = pairs.set_index("pair_id")
    assert found["feature"].to_dict() == {"a": 0, "b": 1, "c": -1, "e": -1}
    assert found.loc["a", "margin_without"] == pytest.approx(0.5) and found.loc["b", "num_righting"] == 2
    by_feature = groups.set_index("feature")
    assert by_feature.loc[0].to_dict() == {"num_pairs": 1, "num_righted": 2, "num_broken": 1}
    assert by_feature.loc[1].to_dict() == {"num_pairs": 1, "num_righted": 1, "num_broken": 0}
    assert by_feature.loc[-1, "num_pairs"] == 2
