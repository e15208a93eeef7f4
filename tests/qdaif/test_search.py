"""The search with a generator that writes by the grammar: what enters the archive, and what an interruption changes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from qdaif.fakes import GRID, SETTINGS, Counting, GrammarGenerator, parts, true_rewards

from rmviz.configs.axes import parse_grid
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.qdaif import tables
from rmviz.qdaif.archive import Archive
from rmviz.qdaif.attempts import Attempt, Journal, attempt_frame
from rmviz.qdaif.duplicates import Likeness, normalised, overlap, triples
from rmviz.qdaif.job import runs_of, searched
from rmviz.qdaif.requests import Requests
from rmviz.qdaif.scoring import finite_rewards
from rmviz.types import Text


def attempt(number, text="", *, cell=0, reward=0.0, **changes):
    values = dict(
        attempt_id=number, run=0, method="qdaif", step=0, move="seed", text=text or f"poem number {number} {'la ' * number}",
        parents=(), asked=cell, judged=cell, reward=float(reward), seconds=0.0, generator="test",
    )  # fmt: skip
    return Attempt(**values | changes)


def journal_of(folder, config=SETTINGS, stop_after=10**9, **changes):
    report = Counting(folder, stop_after)
    journal = Journal(folder, {"grid": "test"})
    searched(config, parts(**changes), journal, report)
    return journal


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    return journal_of(tmp_path_factory.mktemp("whole")).attempts


def timeless(attempts):
    return [asdict(replace(one, seconds=0.0)) for one in attempts]


def test_the_best_of_each_cell_is_its_elite(attempts):
    assert len(attempts) == 60 and [one.attempt_id for one in attempts] == list(range(60))
    best = {}
    for one in attempts:
        if one.problem == "":
            best[one.judged] = max(best.get(one.judged, -np.inf), one.reward)
    elites = {one.judged: one.reward for one in attempts if one.accepted}
    assert elites == best
    assert {one.move for one in attempts[:20]} == {"seed"} and {one.move for one in attempts[20:]} == {
        "mutate",
        "cross",
    }
    by_id = {one.attempt_id: one for one in attempts}
    for one in attempts:
        assert all(by_id[parent].accepted and by_id[parent].step < one.step for parent in one.parents)


@pytest.mark.parametrize(("stop_after", "method"), [(1, "qdaif"), (3, "qdaif"), (2, "quality_only")])
def test_resumed_equals_unbroken(tmp_path, stop_after, method):
    config = replace(SETTINGS, method=method, num_repeats=2, num_attempts=18, batch_size=4, num_initial=6)
    whole = journal_of(tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        journal_of(tmp_path / "broken", config, stop_after)
    kept = len(Journal(tmp_path / "broken", {"grid": "test"}).steps)
    with (tmp_path / "broken/attempts.jsonl").open("a") as file:
        file.write('{"seconds": {}, "attempts": [{"attempt_')  # killed while it wrote
    generator = GrammarGenerator()
    resumed = journal_of(tmp_path / "broken", config, generator=generator)
    assert timeless(resumed.attempts) == timeless(whole.attempts)
    assert generator.calls == len(whole.steps) - kept


def test_a_journal_of_other_axes_is_not_taken_up(tmp_path):
    journal_of(tmp_path, replace(SETTINGS, num_attempts=3))
    with pytest.raises(ConfigError, match="start it anew"):
        Journal(tmp_path, {"grid": "other"})


def test_seeds_differ_and_repeat(tmp_path):
    texts = [[one.text for one in journal_of(tmp_path / name, replace(SETTINGS, seed=seed, num_attempts=12)).attempts]
             for name, seed in (("a", 1), ("b", 1), ("c", 2))]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]


def test_baselines_run_beside_the_map():
    runs = runs_of(replace(SETTINGS, baselines=True, num_repeats=2, seed=5))
    assert [run.method for run in runs] == [m for m in ("qdaif", "random", "fixed_seed", "quality_only") for _ in "ab"]
    assert [run.seed for run in runs] == [5, 6] * 4


def test_each_method_asks_for_what_it_is_called(tmp_path):
    found = {}
    for method in ("random", "fixed_seed", "quality_only"):
        requests = Requests(method, GRID, 0, num_initial=0, cross_share=0.5, seed_poem="a fixed poem")
        archive = Archive(GRID)
        requests.learn(archive.add([attempt(i, cell=i, reward=i) for i in range(40 % 25)]))
        found[method] = requests.drawn(archive, 0, 10, 60)
    assert {one.move for one in found["random"]} == {"seed"} and all(one.asked >= 0 for one in found["random"])
    assert all(one.sources[0].text == "a fixed poem" and not one.parents for one in found["fixed_seed"])
    assert {one.asked for one in found["quality_only"]} == {-1} and all(one.sources for one in found["quality_only"])


@given(st.lists(st.tuples(st.integers(-1, 3), st.floats(-5, 5) | st.just(float("nan"))), max_size=30))
@hypothesis_settings(deadline=None)
def test_what_has_no_reward_or_no_cell_is_never_an_elite(drawn):
    grid = parse_grid("a: p, q", "b: r, s")
    archive = Archive(grid)
    offered = [attempt(i, cell=cell, reward=reward) for i, (cell, reward) in enumerate(drawn)]
    kept = archive.add(offered)
    known = [(one.judged, one.reward) for one in kept if one.judged >= 0 and np.isfinite(one.reward)]
    assert {cell: one.reward for cell, one in archive.elites.items()} == {
        cell: max(reward for at, reward in known if at == cell) for cell, _ in known
    }
    stats = archive.stats()
    assert stats.num_elites == len(archive.elites) and stats.coverage == len(archive.elites) / 4
    assert stats.qd_score >= -1e-9
    assert all(one.problem for one in kept if not np.isfinite(one.reward))


def test_a_fuller_map_is_never_worse():
    archive = Archive(parse_grid("a: p, q, r"))
    scores = []
    for i, reward in enumerate((-9.0, -3.0, -5.0)):
        archive.add([attempt(i, cell=i, reward=reward)])
        scores.append(archive.stats(-10.0).qd_score)
    assert scores == [1, 8, 13]


def test_the_same_text_takes_one_cell_only():
    archive = Archive(parse_grid("a: p, q, r"), 0.6)
    poem = "the cold sea sings to the cold moon and the stars listen\nall night long until morning"
    kept = archive.add([
        attempt(0, poem, cell=0, reward=1),
        attempt(1, f"  {poem.upper()}!! ", cell=1, reward=9),
        attempt(2, poem.replace("morning", "dawn"), cell=1, reward=9),
        attempt(3, poem.replace("morning", "dusk"), cell=0, reward=2),
    ])  # fmt: skip
    assert [one.problem for one in kept] == ["", "duplicate", "near-duplicate", ""]
    assert [one.duplicate_of for one in kept] == [-1, 0, 0, -1]
    assert archive.elites.keys() == {0} and archive.elites[0].attempt_id == 3


@given(st.lists(st.text("abc ", min_size=5, max_size=40), min_size=2, max_size=8))
def test_the_nearest_is_the_one_with_most_overlap(texts):
    likeness, pieces = Likeness(), [triples(text) for text in texts]
    for i, some in enumerate(pieces[1:]):
        likeness.put(i, some)
    near, found = likeness.nearest(pieces[0], but=-5)
    wanted = max((overlap(pieces[0], some) for some in pieces[1:] if some & pieces[0]), default=0.0)
    assert found == pytest.approx(wanted) and (near >= 0) == (wanted > 0)


def test_what_makes_no_difference_to_a_text():
    assert (
        normalised("The SEA,\n the  Sea!") == normalised("the sea the sea") and overlap(triples(""), triples("")) == 1
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"), (" \n\t", "empty"), ("I'm sorry, but I cannot write that.", "refusal"), ("?!", "empty"),
        ("la " * 17_000, "cut"), ("<script>alert(1)</script>\nla", ""), ("雪が降る\n静かな夜に\n独り聞く", ""), ("bad \ud800 half", ""),
    ],
)  # fmt: skip
def test_bad_texts_are_kept_and_marked(tmp_path, text, problem):
    class Odd:
        name = "odd"

        def written(self, requests, *, seed):
            return [text] + [f"a poem {seed} {i}" for i in range(len(requests) - 1)]

    config = replace(SETTINGS, num_attempts=3, num_initial=3, batch_size=3)
    first = journal_of(tmp_path, config, generator=Odd(), score=lambda texts: np.ones(len(texts), np.float32)).attempts[
        0
    ]
    assert first.problem in (problem, "no cell") and len(first.text) <= 20_000
    assert not first.accepted
    assert len(attempt_frame([first], GRID)) == 1


def test_a_reward_that_is_no_number_is_marked_and_the_search_goes_on(tmp_path):
    def score(texts):
        return np.where(
            ["mirror" in text.lower() or "grave" in text.lower() or "kiss" in text.lower() for text in texts],
            np.nan,
            true_rewards(texts),
        ).astype(np.float32)

    attempts = journal_of(tmp_path, score=score).attempts
    lost = [one for one in attempts if one.problem == "no reward"]
    assert lost and not any(one.accepted for one in lost) and any(one.accepted for one in attempts)


def test_a_batch_that_fails_is_halved_until_the_text_is_found():
    calls = []

    def score(texts):
        calls.append(len(texts))
        if any("bad" in text.reply for text in texts):
            raise ModelError("not a number") if len(texts) % 2 else DataError("nothing left")
        return np.arange(len(texts), dtype=np.float32)

    texts = [Text(text_id=str(i), prompt="", reply="bad" if i == 5 else "good") for i in range(16)]
    assert np.isnan(finite_rewards(score, texts)).tolist() == [i == 5 for i in range(16)]
    assert len(calls) < 12 and len(finite_rewards(score, [])) == 0


def test_tables_say_what_the_attempts_hold(attempts):
    cells, resamples = tables.cell_table(attempts, GRID, SETTINGS, "judged")
    assert cells["draws"].sum() == sum(one.judged >= 0 for one in tables.counted(attempts))
    assert resamples.shape == (50, 25) and set(cells["n"]) == {cells["n"].iloc[0]}
    texts = {one.attempt_id: one for one in attempts}
    for cell in cells.itertuples():
        assert (cell.elite == -1) == (cell.draws == 0)
        assert cell.elite == -1 or (texts[cell.elite].judged, texts[cell.elite].reward) == (cell.cell, cell.best)
    confusion = tables.confusion_table(attempts, GRID)
    assert confusion.groupby("axis")["count"].sum().tolist() == [60, 60]
    curves = tables.curve_table(attempts, GRID, SETTINGS, -5.0)
    assert curves["coverage"].is_monotonic_increasing and curves["qd_score"].is_monotonic_increasing
    assert curves.iloc[-1]["attempts"] == 60
    bands = tables.band_table(curves)
    assert (bands["low"] == bands["mean"]).all() and set(bands["runs"]) == {1}
