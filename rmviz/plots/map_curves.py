"""Figures beside a map: how its search went, and the means of its rows and columns, with their intervals."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from rmviz.plots.style import CATEGORIES, NEUTRAL

METHODS = {"qdaif": "QDAIF", "random": "random", "fixed_seed": "fixed seed", "quality_only": "quality only"}
"""The search and its baselines, in the order of their colours."""

MEASURES = {"coverage": "Coverage", "qd_score": "QD score", "best": "Best reward"}
"""What is measured as a search goes on."""

_COLOURS = (CATEGORIES[0], CATEGORIES[1], "#d9a400", "#4c6ef5")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def band_points(bands: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What `band_figure` draws: method, attempts, mean, low, high and runs of one measure."""
    some = bands[bands["measure"] == measure]
    named = some.assign(method=[METHODS.get(str(name), str(name)) for name in some["method"]])
    return named[["method", "attempts", "mean", "low", "high", "runs"]].reset_index(drop=True)


def band_figure(
    methods: Sequence[str], measure: str, *, upto: int = 0, legend: bool = True, below: bool = True
) -> dict[str, Any]:
    """A Vega-Lite specification for `band_points`: a line per method over its 95 % band.

    Args:
        methods: Methods that are drawn, as in `METHODS`.
        measure: One of `MEASURES`.
        upto: Attempts at which a line stands; 0: none.
        legend: Whether this figure names the methods.
        below: Whether it says what its x axis counts.
    """
    names = list(METHODS.values())
    shown = [METHODS.get(method, method) for method in methods]
    known = [(name, names.index(name) if name in names else 0) for name in shown]
    colour = {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": shown, "range": [_COLOURS[i] for _, i in known]},
        "legend": {"title": None, "orient": "top", "columns": 4, "symbolType": "stroke"} if legend else None,
    }
    dash = {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": shown, "range": [_DASHES[i] for _, i in known]},
        "legend": colour["legend"],
    }
    percent = {"format": "%"} if measure == "coverage" else {"format": ".4~g"}
    x = {
        "field": "attempts",
        "type": "quantitative",
        "title": "attempts" if below else None,
        "axis": {"grid": False, "format": ",.6~g"},
    }
    y = {
        "type": "quantitative",
        "title": None,
        "scale": {"zero": measure == "coverage"},
        "axis": {"tickCount": 5, **percent},
    }
    tip = [{"field": "method", "type": "nominal"}, {"field": "attempts", "type": "quantitative", "format": ","}]
    tip += [{"field": end, "type": "quantitative", "format": ".4~g"} for end in ("mean", "low", "high", "runs")]
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "area", "opacity": 0.2}, "encoding": {
            "x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}},
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {
            "x": x, "y": {**y, "field": "mean"}, "color": colour, "strokeDash": dash}},
        {"mark": {"type": "circle", "size": 60, "opacity": 0}, "encoding": {
            "x": x, "y": {**y, "field": "mean"}, "color": colour, "tooltip": tip}},
    ]  # fmt: skip
    if upto:
        rule = {"mark": {"type": "rule", "color": NEUTRAL, "strokeDash": [3, 3]}, "encoding": {"x": {"datum": upto}}}
        layers.append(rule)
    title = {"text": MEASURES[measure], "anchor": "start", "fontSize": 13}
    return {"height": 210, "title": title, "layer": layers}


def mean_points(means: pd.DataFrame) -> pd.DataFrame:
    """What `mean_figure` draws: the labels of one axis, lowest mean first."""
    columns = ["label", "mean", "low", "high", "num_cells", "p_lowest", "p_adjusted"]
    return means.sort_values("mean", kind="stable")[columns].reset_index(drop=True)


def mean_figure(labels: Sequence[str], axis: str) -> dict[str, Any]:
    """A Vega-Lite specification for `mean_points`: a dot per label over its 95 % interval.

    Args:
        labels: In the order in which they stand, lowest mean first.
        axis: Name of the axis.
    """
    look = {"title": "mean expected best", "axis": {"format": ".3~g"}}
    y = {
        "field": "label",
        "type": "nominal",
        "sort": list(labels),
        "axis": {"title": axis, "labelLimit": 150, "ticks": False},
    }
    x = {"type": "quantitative", "scale": {"zero": False}, **look}
    tip = [{"field": "label", "type": "nominal", "title": axis}]
    tip += [
        {"field": f, "type": "quantitative", "format": ".3~g"}
        for f in ("mean", "low", "high", "p_lowest", "p_adjusted")
    ]
    return {
        "height": {"step": 30},
        "encoding": {"y": y},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2.5, "color": NEUTRAL},
             "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
            {"mark": {"type": "circle", "size": 90, "opacity": 1, "color": CATEGORIES[0]},
             "encoding": {"x": {**x, "field": "mean"}, "tooltip": tip}},
        ],
    }  # fmt: skip
