"""Strengths from comparisons: planted ones come back, intervals cover, and what cannot be rated is refused."""

import json

import numpy as np
import pytest

from rmviz.configs.data import RatingsConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_frame, dataset_problems, dataset_ratings
from rmviz.data.rate import compared_items, run
from rmviz.data.ratings import ELO, elo, fitted, groups_of
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.records import read_job
from rmviz.jobs.run import job_key, run_job
from rmviz.ranks import spearman
from rmviz.store.workspace import Workspace
from rmviz.types import Pair


def drawn(strength, per_item, rng):
    """Random comparisons within each row of strengths (group, item): first, second, score."""
    groups, n = strength.shape
    first = rng.integers(n, size=(groups, n * per_item // 2))
    second = (first + rng.integers(1, n, size=first.shape)) % n
    gap = np.take_along_axis(strength, first, 1) - np.take_along_axis(strength, second, 1)
    score = (rng.random(first.shape) < 1 / (1 + np.exp(-gap))).astype(float)
    base = np.arange(groups)[:, None] * n
    return (first + base).ravel(), (second + base).ravel(), score.ravel()


@pytest.mark.parametrize("spread", [1.0, 2.5])
def test_intervals_cover_at_their_rate(spread):
    rng = np.random.default_rng(1)
    true = rng.normal(0, spread, (100, 30))
    found = fitted(true.size, *drawn(true, 50, rng))
    centred = (true - true.mean(1, keepdims=True)).ravel()
    covered = ((found.low <= centred) & (centred <= found.high)).mean()
    assert 0.93 < covered < 0.97
    assert len(set(found.group)) == 100 and abs(found.strength.reshape(100, 30).mean(1)).max() < 1e-9


def test_planted_strengths_are_recovered_at_50_comparisons_an_item():
    rng = np.random.default_rng(0)
    true = np.stack([rng.permutation(np.linspace(-5, 5, 40)) for _ in range(20)])  # 1,700 Elo points from end to end
    found = fitted(true.size, *drawn(true, 50, rng)).strength.reshape(true.shape)
    assert np.mean([spearman(*both) for both in zip(true, found, strict=True)]) >= 0.98


def test_two_items_by_hand():
    wins = np.array([1.0] * 3 + [0.0])
    found = fitted(2, np.zeros(4, int), np.ones(4, int), wins, prior=1e4)
    assert found.strength[0] - found.strength[1] == pytest.approx(np.log(3), abs=1e-6)
    assert found.error[0] == pytest.approx(0.5 * np.sqrt(1 / (4 * 0.75 * 0.25)), rel=1e-5)
    assert elo(found.strength)[0] - elo(found.strength)[1] == pytest.approx(400 * np.log10(3), abs=1e-3)
    assert pytest.approx(173.7178) == ELO


def test_laws_of_the_fit():
    rng = np.random.default_rng(2)
    first, second, score = drawn(rng.normal(size=(1, 8)), 20, rng)
    found = fitted(8, first, second, score)
    np.testing.assert_allclose(fitted(8, second, first, 1 - score).strength, found.strength, atol=1e-8)
    np.testing.assert_allclose(fitted(8, first, second, 1 - score).strength, -found.strength, atol=1e-8)
    halves = fitted(8, *(np.concatenate([one, one]) for one in (first, second)), np.concatenate([score, 1 - score]))
    np.testing.assert_allclose(halves.strength, 0, atol=1e-8)
    ties = fitted(8, first, second, np.full(len(first), 0.5))
    np.testing.assert_allclose(ties.strength, 0, atol=1e-8)
    more = fitted(8, *(np.tile(one, 4) for one in (first, second, score)))
    assert (more.error < 0.55 * found.error).all()


def test_groups_of_every_size_are_rated_as_each_by_itself(monkeypatch):
    monkeypatch.setattr("rmviz.data.ratings._MOST_ENTRIES", 40)  # several rounds of one size
    rng = np.random.default_rng(3)
    sizes = rng.permutation([2] * 25 + [3] * 9 + [7] * 2)
    number = rng.permutation(sizes.sum())  # items of a group are not side by side
    parts = [drawn(rng.normal(size=(1, n)), 12, rng) for n in sizes]
    start = np.cumsum(sizes) - sizes
    first, second = (
        np.concatenate([number[part[side] + at] for part, at in zip(parts, start, strict=True)]) for side in (0, 1)
    )
    told = []
    found = fitted(
        len(number), first, second, np.concatenate([part[2] for part in parts]), told=lambda *now: told.append(now)
    )
    assert len(set(found.group)) == len(sizes)
    for part, at, n in zip(parts, start, sizes, strict=True):
        alone, its = fitted(int(n), *part), number[at : at + n]
        np.testing.assert_allclose(found.strength[its], alone.strength, atol=1e-8)
        np.testing.assert_allclose(found.error[its], alone.error, rtol=1e-8)
    done = [now for now, _ in told]
    assert done == sorted(done) and done[-1] == len(number) and len(set(done)) > 6


def test_errors_are_those_of_a_dense_inverse():
    rng = np.random.default_rng(4)
    first, second, score = drawn(rng.normal(size=(1, 6)), 20, rng)
    found = fitted(6, first, second, score, prior=2.0)
    won = 1 / (1 + np.exp(found.strength[second] - found.strength[first]))
    sides = np.eye(6)[first] - np.eye(6)[second]
    covariance = np.linalg.inv(sides.T @ (sides * (won * (1 - won))[:, None]) + np.eye(6) / 4)
    centring = np.eye(6) - 1 / 6
    np.testing.assert_allclose(found.error**2, np.diag(centring @ covariance @ centring), rtol=1e-6)


def test_an_item_that_always_wins_stays_finite_and_is_first():
    found = fitted(3, np.array([0, 0, 1, 2]), np.array([1, 2, 2, 1]), np.ones(4))
    assert found.strength.argmax() == 0 and np.isfinite(found.error).all() and found.strength[0] < 10


def test_groups_are_what_comparisons_join():
    assert groups_of(5, np.array([0, 2]), np.array([1, 3])).tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("winner", "score"), [("a", 1), ("B", 0), ("tie", 0.5), ("tie (both bad)", 0.5), ("item_b", 0), ("one", 1)]
)
def test_the_winner_is_named_in_many_ways(winner, score):
    assert compared_items({"item_a": "one", "item_b": "two", "winner": winner, "prompt": "q"}) == (
        "q",
        "one",
        "two",
        score,
    )


def test_items_that_are_called_a_and_b_win_by_their_text():
    assert compared_items({"item_a": "b", "item_b": "a", "winner": "a"})[3] == 0


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path / "ws")


def rated(space, tmp_path, rows, **changes):
    file = tmp_path / "comparisons.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run_job("data.ratings", RatingsConfig(source=str(file), **changes), space, run)


def versus(first, second, winner="a", **more):
    return {"item_a": first, "item_b": second, "winner": winner, **more}


def test_comparisons_become_pairs_with_margins_and_a_table_of_ratings(space, tmp_path):
    rows = [versus("good", "fair")] * 3 + [versus("fair", "good")] + [versus("fair", "poor")] * 2
    rows += [versus("poor", "fair", "tie"), versus("fair", "fair"), {"item_a": "x"}, versus("fair", "poor", "who")]
    artifact = rated(space, tmp_path, rows, heldout=0.0)
    table = dataset_ratings(artifact)
    assert table["item"].tolist() == ["good", "fair", "poor"] and table["num_comparisons"].tolist() == [4, 7, 3]
    assert table["won"].tolist() == [3, 3.5, 0.5]
    assert (table["elo_low"] < table["elo"]).all() and table["elo"].mean() == pytest.approx(1500)
    frame = dataset_frame(artifact)
    strength = table.set_index("item")["strength"]
    assert set(zip(frame["chosen"], frame["rejected"], strict=True)) == {("good", "fair"), ("fair", "poor")}
    np.testing.assert_allclose(
        frame["rating_margin"], strength[frame["chosen"]].to_numpy() - strength[frame["rejected"]].to_numpy()
    )
    assert (artifact.metrics["num_items"], artifact.metrics["num_comparisons"], artifact.metrics["num_ties"]) == (
        3,
        7,
        1,
    )
    reasons = [problem["reason"] for problem in dataset_problems(artifact)["problems"]]
    assert ["are the same" in reasons[0], "are wanted" in reasons[1], "winner must be" in reasons[2]] == [True] * 3
    every = rated(space, tmp_path, rows, heldout=0.0, pairs="all")
    assert every.metrics["num_pairs"] == 3 and "good" in set(dataset_frame(every)["chosen"])
    assert rated(space, tmp_path, rows, heldout=0.0, pairs="all", least_gap=2.0).metrics["num_pairs"] < 3


def test_a_dataset_whose_pairs_share_replies_is_rated(space):
    order = "abcd"
    pairs = [Pair(pair_id=f"{x}{y}", prompt="q", chosen=x, rejected=y) for x in order for y in order if x < y]
    source = keep_dataset(space, pairs, name="ranked", heldout=0.0, seed=0)
    artifact = run_job("data.ratings", RatingsConfig(source="ranked", heldout=0.0), space, run)
    assert artifact.parents == (source.id,) and artifact.name == "ranked-rated"
    assert dataset_ratings(artifact)["item"].tolist() == list(order)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no comparison can be used"),
        ([versus("x", "x")], "no comparison can be used: .*item_a and item_b are the same"),
        ([versus("x", "y", "tie")] * 4, "all 4 comparisons are ties"),
        ([versus("x", "y"), versus("v", "w")], "'x' and 'v' were never compared, .* no common scale"),
        ([versus("x", "y"), versus("y", "x")], "no two items differ in strength; add"),
    ],
)
def test_what_cannot_be_rated_is_refused(space, tmp_path, rows, sentence):
    with pytest.raises(DataError, match=sentence):
        rated(space, tmp_path, rows)
    assert space.list("dataset") == []


def test_groups_that_were_never_compared_are_rated_apart_when_asked(space, tmp_path):
    rows = [versus("x", "y"), versus("v", "w")]
    artifact = rated(space, tmp_path, rows, apart=True, pairs="all", heldout=0.0)
    assert artifact.metrics["num_groups"] == 2 and artifact.metrics["num_pairs"] == 2
    by_prompt = rated(space, tmp_path, [versus("x", "y", prompt="q"), versus("v", "w", prompt="r")], heldout=0.0)
    assert by_prompt.metrics["num_groups"] == 2


@pytest.mark.parametrize(
    "wrong", [{"source": " "}, {"prior": 0.0}, {"prior": 1e9}, {"heldout": 1.0}, {"least_gap": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        RatingsConfig(**{"source": "x", **wrong})


def test_ratings_tell_their_progress_and_end_when_they_are_cancelled(space, tmp_path):
    rows = [versus("one", "two", prompt=f"q{number}") for number in range(5000)]
    told = []
    file = tmp_path / "comparisons.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = RatingsConfig(source=str(file))

    def cancelled(kind, step, total, rate, metrics):
        told.append(step)
        if step >= 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("data.ratings", config, space, run, cancelled)
    assert (
        not space.list("dataset") and read_job(space.job_folder(job_key("data.ratings", config))).state == "cancelled"
    )
    assert told == sorted(told) and told[0] == 0 and any(30 <= step < 60 for step in told)
    told.clear()
    artifact = run_job("data.ratings", config, space, run, lambda kind, step, total, *_: told.append((step, total)))
    assert artifact.metrics["num_pairs"] == artifact.metrics["num_groups"] == 5000
    assert told[-1] == (100, 100) and told == sorted(told)
