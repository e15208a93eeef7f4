"""Axes: what they are written as, what is refused, and which cell a label or a number belongs to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.configs.axes import Axis, Grid, grid_of, parse_axis, parse_grid
from rmviz.configs.map import MapConfig, MapRescoreConfig, feature_list, judges_of
from rmviz.errors import ConfigError
from rmviz.qdaif.job import grid_for

RISING = st.lists(st.integers(-1000, 1000), min_size=3, max_size=12, unique=True).map(sorted)


def settings(**changes):
    return MapConfig(**{"model": "rm", "policy": "lm"} | changes)


def test_the_default_is_genres_by_tones():
    grid = grid_for(settings())
    assert grid.shape == (5, 5) and grid.labels(7) == ("sonnet", "mysterious")
    assert grid.cell(("hymn", "reflective")) == 24 and grid.cell(("hymn", "angry")) == -1
    assert grid.labels(-1) == ("", "")


def test_one_axis_and_bins():
    grid = parse_grid("lines: 0 < 4 < 14 < 30")
    assert grid.shape == (3, 1) and grid.axes[0].labels == ("0 to 4", "4 to 14", "14 to 30")
    assert [grid.axes[0].label_of(value) for value in (-5, 3.9, 4, 99)] == ["0 to 4", "0 to 4", "4 to 14", "14 to 30"]
    assert grid.axes[0].label_of(math.nan) == ""


@given(RISING, st.floats(-2000, 2000))
def test_a_number_falls_into_the_bin_whose_edges_hold_it(edges, value):
    axis = parse_axis("length: " + " < ".join(map(str, edges)))
    place = axis.labels.index(axis.label_of(value))
    assert place == 0 or value >= edges[place]
    assert place == len(axis.labels) - 1 or value < edges[place + 1]


@given(st.integers(2, 9), st.integers(2, 9))
def test_cells_and_labels_are_each_others_inverse(rows, columns):
    grid = Grid(tuple(Axis(name, tuple(f"{name}{i}" for i in range(n))) for name, n in (("a", rows), ("b", columns))))
    assert [grid.cell(grid.labels(cell)) for cell in range(grid.num_cells)] == list(range(rows * columns))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ("tone: happy", "", "at least 2 labels"),
        ("tone: happy, dark, Happy", "", "label twice: Happy, happy"),
        ("tone: happy, , dark", "", "empty label"),
        ("happy, dark", "", "is written"),
        ("tone: a, b", "Tone: c, d", "both axes are called"),
        ("length: 0 < 10 < 5", "", "must be numbers that rise"),
        ("length: 0 < ten", "", "must be numbers that rise"),
        ("", "", "one or two axes, got 0"),
        (f"a: {', '.join(map(str, range(100)))}", f"b: {', '.join(map(str, range(100)))}", "10,000 cells are too many"),
        (f"a: b, {'x' * 61}", "", "at most 60 characters"),
    ],
)
def test_impossible_axes_are_refused_with_the_reason(rows, columns, message):
    with pytest.raises(ConfigError, match=message):
        settings(rows=rows, columns=columns)


def test_axes_come_from_a_yaml_file(tmp_path):
    file = tmp_path / "axes.yaml"
    file.write_text("mood: [calm, wild]\nlength: {edges: [0, 10, 1000]}\n")
    grid = grid_for(settings(axes_file=str(file), judge="asked"))
    assert [axis.name for axis in grid.axes] == ["mood", "length"] and grid.axes[1].edges == (0, 10, 1000)
    assert grid_of({"a": [1, 2]}).axes[0].labels == ("1", "2")


@pytest.mark.parametrize("text", ["just words", "mood: calm", "mood: {bins: [1, 2]}", "mood: [calm\n", "[]"])
def test_an_axes_file_that_is_none_is_refused(tmp_path, text):
    file = tmp_path / "axes.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        grid_for(settings(axes_file=str(file), judge="asked"))
    with pytest.raises(ConfigError, match="cannot be read"):
        grid_for(settings(axes_file=str(tmp_path / "missing.yaml"), judge="asked"))


def test_judges_are_named_for_all_axes_or_each():
    assert judges_of("asked", ("tone", "genre")) == {"tone": "asked", "genre": "asked"}
    assert judges_of("tone=llm, genre=form", ("genre", "tone")) == {"tone": "llm", "genre": "form"}
    for judge in ("guess", "tone=form", "tone=form, genre=guess"):
        with pytest.raises(ConfigError):
            judges_of(judge, ("tone", "genre"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": "llm"}, "needs judge_model"),
        ({"judge": "asked", "baselines": True}, "quality_only asks for no cell"),
        ({"generator": "openai"}, "server must be an http address"),
        ({"qd_score_offset": "low"}, "auto or a number"),
        ({"cross_share": 1.5}, "cross_share"),
        ({"num_attempts": 0}, "num_attempts"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_scoring_again_needs_one_reason():
    assert feature_list("17, 3 17") == (3, 17)
    for changes in (
        {"other_map": "o", "features": "1", "sae": "s"},
        {"model": "b", "features": "1", "sae": "s"},
        {"features": "1"},
        {"features": "x", "sae": "s"},
    ):
        with pytest.raises(ConfigError):
            MapRescoreConfig(map="m", **changes)
