"""Figures of a crosscoder: whose its features are, and what they do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.compare import FIRST, SECOND
from rmviz.plots.style import NEUTRAL, label, styled

_COLOURS = {"only first": FIRST, "only second": SECOND, "shared": NEUTRAL}
_SYMBOLS = {"only first": "circle", "only second": "diamond", "shared": "circle-open"}
_BINS = 50


def norm_histogram(
    relative: Sequence[float], null: Sequence[float], bound: float, first: str, second: str
) -> go.Figure:
    """How many features have a decoder that is longer in one model, and how many by chance.

    Args:
        relative: Relative norm of each feature, 0 (only the second) to 1 (only the first).
        null: The same of a crosscoder that saw the first model twice.
        bound: What |r − ½| must pass to count as exclusive.
        first: Name of the first model.
        second: Name of the second.
    """
    edges = np.linspace(0, 1, _BINS + 1)
    middle = ((edges[1:] + edges[:-1]) / 2).tolist()
    figure = go.Figure()
    figure.add_vrect(x0=0.5 - bound, x1=0.5 + bound, fillcolor=NEUTRAL, opacity=0.14, line_width=0, layer="below")
    for name, values, colour in (("two models", relative, FIRST), ("one model twice", null, NEUTRAL)):
        counts = np.histogram(np.asarray(values, float), edges)[0]
        figure.add_trace(
            go.Scatter(
                x=middle, y=(counts + 1).tolist(), mode="lines", line={"shape": "hvh", "color": colour, "width": 1.6},
                name=name, customdata=counts.tolist(), fill="tozeroy" if name == "two models" else None,
                hovertemplate="r %{x:.2f}: %{customdata} features<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    styled(
        figure,
        title="Whose the features are",
        subtitle=short(f"n = {count(len(relative), 'features')}", "band: shared", sign=False),
        x=f"r: 0 only {label(second, 24)}, 1 only {label(first, 24)}",
        y="features + 1",
        height=360,
    )
    return figure.update_yaxes(type="log").update_xaxes(range=[0, 1])


def norm_effects(features: pd.DataFrame, bound: float, first: str, second: str) -> go.Figure:
    """Each dot is a feature: whose it is, and its effect in the model whose decoder is the longer one.

    Args:
        features: feature, words, class, relative, effect_first, effect_second; `customdata` of a dot is `[feature]`.
        bound: What |r − ½| must pass to count as exclusive.
        first: Name of the first model.
        second: Name of the second.
    """
    figure = go.Figure()
    figure.add_vrect(x0=0.5 - bound, x1=0.5 + bound, fillcolor=NEUTRAL, opacity=0.14, line_width=0, layer="below")
    for name, title in (("shared", "shared"), ("only first", f"only {first}"), ("only second", f"only {second}")):
        part = features[features["class"] == name]
        effects = np.where(part["relative"] >= 0.5, part["effect_first"], part["effect_second"])
        marker: dict[str, Any] = {"color": _COLOURS[name], "symbol": _SYMBOLS[name], "size": 7, "opacity": 0.75}
        figure.add_trace(
            go.Scatter(
                x=part["relative"].tolist(), y=effects.tolist(), mode="markers", name=label(title, 34), marker=marker,
                customdata=[[int(i)] for i in part["feature"]], hoverinfo="text",
                hovertext=[
                    f"{row.feature} {label(str(row.words), 40)}<br>r {row.relative:.2f}, effect {row.effect_first:+.3g} and "
                    f"{row.effect_second:+.3g}"
                    for row in part.itertuples()
                ],
            )
        )  # fmt: skip
    styled(
        figure,
        title="Whose they are, and what they do",
        subtitle=short(f"n = {count(len(features), 'features')}", "band: shared", sign=False),
        x=f"r: 0 only {label(second, 24)}, 1 only {label(first, 24)}",
        y="effect (sd of rewards)",
        height=360,
    )
    return figure.update_xaxes(range=[0, 1])
