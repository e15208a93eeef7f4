import json
import math

import numpy as np
import pytest

from rmviz.errors import ArtifactError, ConfigError, NotFoundError
from rmviz.store.experiments import Curves, Experiment, Figure, figure_of, keep_experiment, read_experiment
from rmviz.store.workspace import Workspace

FIGURES = [
    figure_of("fill_after", "Share of the optimum that the trained policy packs.", [0.5, 0.6, 0.7], unit="share")
]
CURVES = [
    Curves(title="Fill", meaning="By step.", x="step", y="fill", rows=[{"arm": "a", "seed": 0, "x": 1, "y": np.nan}])
]


def experiment(**values):
    given = {
        "title": "Knapsack", "found": ["It packs more."], "figures": FIGURES, "curves": CURVES, "seeds": 3, "seconds": 1.5,
        "command": "rmviz recipe knapsack", "tables": {"runs": [{"seed": np.int64(0), "fill": np.float32(0.5)}]},
    }  # fmt: skip
    return Experiment(**{**given, **values})


def test_a_figure_has_students_interval_by_hand():
    figure = FIGURES[0]
    assert figure.mean == pytest.approx(0.6)
    assert figure.high - figure.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-5)
    assert figure_of("one", "One seed.", [2.0, math.nan]) == Figure(name="one", meaning="One seed.", mean=2.0, n=1)
    assert figure_of("none", "No seed.", [math.nan]).mean is None


def test_keeping_and_reading_is_the_same(tmp_path):
    space = Workspace(tmp_path)
    with space.create("dataset", name="made") as draft:
        pass
    kept = keep_experiment(space, experiment(links=[draft.kept.id]), name="knapsack", key="k", config={"seed": 0})
    found = read_experiment(kept)
    assert found.figures == FIGURES and found.tables == {"runs": [{"seed": 0, "fill": 0.5}]}
    assert found.curves[0].rows == [{"arm": "a", "seed": 0, "x": 1, "y": None}]
    assert kept.parents == (draft.kept.id,) and kept.metrics["fill_after"] == pytest.approx(0.6)
    assert json.dumps(found.told(), allow_nan=False) and found.told()["fill_after"]["n"] == 3


@pytest.mark.parametrize("name", ["fill_after", "found", "seeds", "seconds", "links"])
def test_a_fact_cannot_hide_a_figure(name, tmp_path):
    with pytest.raises(ConfigError, match=f"names that no figure and no part of an experiment has, got {name}"):
        experiment(facts={name: 0.6})
    old = experiment().to_json() | {"facts": {name: 0.6, "capacity": 3}}
    told = Experiment.from_json(old).told()
    assert told["capacity"] == 3 and told["fill_after"]["n"] == 3 and told["seconds"] == 1.5, (
        "old reports are still read"
    )


def test_links_to_nothing_are_not_kept(tmp_path):
    with pytest.raises(NotFoundError, match="no artifact called 'policy-gone'"):
        keep_experiment(Workspace(tmp_path), experiment(links=["policy-gone"]), name="x", key="", config={})
    assert not Workspace(tmp_path).list("experiment")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": 3}, "of the wrong kind"),
        ({"colour": 1}, "has no colour"),
        ({"found": []}, "a sentence of what was found"),
        ({"found": "It."}, "a list of sentences|of the wrong kind"),
        (
            {"curves": [{"title": "t", "meaning": "m", "x": "x", "y": "y", "rows": [{"arm": "a"}]}]},
            "need arm, seed, x, y",
        ),
        ({"figures": [{"name": "a", "meaning": "m", "mean": 1, "low": 2, "high": 1, "n": 1}]}, "both ends"),
        ({"figures": [{"name": "a", "meaning": "m", "mean": "1", "n": 1}]}, "must be a number|of the wrong kind"),
        ({"figures": [{"name": "a", "meaning": "m", "n": 1}]}, "Figure needs mean"),
        ({"figures": [{"name": "a", "meaning": "m", "mean": 1, "n": 1}] * 2}, "got a twice"),
    ],
)
def test_a_broken_report_says_what_is_wrong(change, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Experiment.from_json({**experiment().to_json(), **change})
    with Workspace(tmp_path).create("experiment", name="broken") as draft:
        (draft.folder / "report.json").write_text(json.dumps({**experiment().to_json(), **change}))
    with pytest.raises(ArtifactError, match="run it again"):
        read_experiment(draft.kept)
