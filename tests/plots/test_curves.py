import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.plots.curves import (
    MAX_HOVER,
    MAX_POINTS,
    Curve,
    curve_caption,
    curve_figure,
    curve_points,
    smoothed,
    thinned,
)

HOSTILE = '<a href="http://evil.test">x</a>\n&'


def line(count, name="run"):
    return Curve(name, np.arange(count, dtype=float), np.sin(np.arange(count) / 50) + 2)


def test_a_short_curve_is_drawn_whole():
    points = curve_points([line(100)])
    assert points["x"].tolist() == list(range(100)) and set(points["line"]) == {"main"} and points["hover"].all()


def test_half_a_million_points_become_two_thousand_with_ends_and_extremes():
    curve = line(500_000)
    curve.y[123_456], curve.y[400_000] = 99.0, -99.0
    points = curve_points([curve])
    assert len(points) <= MAX_POINTS and points["hover"].sum() == MAX_HOVER
    assert points["x"].iloc[0] == 0 and points["x"].iloc[-1] == 499_999
    assert points["y"].max() == 99 and points["y"].min() == -99
    assert points["x"].is_monotonic_increasing and points["x"].is_unique


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_ends_extremes_and_order(values, limit):
    y = np.array(values)
    kept = thinned(np.arange(len(y)), y, limit)
    assert len(kept) <= max(limit, 4) and (np.diff(kept) > 0).all()
    assert kept[0] == 0 and kept[-1] == len(y) - 1
    assert y[kept].min() == y.min() and y[kept].max() == y.max()


def test_smoothing_by_hand():
    assert smoothed(np.array([1.0, 3.0, 2.0]), 0.0).tolist() == [1, 3, 2]
    assert smoothed(np.array([1.0, 3.0]), 0.5).tolist() == pytest.approx([1, (3 + 0.5) / 1.5])
    assert smoothed(np.full(50, 7.0), 0.9) == pytest.approx(7)


def test_smoothing_keeps_the_reported_curve_behind():
    points = curve_points([line(50)], smoothing=0.9)
    raw, main = (points[points["line"] == name]["y"] for name in ("raw", "main"))
    assert len(raw) == len(main) == 50 and np.ptp(main) < np.ptp(raw)
    assert not points[points["line"] == "raw"]["hover"].any()


def test_a_log_axis_leaves_out_what_it_cannot_show_and_says_so():
    curves = [Curve("a", np.arange(3.0), np.array([1.0, 0.0, -1.0]))]
    assert curve_points(curves, log=True)["y"].tolist() == [1.0]
    assert curve_figure(["a"], "loss", log=True)["encoding"]["y"]["scale"]["type"] == "log"
    assert curve_caption(curves, log=True) == "n = 3 reports · 2 at or below 0 left out"
    assert curve_caption(curves[:1], smoothing=0.5) == "n = 3 reports · smoothing 0.5"


def test_several_runs_have_a_legend_and_their_own_look():
    names = [f"run {number}" for number in range(12)]
    main = curve_figure(names, "loss")["layer"][1]["encoding"]
    looks = zip(main["color"]["scale"]["range"], map(tuple, main["strokeDash"]["scale"]["range"]), strict=True)
    assert len(set(looks)) == 12 and main["color"]["legend"]
    assert curve_figure(["one"], "loss")["layer"][1]["encoding"]["color"]["legend"] is None


def test_an_update_leaves_the_figure_as_it_is():
    assert curve_figure(["a"], "loss") == curve_figure(["a"], "loss"), "so that a browser keeps it, and its zoom"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_draw(count):
    points = curve_points([line(count), line(0)], smoothing=0.5, log=True)
    assert list(points) == ["x", "y", "run", "line", "hover"] and len(points) == 2 * count
    json.dumps(curve_figure(["a", "b"], HOSTILE, log=True), allow_nan=False)


def test_names_from_data_are_only_data():
    spec = curve_figure([HOSTILE, "b"], HOSTILE)
    assert all(HOSTILE not in layer["transform"][0]["filter"] for layer in spec["layer"])
    assert curve_points([line(3, HOSTILE)])["run"].unique().tolist() == [HOSTILE]
