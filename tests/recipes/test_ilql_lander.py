"""ILQL on the lander against dynamic programming: a quick run, and the whole recipe."""

import pytest

from rmviz.configs.recipes import RecipeConfig
from rmviz.recipes import ilql_lander
from rmviz.store.experiments import read_experiment
from rmviz.store.workspace import Workspace
from rmviz.worker import execute


@pytest.mark.slow
def test_a_short_run_knows_places_better_than_any_constant(tmp_path, monkeypatch):
    monkeypatch.setattr(ilql_lander, "RUNS", {"slipping": ("lander", 0.5)})
    monkeypatch.setattr(ilql_lander, "NUM_FLIGHTS", 400)
    monkeypatch.setattr(ilql_lander, "NUM_STEPS", 250)
    found = read_experiment(execute("recipe", RecipeConfig(name="ilql-lander", num_seeds=1), Workspace(tmp_path)))
    (row,) = found.tables["slipping"]
    assert row["q_mean_error"] < 0.8 * row["q_constant_error"]
    assert "With slips, at τ = ½" in found.found[0]


def test_seeds_whose_flights_never_end_are_counted():
    row = {f"{what}_error": 0.1 for what in ("q_mean", "v_mean", "v_best_mean", "q", "v", "data_q", "data_v")}
    rows = [{**row, "regret": regret} for regret in (0.25, None, 0.75, None)]
    of = {one.name: one for one in ilql_lander._figures("still", rows)}
    assert of["still_endless"].mean == 0.5 and of["still_endless"].n == 4
    assert (
        of["still_regret"].mean == 0.5
        and of["still_regret"].n == 2
        and "whose flights all end" in of["still_regret"].meaning
    )


@pytest.mark.slow
def test_q_and_v_are_within_5_percent_of_dynamic_programming(tmp_path):
    found = read_experiment(execute("recipe", RecipeConfig(name="ilql-lander", num_seeds=1), Workspace(tmp_path)))
    means = {figure.name: figure.mean for figure in found.figures}
    for name in ("slipping_q", "slipping_v", "still_q", "still_v", "still_v_best"):  # means over places and moves
        assert means[name] is not None and means[name] < 0.05, name
