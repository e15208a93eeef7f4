"""Curves of training: one metric of one or several runs, smoothed, and thinned to what a screen can show.

They are Vega-Lite specifications: a browser then draws new points into the figure that is there, and a zoom stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from rmviz.plots.captions import count

MAX_POINTS = 2_000
"""Points drawn per curve."""

MAX_HOVER = 250
"""Points per curve that tell their value when the mouse is over them."""

RUNS = ("#0ca678", "#9c36b5", "#d9a400", "#e64980", "#4c6ef5", "#868e96", "#74b816", "#a0522d")
"""Colours of runs; after the last, the first comes again with another dash."""

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
_FAINT = 0.3


@dataclass(frozen=True)
class Curve:
    """One run's metric; no value is NaN."""

    name: str
    x: np.ndarray
    y: np.ndarray


def curve_points(curves: Sequence[Curve], *, smoothing: float = 0.0, log: bool = False) -> pd.DataFrame:
    """What `curve_figure` draws, one row per point.

    Args:
        curves: Runs, in the order of their colours.
        smoothing: Weight of the past in the exponential moving average, from 0 (none) to below 1.
        log: Whether the y axis is logarithmic; values of 0 and below are then left out.

    Returns:
        Columns `x`, `y`, `run`, `line` (`main`, or `raw` for what stands behind a smoothed curve), and `hover`.
    """
    parts = [pd.DataFrame({"x": np.empty(0), "y": np.empty(0), "run": "", "line": "", "hover": np.empty(0, bool)})]
    for curve in curves:
        lines = {"main": smoothed(curve.y, smoothing), "raw": curve.y} if smoothing > 0 else {"main": curve.y}
        for line, values in lines.items():
            fits = values > 0 if log else np.ones(len(values), bool)
            x, y = curve.x[fits], values[fits]
            kept = thinned(x, y)
            hover = np.zeros(len(kept), bool)
            hover[np.linspace(0, len(kept) - 1, min(MAX_HOVER, len(kept))).astype(int)] = line == "main"
            part = {"x": x[kept], "y": y[kept], "run": curve.name, "line": line, "hover": hover}
            parts.append(pd.DataFrame(part))
    filled = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(filled, ignore_index=True)


def curve_figure(names: Sequence[str], metric: str, *, x: str = "step", log: bool = False) -> dict[str, Any]:
    """A Vega-Lite specification for `curve_points`; the same for every update of the same runs.

    Args:
        names: Runs, in the order of their colours.
        metric: What is shown, for the title.
        x: Title of the x axis.
        log: Whether the y axis is logarithmic.
    """
    several = len(names) > 1
    look = {
        "color": _by_run(names, [RUNS[n % len(RUNS)] for n in range(len(names))], legend=several),
        "strokeDash": _by_run(names, [_DASHES[n // len(RUNS) % len(_DASHES)] for n in range(len(names))], legend=False),
    }
    axes = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "title": x,
            "axis": {"format": ",.6~g", "grid": False, "labelOverlap": True},
        },
        "y": {
            "field": "y",
            "type": "quantitative",
            "title": None,
            "scale": {"type": "log" if log else "linear", "zero": False},
            "axis": {"format": ".4~g", "tickCount": 5},
        },
    }
    shown = [
        {"field": "run", "title": "run"},
        {"field": "x", "title": x, "format": ",.6~g"},
        {"field": "y", "title": metric, "format": ".5~g"},
    ]
    return {
        "height": 300 + (24 * ((len(names) + 3) // 4) if several else 0),
        "title": {"text": metric, "anchor": "start", "fontSize": 14},
        "encoding": axes,
        "layer": [
            _layer("line", "datum.line == 'raw'", {"strokeWidth": 1, "opacity": _FAINT}, look),
            {
                **_layer("line", "datum.line == 'main'", {"strokeWidth": 1.8}, look),
                "params": [{"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}],
            },
            {
                **_layer("circle", "datum.hover", {"size": 70, "opacity": 0}, {"color": look["color"]}),
                "encoding": {"color": look["color"], "tooltip": shown if several else shown[1:]},
            },
        ],
    }


def curve_caption(curves: Sequence[Curve], *, smoothing: float = 0.0, log: bool = False) -> str:
    """How many reports a figure rests on, and what was done to them."""
    facts = [f"n = {count(sum(len(curve.y) for curve in curves), 'reports')}"]
    facts += [f"smoothing {smoothing:g}"] if smoothing > 0 else []
    left_out = sum(int((curve.y <= 0).sum()) for curve in curves) if log else 0
    facts += [f"{left_out:,} at or below 0 left out"] if left_out else []
    return " · ".join(facts)


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving average, unbiased at its start.

    Args:
        values: In order.
        weight: Of the past, from 0 (the values themselves) to below 1.

    Source: Kingma & Ba 2015, section 3 (the correction of the start).
    """
    return pd.Series(values, dtype=float).ewm(alpha=1 - weight, adjust=True).mean().to_numpy()


def thinned(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """Positions of at most `limit` points that look like all: the ends, and the extremes of every stretch between.

    Args:
        x: In order; only its length counts.
        y: Values of the points; not NaN.
        limit: At least 4.
    """
    count = len(x)
    if count <= limit:
        return np.arange(count)
    edges = np.linspace(1, count - 1, (limit - 2) // 2 + 1).astype(int)
    lows = [int(a + np.argmin(y[a:b])) for a, b in pairwise(edges)]
    highs = [int(a + np.argmax(y[a:b])) for a, b in pairwise(edges)]
    return np.unique([0, *lows, *highs, count - 1])


def _layer(mark: str, only: str, marks: dict[str, Any], look: dict[str, Any]) -> dict[str, Any]:
    return {"transform": [{"filter": only}], "mark": {"type": mark, **marks}, "encoding": look}


def _by_run(names: Sequence[str], values: list[Any], *, legend: bool) -> dict[str, Any]:
    top = {"title": None, "orient": "top", "columns": 4, "labelLimit": 160, "symbolType": "stroke", "symbolOpacity": 1}
    scale = {"domain": list(names), "range": values}
    return {"field": "run", "type": "nominal", "scale": scale, "legend": top if legend else None}
