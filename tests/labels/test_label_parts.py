"""Scores by hand and by law, words of a label, and what is taken from a language model's answer."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from rmviz.configs.labels import LabelConfig, given_labels
from rmviz.errors import ConfigError
from rmviz.features.texts import ScannedTexts
from rmviz.labels.job import _shuffled
from rmviz.labels.judge import score_columns, score_of_columns, scored
from rmviz.labels.propose import proposal
from rmviz.labels.score import balanced_accuracy, direction_of, share, sign_agreement
from rmviz.labels.words import NEAR, WORDS, chosen_words, holds, label_words


def test_balanced_accuracy_by_hand():
    fires = np.array([True] * 4 + [False] * 6)
    said = np.array([True, True, True, False] + [False] * 3 + [True] * 3)
    found = balanced_accuracy(fires, said)
    assert (found.value, found.n) == (pytest.approx((3 / 4 + 3 / 6) / 2), 10)
    assert found.low < found.value < found.high
    assert balanced_accuracy(fires, fires).value == 1 and balanced_accuracy(fires, ~fires).value == 0
    assert balanced_accuracy(fires, ~fires).low == 0 and balanced_accuracy(fires, fires).high == 1
    assert balanced_accuracy(fires, np.ones(10, bool)).value == 0.5
    assert math.isnan(balanced_accuracy(np.ones(3, bool), np.ones(3, bool)).value)


def test_its_interval_covers_the_truth_as_often_as_it_says():
    rng, hit = np.random.default_rng(0), 0
    fires = np.arange(60) < 30
    for _ in range(600):
        said = np.where(fires, rng.random(60) < 0.8, rng.random(60) < 0.3)
        found = balanced_accuracy(fires, said)
        hit += found.low <= (0.8 + 0.7) / 2 <= found.high
    assert 0.92 <= hit / 600 <= 0.98


def test_signs_and_shares_by_hand():
    effect = np.array([-1.0, -0.5, 0.2, 0.0, np.nan])
    found = sign_agreement(effect, "lowers")
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert sign_agreement(effect, "raises").value == pytest.approx(1 / 3)
    assert sign_agreement(effect, "").n == 0 and sign_agreement(np.zeros(4), "raises").n == 0
    assert (direction_of(effect[:3]), direction_of(np.zeros(2)), direction_of(np.zeros(0))) == ("lowers", "", "")
    assert share(5, 10).low == pytest.approx(0.2366, abs=1e-4)


def test_what_a_judge_does_not_say_does_not_count():
    table = pd.DataFrame(
        {
            "fires": [True, True, False, False],
            "effect": [1.0, 2.0, 0.0, 0.0],
            "said": pd.array([True, None, None, True], "boolean"),
        }
    )
    found = scored(table, "raises")
    assert (found.num_firing, found.num_silent, found.balanced_accuracy.value) == (1, 1, 0.5)
    assert found.sign_agreement.n == 2 and score_of_columns(score_columns(found)) == found


def test_the_control_is_judged_on_the_tokens_that_labels_are():
    """A word that stands only where no features are defined tells the judge nothing."""
    tokens = [["<zebra>", "a"], ["<zebra>", "b"], ["c", "d"], ["e", "f"]]
    ids = [f"t{i}" for i in range(4)]
    columns = {
        "text_id": ids, "pair_id": ids, "side": ["text"] * 4, "prompt": [""] * 4, "reply": ["a", "b", "c d", "e f"],
        "token_ids": [[0, 1]] * 4, "feature_positions": [[False, True]] * 4, "tokens": tokens, "num_cut": [0] * 4,
        "reward": [0.0] * 4,
    }  # fmt: skip
    texts = ScannedTexts(pa.table(columns))
    held = {"text_id": ids, "fires": [True, True, False, False], "activation": 1.0, "effect": 0.0}
    held = pd.concat([pd.DataFrame(held).assign(feature=feature) for feature in (0, 1)], ignore_index=True)
    shuffled = [
        _shuffled(pd.DataFrame({"feature": [0, 1], "label": [word] * 2}), held, texts) for word in ("<zebra>", "a · b")
    ]
    assert shuffled == [0.5, 1.0]
    assert _shuffled(pd.DataFrame({"feature": [0, 1], "label": ["a", "b"]}), held.iloc[:0], texts) is None


def test_the_words_of_a_label():
    assert label_words("womb · midwife · <b>") == {"womb", "midwife", "<b>"}
    assert label_words("Mentions of pregnancy and the womb") == {"pregnancy", "womb"}
    assert label_words("the") == {"the"}
    words = label_words("Pregnancy and .*")
    assert words == {"pregnancy"}
    assert holds(words, [" preg", "nancy"], "her PREGNANCY.") and not holds(words, ["preg"], "pregnancies")
    assert holds(frozenset({"↵"}), ["a", "\n"], "a\n") and not holds(frozenset(), ["a"], "a")


def test_the_words_it_fires_on_are_taken_and_those_of_its_texts_where_they_say_more():
    names = ["the", "womb", "."]
    in_text = csr_array(np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1], [1, 0, 1]]))
    fires, base = np.array([True, True, False, False, False]), np.array([50, 20, 50])
    assert chosen_words(names, np.array([0, 9, 0]), base, in_text, fires, 3) == ("womb", WORDS)
    assert chosen_words(names, np.array([0, 0, 9]), base, in_text, fires, 3) == ("womb", NEAR)
    assert chosen_words(names, np.zeros(3, int), base, in_text, np.zeros(5, bool), 3) == ("", WORDS)


@pytest.mark.parametrize(
    ("answer", "label", "direction", "problem"),
    [
        ("LABEL: births\nEFFECT: LOWERS", "births", "lowers", ""),
        ("Sure.\n- **Label:** *births*\n**Effect**: Raises", "births", "raises", ""),
        ("label: births", "births", "", ""),
        ("LABEL: <script>alert(1)</script>", "<script>alert(1)</script>", "", ""),
        ("", "", "", "empty answer"),
        ("I'm sorry, I can't.", "", "", "refusal"),
        ("LABEL: I cannot help with that", "", "", "refusal"),
        ("nothing here " * 5000, "", "", "no line with a label"),
        ("LABEL: " + "x" * 50_000, "", "", "a label of"),
        ("LABEL:\n", "", "", "no line with a label"),
    ],
)
def test_answers_of_language_models(answer, label, direction, problem):
    found = proposal(answer)
    assert (found.label, found.direction) == (label, direction) and problem in found.problem


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": "12"}, "labels must be written as in"),
        ({"labels": "x: y"}, "labels must be written as in"),
        ({"labels": "1: y", "features": "2"}, "features or labels, not both"),
        ({"proposer": "openai"}, "openai needs policy"),
        ({"proposer": "openai", "policy": "m"}, "server must be an http address"),
        ({"proposer": "openai", "policy": "m", "judge": "transformers"}, "not transformers and openai"),
        ({"num_texts": 0}, "num_texts must be at least 1"),
    ],
)
def test_impossible_settings_are_a_sentence(values, message):
    with pytest.raises(ConfigError, match=message):
        LabelConfig(effects="e", **values)


def test_labels_written_in_a_setting():
    assert given_labels("12: births, babies, lowers; 3: a b ;") == {12: ("births, babies", "lowers"), 3: ("a b", "")}
