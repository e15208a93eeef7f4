"""Scoring again: what two reward models make of the same poems, and what switched-off features cost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdaif.conftest import SMALL
from qdaif.fakes import Counting

from rmviz.configs.map import MapRescoreConfig
from rmviz.errors import ConfigError
from rmviz.models.load import from_artifact
from rmviz.qdaif import job, rescore
from rmviz.qdaif.differences import ablated_cells, difference_cells
from rmviz.ranks import standardised
from rmviz.store.tables import load_table
from rmviz.types import Text

AXES = [{"name": "a", "labels": ["p", "q"]}, {"name": "b", "labels": ["r", "s"]}]
POEMS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-9, 9), st.floats(-9, 9), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)
CHANGES = ("model_changed", "search_changed", "own_changed")


@given(POEMS)
def test_swapping_the_two_sides_negates_the_difference(drawn):
    poems = pd.DataFrame(drawn, columns=["cell", "reward_a", "reward_b", "elite_a", "elite_b"])
    swapped = poems.rename(columns=_other)
    one, other = difference_cells(poems, AXES), difference_cells(swapped, AXES)
    for name in CHANGES:
        np.testing.assert_allclose(one[name], -other[name], atol=1e-9)


def _other(name):
    return name[:-1] + {"a": "b", "b": "a"}[name[-1]] if name.endswith(("_a", "_b")) else name


@given(POEMS)
def test_what_the_search_changed_and_what_the_model_changed_make_the_whole(drawn):
    poems = pd.DataFrame(drawn, columns=["cell", "reward_a", "reward_b", "elite_a", "elite_b"])
    a, b = standardised(poems["reward_a"].to_numpy()), standardised(poems["reward_b"].to_numpy())
    for cell in difference_cells(poems, AXES).itertuples():
        first, second = (poems[side] & (poems["cell"] == cell.cell) for side in ("elite_a", "elite_b"))
        if first.any() and second.any():
            on_elites = ((b - a)[first].mean() + (b - a)[second].mean()) / 2
            assert cell.own_changed == pytest.approx(cell.search_changed + on_elites, abs=1e-9)
        else:
            assert np.isnan(cell.own_changed)


def test_rewards_are_compared_in_their_own_spread():
    assert standardised(np.array([1.0, 3.0])).tolist() == [-1, 1]
    assert standardised(np.array([2.0, 2.0])).tolist() == [0, 0]
    assert np.isnan(standardised(np.array([1.0, np.nan, 3.0]))[1])
    poems = pd.DataFrame({"cell": [0, 1, 1], "reward_a": [0.0, 1.0, np.nan], "reward_b": [0.0, 2.0, 5.0],
                          "elite_a": True, "elite_b": False})  # fmt: skip
    assert difference_cells(poems, AXES)["num_poems"].tolist() == [1, 1, 0, 0]


def test_two_maps_are_compared_on_the_union_of_their_poems(space, map_artifact, tmp_path):
    other = job.run(replace(SMALL, model="other-rm", seed=3, name="other"), space, Counting(tmp_path / "other"))
    config = MapRescoreConfig(map=map_artifact.id, other_map=other.id)
    found = rescore.run(config, space, Counting(tmp_path / "a"))
    assert found.kind == "comparison" and found.read_json("comparison.json")["kind"] == "map"
    poems, cells = (load_table(found.path(f"{name}.parquet")) for name in ("poems", "cells"))
    assert poems["text"].is_unique and poems["in_a"].any() and poems["in_b"].any()
    rm = from_artifact(space.resolve("rm"))
    text = Text(text_id="x", prompt=SMALL.prompt, reply=poems["text"][0])
    assert poems["reward_a"][0] == pytest.approx(float(rm.score([text])[0]), abs=1e-4)
    turned = rescore.run(MapRescoreConfig(map=other.id, other_map=map_artifact.id), space, Counting(tmp_path / "b"))
    back = load_table(turned.path("cells.parquet"))
    for name in CHANGES:
        np.testing.assert_allclose(cells[name], -back[name], atol=1e-5)


def test_the_same_model_changes_nothing(space, map_artifact, tmp_path):
    found = rescore.run(MapRescoreConfig(map=map_artifact.id, model="rm"), space, Counting(tmp_path))
    cells = load_table(found.path("cells.parquet"))
    assert cells["model_changed"].dropna().abs().max() < 1e-5 and cells["search_changed"].isna().all()


def test_features_off_cost_what_a_real_ablation_costs(space, map_artifact, tmp_path):
    config = MapRescoreConfig(map=map_artifact.id, sae="sae", features="0,3,5,9")
    found = rescore.run(config, space, Counting(tmp_path))
    poems, cells = (load_table(found.path(f"{name}.parquet")) for name in ("poems", "cells"))
    assert (poems["effect"] != 0).any() and found.metrics["num_fired"] == (poems["effect"] != 0).sum()
    np.testing.assert_allclose(poems["reward"] - poems["ablated"], poems["effect"], atol=1e-5)
    assert cells["num_fired"].sum() == found.metrics["num_fired"]
    every = ",".join(map(str, range(32)))
    whole = rescore.run(MapRescoreConfig(map=map_artifact.id, sae="sae", features=every), space, Counting(tmp_path))
    assert whole.metrics["num_fired"] == len(poems)


def test_cells_without_poems_stay_empty():
    poems = pd.DataFrame({"cell": [1], "reward": [2.0], "ablated": [1.5], "effect": [0.5]})
    cells = ablated_cells(poems, AXES)
    assert (
        cells["effect"].tolist()[1] == 0.5
        and np.isnan(cells["best"][0])
        and cells["num_fired"].tolist() == [0, 1, 0, 0]
    )


def test_what_does_not_fit_is_refused(space, map_artifact, tmp_path):
    turned = job.run(
        replace(SMALL, rows=SMALL.columns, columns=SMALL.rows, name="turned"), space, Counting(tmp_path / "t")
    )
    with pytest.raises(ConfigError, match="other axes"):
        rescore.run(MapRescoreConfig(map=map_artifact.id, other_map=turned.id), space, Counting(tmp_path / "a"))
    with pytest.raises(ConfigError, match="say by what"):
        rescore.run(MapRescoreConfig(map=map_artifact.id), space, Counting(tmp_path / "c"))
    with pytest.raises(ConfigError, match="feature 99 does not exist"):
        rescore.run(MapRescoreConfig(map=map_artifact.id, sae="sae", features="99"), space, Counting(tmp_path / "b"))
