"""A map read back: the history ends at the map, families end at seeds, sentences say what the numbers say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdaif.conftest import SMALL
from qdaif.fakes import SETTINGS, Counting, parts

from rmviz.qdaif import job, sentences
from rmviz.qdaif.attempts import Journal
from rmviz.qdaif.read import cells_after, counts_as_draw, family, map_tables, poems_of

BY = pytest.mark.parametrize("by", ["judged", "asked"])


@pytest.fixture(scope="module")
def tables(space, tmp_path_factory):
    """A map of the grammar's poems, with some that cannot count."""
    folder = tmp_path_factory.mktemp("read")
    config = replace(SETTINGS, model="rm", policy="lm", num_attempts=200, min_draws=3)
    made = parts(score=lambda texts: np.array([np.nan if "sea" in t else len(t) / 40 for t in texts], np.float32))
    journal = Journal(folder, {})
    job.searched(config, made, journal, Counting(folder / "job"))
    with space.create("map", name="read") as draft:
        draft.metrics |= job.written_tables(draft.folder, config, made.grid, journal)
    return map_tables(draft.kept)


@BY
def test_the_history_ends_at_the_map(tables, by):
    kept = tables.filed(by)
    n = int(kept["n"].iloc[0])
    last = cells_after(tables.attempts, tables.grid, len(tables.attempts), by, n=n, min_draws=3)
    for name in ("cell", "row", "column", "draws", "thin"):
        assert last[name].tolist() == kept[name].tolist(), name
    for name in ("best", "median", "q90", "expected_best", "right_share"):
        np.testing.assert_allclose(last[name], kept[name], atol=1e-9, err_msg=name)


@BY
def test_the_best_only_grows_and_nothing_is_there_before_the_beginning(tables, by):
    steps = [cells_after(tables.attempts, tables.grid, count, by, n=1, min_draws=1) for count in (0, 20, 90, 200)]
    assert steps[0]["draws"].sum() == 0 and steps[0]["best"].isna().all()
    for before, after in pairwise(steps):
        known = before["best"].notna()
        assert (after.loc[known, "best"] >= before.loc[known, "best"]).all()
        assert (after["draws"] >= before["draws"]).all()


@BY
def test_the_poems_of_a_cell_are_its_draws_by_falling_reward_and_then_the_rest(tables, by):
    for row in tables.filed(by).to_dict("records"):
        poems = poems_of(tables.attempts, by, row["cell"])
        drawn = poems[poems["counted"]]
        assert len(drawn) == row["draws"] and drawn["reward"].is_monotonic_decreasing
        assert poems["counted"].is_monotonic_decreasing and (poems[by] == row["cell"]).all()
        if len(drawn):
            assert drawn["reward"].iloc[0] == pytest.approx(row["best"]) and drawn["attempt_id"].iloc[0] == row["elite"]


def test_what_has_no_reward_is_no_draw(tables):
    assert not counts_as_draw(tables.attempts)[tables.attempts["reward"].isna().to_numpy()].any()
    assert tables.attempts["reward"].isna().any()


def test_a_family_holds_all_parents_after_their_children_and_ends_at_seeds(tables):
    for attempt in (199, 150, 60, 0):
        line, ancestors = family(tables.attempts, attempt, most=10_000)
        ids, generation = line["attempt_id"].tolist(), dict(zip(line["attempt_id"], line["generation"], strict=True))
        assert ids[0] == attempt and len(ids) == len(set(ids)) == ancestors + 1
        for number, parents in zip(line["attempt_id"], line["parents"], strict=True):
            assert all(generation[int(parent)] > generation[number] for parent in parents)
        assert not len(line["parents"].iloc[-1])


def test_a_long_family_is_cut_in_the_middle(tables):
    whole, ancestors = family(tables.attempts, 199, most=10_000)
    short, again = family(tables.attempts, 199, most=4)
    assert again == ancestors and len(short) == min(4, len(whole))
    assert short["attempt_id"].iloc[0] == 199 and not len(short["parents"].iloc[-1])
    assert family(tables.attempts, 10**6)[1] == 0 and family(tables.attempts, 10**6)[0].empty


def means(values, p, axis="genre"):
    return pd.DataFrame(
        {"axis": axis, "label": [f"l{i}" for i in range(len(values))], "mean": values, "low": values, "high": values,
         "num_cells": 5, "p_lowest": p, "p_adjusted": [min(1.0, len(p) * one) for one in p]}
    )  # fmt: skip


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6, unique=True), st.floats(1e-6, 1))
def test_the_sentence_names_the_lowest_and_is_sure_only_when_it_may_be(values, p):
    table = means(values, [p] * len(values))
    said = sentences.lowest_sentence(table)
    assert f"l{int(np.argmin(values))}" in said
    assert said.startswith("The lowest genre is") == (min(1.0, len(values) * p) < sentences.SURE)


def test_a_sentence_about_nothing_says_so():
    assert "fewer than two" in sentences.lowest_sentence(means([1.0, np.nan], [1.0, 1.0]))
    empty = pd.DataFrame({"axis": [], "asked": [], "judged": [], "count": []})
    assert "No poem" in sentences.confusion_sentence(empty, "tone")
    cells = pd.DataFrame({"row": ["a"], "column": [""], "num_poems": [3], "x": [np.nan]})
    assert "no cell" in sentences.change_sentence(cells, "x", "X", "u") and "no cell" in sentences.ends_sentence(
        cells, "x", "X"
    )
    assert "nothing in any" in sentences.change_sentence(cells.assign(x=0.0), "x", "X", "u")


def test_a_change_is_told_with_its_ends():
    cells = pd.DataFrame({"row": ["a", "b"], "column": ["c", "c"], "num_poems": [3, 4], "x": [-1.0, 2.0]})
    said = sentences.change_sentence(cells, "x", "X", "u")
    assert "most in b × c (+2 u)" in said and "least in a × c (−1 u)" in said and "1 of 2 cells, 7 poems" in said


def test_confusion_tells_the_commonest_miss():
    table = pd.DataFrame(
        [("tone", "a", "a", 6), ("tone", "a", "b", 1), ("tone", "a", "", 3)],
        columns=["axis", "asked", "judged", "count"],
    )
    said = sentences.confusion_sentence(table, "tone")
    assert said.startswith("60 % of 10 poems") and "asked for a, judged none of them (3 times)" in said


def test_the_real_tables_give_sentences(map_artifact):
    tables = map_tables(map_artifact)
    assert tables.method == SMALL.method and tables.grid.num_cells == 6
    for _, some in tables.means.groupby("side"):
        assert sentences.lowest_sentence(some).endswith(".")
