import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from rmviz.features.choose import chosen_examples
from rmviz.features.effect_rows import feature_ranges
from rmviz.features.marks import template_tokens
from rmviz.features.neighbours import firing_matrix, nearest_cofiring, nearest_decoders, texts_to_compare
from rmviz.features.pages import PAGE_LIMIT, fitted, rounded, write_pages
from rmviz.features.projection import projection
from rmviz.features.tally import FeatureTally, Firings, Windows, WordTally, load_pass, save_pass
from rmviz.features.words import joined, log_odds, top_words, word_of


def _rows(num_features=3, num_texts=50):
    feature = np.repeat(np.arange(num_features), num_texts)
    text = np.tile(np.arange(num_texts), num_features)
    return feature, text, np.random.default_rng(0).exponential(size=len(feature))


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**31), st.integers(1, 60))
def test_examples_span_the_bins_and_do_not_depend_on_order(num_bins, per_bin, seed, num_texts):
    feature, text, activation = _rows(3, num_texts)
    choose = {"num_bins": num_bins, "per_bin": per_bin, "seed": seed}
    rows, bins = chosen_examples(feature, text, text, activation, **choose)
    for one in range(3):
        mine = rows[feature[rows] == one]
        assert len(set(text[mine])) == len(mine)
        assert activation[feature == one].argmax() in text[mine]
        of_bin = bins[feature[rows] == one]
        sizes = np.bincount(np.arange(num_texts) * num_bins // num_texts, minlength=num_bins)
        assert (np.bincount(of_bin, minlength=num_bins) == np.minimum(sizes, per_bin)).all()
        order = np.argsort(activation[mine])
        assert (np.diff(of_bin[order]) >= 0).all()
    shuffle = np.random.default_rng(1).permutation(len(feature))
    again, _ = chosen_examples(feature[shuffle], text[shuffle], text[shuffle], activation[shuffle], **choose)
    assert {(feature[i], text[i]) for i in rows} == {(feature[shuffle][i], text[shuffle][i]) for i in again}


def test_a_pair_is_shown_once_by_its_stronger_text():
    feature, text, pair = np.zeros(4, dtype=int), np.arange(4), np.array([0, 0, 1, 1])
    rows, _ = chosen_examples(feature, text, pair, np.array([1.0, 2.0, 5.0, 3.0]), num_bins=4, per_bin=4, seed=0)
    assert sorted(rows) == [1, 2]


def test_no_rows_give_no_examples():
    none = np.zeros(0, dtype=np.int64)
    rows, bins = chosen_examples(none, none, none, np.zeros(0), num_bins=3, per_bin=2, seed=0)
    assert len(rows) == len(bins) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 100))
def test_ranges_cover_all_features_and_are_small(counts, at_once):
    ranges = feature_ranges(np.array(counts), at_once)
    assert [low for low, _ in ranges] + [len(counts)] == [0] + [high for _, high in ranges]
    assert all(sum(counts[low:high]) <= at_once or high == low + 1 for low, high in ranges)


@pytest.mark.parametrize(
    ("tokens", "marks"),
    [
        (["\n\n", "Human", ":", " what", " is", " it", "?"], [1, 1, 1, 0, 0, 0, 1]),
        (["\n\nAss", "istant", ":", " A", " human", " being"], [1, 1, 1, 0, 0, 0]),
        (["<|im_start|>", "user", "\n", "hi", "<|im_end|>"], [1, 1, 1, 0, 1]),
        (["<start_of_turn>", "model", " model", "s"], [1, 1, 0, 0]),
        ([" ", "…", "+", "3", "é", "好", "😀", "", "$"], [1, 1, 1, 0, 0, 0, 0, 0, 0]),
        ([], []),
    ],
)
def test_template_tokens(tokens, marks):
    assert template_tokens(tokens).tolist() == [bool(mark) for mark in marks]


def _firings(rng, num_features, num_words, n, num_texts=4):
    keys = rng.choice(num_texts * 20 * num_features, size=n, replace=False)
    text, rest = np.divmod(keys, 20 * num_features)
    position, feature = np.divmod(rest, num_features)
    activation = rng.exponential(size=n)
    return Firings(
        feature, text, position, rng.integers(0, num_words, n).astype(np.int32), rng.random(n) < 0.3, activation
    )


def _part(firings, rows):
    return Firings(
        *(getattr(firings, name)[rows] for name in ("feature", "text", "position", "word", "template", "activation"))
    )


def test_tallies_are_sums_over_parts(tmp_path):
    rng = np.random.default_rng(0)
    firings = _firings(rng, 5, 7, 200)
    tallies = []
    for parts in (1, 4):
        tally, words = FeatureTally(np.full(5, 4.0)), WordTally(5, 7, limit=10_000)
        windows = Windows(np.arange(5), np.zeros(5, dtype=int), np.zeros(5, dtype=int), np.full(4, 20), 5, 3)
        for part in np.array_split(np.argsort(firings.text, kind="stable"), parts):
            tally.add(_part(firings, part))
            words.add(_part(firings, part))
        windows.add(firings)
        words.merge()
        tallies.append((tally, words))
        save_pass(tmp_path / "p.npz", 3, tally, words, windows)
        fresh = (
            FeatureTally(np.full(5, 4.0)),
            WordTally(5, 7),
            Windows(np.arange(5), np.zeros(5, dtype=int), np.zeros(5, dtype=int), np.full(4, 20), 5, 3),
        )
        assert load_pass(tmp_path / "p.npz", *fresh) == 3
        assert (fresh[0].histogram == tally.histogram).all() and (fresh[1].keys == words.keys).all()
        assert (fresh[2].activations == windows.activations).all()
    (one, words), (four, others) = tallies
    assert (one.histogram == four.histogram).all() and one.histogram.sum() == len(firings.feature)
    assert (
        np.allclose(one.activation, four.activation)
        and (one.firings == np.bincount(firings.feature, minlength=5)).all()
    )
    assert (words.counts == others.counts).all() and words.counts.sum() == len(firings.feature)
    of_two = words.of(2)
    mine = firings.feature == 2
    assert of_two[1].sum() == mine.sum() and np.isclose(of_two[2].sum(), firings.activation[mine].sum())


def test_a_damaged_checkpoint_starts_the_pass_again(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"not a zip")
    windows = Windows(
        np.zeros(1, dtype=int), np.zeros(1, dtype=int), np.zeros(1, dtype=int), np.ones(1, dtype=int), 1, 1
    )
    assert load_pass(tmp_path / "p.npz", FeatureTally(np.ones(1)), WordTally(1, 1), windows) == 0


def test_word_counts_stay_within_their_limit_and_keep_the_frequent_ones():
    rng = np.random.default_rng(0)
    words = WordTally(4, 1000, limit=80)
    for _ in range(20):
        feature = rng.integers(0, 4, 500)
        word = np.where(rng.random(500) < 0.5, feature, rng.integers(0, 1000, 500)).astype(np.int32)
        words.add(Firings(feature, feature, feature, word, feature < 0, np.ones(500)))
        words.merge()
        assert len(words.keys) <= 80
    for feature in range(4):
        ids, counts, _ = words.of(feature)
        assert ids[counts.argmax()] == feature and counts.max() > 1000


@settings(deadline=None)
@given(st.integers(0, 59), st.integers(1, 60), st.integers(0, 12))
def test_windows_hold_the_strongest_firing(position, length, context):
    position = min(position, length - 1)
    windows = Windows(np.array([0]), np.array([0]), np.array([0]), np.array([length]), 1, context)
    weak = (position + 1) % length
    firings = Firings(
        np.zeros(2, dtype=int),
        np.zeros(2, dtype=int),
        np.array([weak, position]),
        np.zeros(2, dtype=np.int32),
        np.zeros(2, dtype=bool),
        np.array([0.5, 2.0]),
    )
    windows.add(firings)
    start = int(windows.starts[0])
    assert 0 <= start <= max(0, length - (2 * context + 1)) or start == 0
    assert windows.activations[0, position - start] == 2.0


def test_a_giant_activation_is_still_json():
    windows = Windows(np.array([0]), np.array([0]), np.array([0]), np.array([3]), 1, 1)
    none = np.zeros(1, dtype=int)
    windows.add(Firings(none, none, none, none.astype(np.int32), none > 0, np.array([1e9])))
    assert np.isfinite(windows.activations).all()


def test_the_telling_word_wins():
    base = np.array([1000, 20, 5])
    scores = log_odds(np.array([30, 18, 1]), 49, base, int(base.sum()) + 9000)
    assert top_words(scores, np.array([30, 18, 1]), 3).tolist() == [1, 0, 2]
    assert joined(["baby", "birth"]) == "baby · birth"


@settings(deadline=None)
@given(hnp.arrays(np.int64, 6, elements=st.integers(1, 50)), hnp.arrays(np.int64, 6, elements=st.integers(0, 1000)))
def test_log_odds_are_finite(counts, more):
    base = counts + more
    assert np.isfinite(log_odds(counts, int(counts.sum()), base, int(base.sum()))).all()


@settings(deadline=None)
@given(st.text(max_size=80))
def test_words_are_short_single_lines(token):
    word = word_of(token)
    assert 0 < len(word) <= 40 and word.split() and len(word.splitlines()) == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.text(max_size=3).map(lambda t: t * 4000), max_size=49)), max_size=20
    ),
    st.integers(1_000, PAGE_LIMIT),
)
def test_pages_fit_whatever_the_tokens(examples, limit):
    page = {
        "examples": [
            {"bin": bin, "tokens": tokens, "acts": [float(i) for i in range(len(tokens))], "start": 0}
            for bin, tokens in examples
        ],
        "tokens": [],
    }
    text = fitted(page, limit)
    assert len(text.encode()) <= limit
    for example in json.loads(text)["examples"]:
        assert len(example["tokens"]) == len(example["acts"])


def test_trimming_keeps_every_bin_and_the_strongest_token():
    example = {"tokens": ["\U0001f600" * 10_000] * 49, "acts": [0] * 30 + [5] + [0] * 18, "start": 7}
    page = {
        "examples": [{**example, "bin": bin} for bin in range(10) for _ in range(2)],
        "tokens": [{"token": "x" * 10_000}],
    }
    kept = json.loads(fitted(page))
    assert {one["bin"] for one in kept["examples"]} == set(range(10))
    assert all(5 in one["acts"] and one["start"] > 7 for one in kept["examples"])


def test_pages_are_written_in_small_groups(tmp_path):
    written = list(write_pages(tmp_path / "p.parquet", ((i, "{}") for i in range(35))))
    assert written == [16, 32, 35]


def test_rounded_numbers_are_json():
    assert rounded([1.0, 0.123456, float("nan"), float("inf"), -1e-9]) == [1, 0.123, 0, 0, -1e-9]


@settings(deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)), st.integers(1, 12))
def test_phi_is_symmetric_and_never_of_a_feature_with_itself(fires, n):
    near, size = nearest_cofiring(sparse.csr_matrix(fires.astype(np.float32)), n)
    phi = {(f, int(o)): s for f in range(len(near)) for o, s in zip(near[f], size[f], strict=True) if np.isfinite(s)}
    assert all(f != o and 0 < s <= 1 + 1e-5 for (f, o), s in phi.items())
    if n >= fires.shape[1]:
        assert all(phi.get((o, f), 0) == pytest.approx(s, abs=1e-5) for (f, o), s in phi.items())
    assert all((np.diff(row[np.isfinite(row)]) <= 1e-12).all() for row in size)


def test_nearest_decoders_in_chunks_are_the_plain_ones(monkeypatch):
    rows = torch.randn(23, 6)
    whole = nearest_decoders(rows, 4)
    monkeypatch.setattr("rmviz.features.neighbours._CELLS", 50)
    assert (nearest_decoders(rows, 4)[0] == whole[0]).all()
    assert all(place not in near for place, near in enumerate(whole[0]))
    assert nearest_decoders(rows[:1], 4)[0].shape == (1, 0)


def test_cofiring_is_counted_on_part_of_the_texts_when_all_are_too_many():
    per_text = np.full(100, 10)
    assert texts_to_compare(per_text, 0).all()
    kept = texts_to_compare(per_text, 0, products=2000)
    assert kept.sum() == 20
    rows = [{"text": np.arange(100, dtype=np.int32), "feature": np.zeros(100, dtype=np.int32)}]
    assert firing_matrix(rows, kept, 3).toarray().sum(axis=0).tolist() == [20, 0, 0]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7])
def test_few_features_still_have_a_map(n):
    flat = projection(np.random.default_rng(0).normal(size=(n, 3)), seed=0)
    assert flat.shape == (n, 2) and np.isfinite(flat).all()


def test_the_map_is_the_same_for_the_same_seed():
    rows = np.random.default_rng(0).normal(size=(60, 5))
    assert (projection(rows, 3) == projection(rows, 3)).all()
