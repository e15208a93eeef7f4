import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from rmviz.compare.ablated import accuracy_effects, clean_accuracy, splice_change
from rmviz.compare.statistics import mcnemar

# margins 1, -1, 2, 0 and one pair without a reward
TEXTS = pd.DataFrame(
    [(f"p{i}/{side}", f"p{i}", side, reward) for i, both in enumerate([(1, 0), (0, 1), (2, 0), (1, 1), (1, np.nan)])
     for side, reward in zip(("chosen", "rejected"), both, strict=True)],
    columns=["text_id", "pair_id", "side", "reward"],
)  # fmt: skip
ROWS = pd.DataFrame(
    [
        ("p0/chosen", 3, 1.5),
        ("p1/rejected", 3, 1.5),
        ("p2/chosen", 5, 0.5),
        ("p3/rejected", 7, 0.5),
        ("p4/chosen", 7, 9.0),
    ],
    columns=["text_id", "feature", "effect"],
)


def test_accuracy_effects_by_hand():
    found = accuracy_effects(TEXTS, [ROWS.head(2), ROWS.tail(3)]).set_index("feature")
    assert found["num_pairs"].eq(4).all() and clean_accuracy(TEXTS).value == pytest.approx(2.5 / 4)
    # 3 rights pair 0 (without it 1 - 1.5 < 0) and wrongs pair 1 (without it -1 + 1.5 > 0)
    assert found.loc[3, ["num_righted", "num_wronged", "effect"]].tolist() == [1, 1, 0]
    assert found.loc[5, "effect"] == 0 and found.loc[5, "num_firing"] == 1
    # without 7 the tie becomes 0 + 0.5 > 0: the feature costs half a pair
    assert found.loc[7, "effect"] == pytest.approx(-0.5 / 4) and found.loc[7, "num_ties"] == 1
    assert found.index[0] == 7 and (found["low"] <= found["effect"]).all() and (found["effect"] <= found["high"]).all()


def test_q_by_hand_and_by_scipy():
    """Feature 1 rights eight pairs, 2 rights three and wrongs one, 3 moves nothing."""
    sides = [
        (f"p{i}/{side}", f"p{i}", side, reward)
        for i in range(20)
        for side, reward in (("chosen", 1.0), ("rejected", 0.0))
    ]
    texts = pd.DataFrame(sides, columns=["text_id", "pair_id", "side", "reward"])
    texts.loc[texts["text_id"] == "p19/chosen", "reward"] = -1.0
    rows = [(f"p{i}/chosen", 1, 2.0) for i in range(8)] + [(f"p{i}/chosen", 2, 2.0) for i in range(3)]
    rows += [("p19/chosen", 2, -2.0), ("p5/chosen", 3, 0.1)]
    found = accuracy_effects(texts, [pd.DataFrame(rows, columns=["text_id", "feature", "effect"])]).set_index("feature")
    assert found["p"].to_dict() == pytest.approx({1: 2 / 2**8, 2: 2 * 5 / 2**4, 3: 1.0})
    assert found["q"].to_dict() == pytest.approx({1: 3 * 2 / 2**8, 2: 1.5 * 2 * 5 / 2**4, 3: 1.0})
    for righted, wronged in [(0, 0), (5, 5), (9, 1), (1, 9), (30, 12)]:
        exact = binomtest(righted, righted + wronged).pvalue if righted + wronged else 1.0
        assert mcnemar(np.array([righted]), np.array([wronged]))[0] == pytest.approx(exact)


@pytest.mark.parametrize("texts", [TEXTS.head(0), TEXTS.assign(side="text", pair_id=""), TEXTS.assign(reward=np.nan)])
def test_nothing_to_rank_gives_no_rows(texts):
    assert accuracy_effects(texts, [ROWS]).empty


def test_swapping_sides_negates_what_features_do():
    turned = TEXTS.assign(side=TEXTS["side"].map({"chosen": "rejected", "rejected": "chosen"}))
    one, other = (accuracy_effects(texts, [ROWS]).set_index("feature").sort_index() for texts in (TEXTS, turned))
    np.testing.assert_allclose(one["effect"], -other["effect"])


def test_the_splice_has_a_paired_interval_where_the_card_counts_pairs():
    card = {
        "clean_pair_accuracy": 0.7,
        "splice_pair_accuracy": 0.6,
        "num_pairs": 100,
        "splice_steps": [15, 0, 80, 0, 5],
    }
    found = splice_change(card)
    assert found.value == pytest.approx(-0.1) and found.low < -0.1 < found.high < 0 and found.n == 100
    old = splice_change({**card, "splice_steps": None})
    assert old.value == pytest.approx(-0.1) and np.isnan(old.low)
    assert splice_change({"clean_pair_accuracy": None, "splice_pair_accuracy": None}).n == 0
