"""Figures of several reward models on the same pairs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.curves import RUNS
from rmviz.plots.style import CATEGORIES, NEGATIVE, NEUTRAL, POSITIVE, label, styled

FIRST, SECOND = CATEGORIES[0], CATEGORIES[1]
"""Colours of the two models that are held against each other; no sign is meant."""

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")
_ROW = 26  # pixels of one dot in a column of dots
_TOP = 74  # pixels above a figure without a legend, so that its line of facts stands clear of the axis
_GL_FROM = 3000
_UNITS = {
    "rank": "rank of the reward, share of texts below",
    "z": "reward, standard deviations from the mean",
}


def accuracy_dots(models: pd.DataFrame) -> go.Figure:
    """Each dot is a model's pair accuracy with its interval, the first model on top; the dotted line is chance.

    Args:
        models: `name`, `accuracy`, `accuracy_low`, `accuracy_high`, `n`.
    """
    figure = _dots(models, "accuracy", models["name"], [RUNS[i % len(RUNS)] for i in range(len(models))])
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot"})
    styled(
        figure,
        title="Accuracy",
        subtitle=short("chance: 50 % (dotted)", f"n = {_span(models['n'], 'pairs')}", sign=False),
        x="share of pairs ranked as people did",
        y="",
        height=150 + _ROW * len(models),
    )
    return figure.update_xaxes(tickformat=".0%").update_layout(margin_t=_TOP)


def slice_dots(slices: pd.DataFrame, first: str, second: str) -> go.Figure:
    """Each dot is a part of the data: accuracy of the second model − that of the first, with its interval.

    Orange: the second is better beyond its interval; blue: worse; grey: cannot be told. Parts without pairs are left out.

    Args:
        slices: `value`, `difference`, `difference_low`, `difference_high`, `num_common`, `num_flips`; one column of data.
        first: Name of the first model.
        second: Name of the second.
    """
    shown = slices[slices["num_common"] > 0]
    better, worse = shown["difference_low"] > 0, shown["difference_high"] < 0
    colours = np.select([better, worse], [POSITIVE, NEGATIVE], NEUTRAL).tolist()
    ticks = [f"{label(str(value), 28)} · {n:,}" for value, n in zip(shown["value"], shown["num_common"], strict=True)]
    hovers = [
        f"{label(str(row.value))}<br>difference {row.difference:+.1%} [{row.difference_low:+.1%}, "
        f"{row.difference_high:+.1%}]<br>{row.num_common:,} pairs, {row.num_flips:,} changed side"
        for row in shown.itertuples()
    ]
    figure = _dots(shown, "difference", pd.Series(ticks), colours, hovers)
    figure.add_vline(x=0, line={"color": NEUTRAL, "dash": "dot"})
    facts = f"{label(second, 24)} − {label(first, 24)}"
    styled(
        figure,
        title="Difference by part of the data",
        subtitle=short(facts, "after each name: its pairs", sign=False),
        x="difference of accuracy (percentage points)",
        y="",
        height=150 + _ROW * max(len(shown), 1),
    )
    return figure.update_xaxes(tickformat="+.0%").update_layout(margin_t=_TOP)


def compared_scatter(texts: pd.DataFrame, by: Literal["rank", "z"], first: str, second: str) -> go.Figure:
    """Each dot is a text: where it stands with the first model and with the second.

    Args:
        texts: `text_id`, `pair_id`, `side`, `first`, `second`; `customdata` of a dot is `[pair_id]`.
        by: What `first` and `second` are in.
        first: Name of the first model.
        second: Name of the second.
    """
    shown = texts[np.isfinite(texts["first"]) & np.isfinite(texts["second"])]
    figure = go.Figure()
    kind = go.Scattergl if len(shown) >= _GL_FROM else go.Scatter
    for side, colour, symbol in (("chosen", FIRST, "circle"), ("rejected", SECOND, "diamond")):
        part = shown[shown["side"] == side]
        ids, x, y = (part[name].tolist() for name in ("pair_id", "first", "second"))
        hovers = [f"{label(str(i))}, {side}<br>{a:.3g} → {b:.3g}" for i, a, b in zip(ids, x, y, strict=True)]
        marker = {"color": colour, "symbol": symbol, "size": 5, "opacity": 0.5}
        figure.add_trace(
            kind(
                x=x, y=y, mode="markers", name=side, marker=marker, customdata=[[str(i)] for i in ids],
                hovertext=hovers, hoverinfo="text",
            )
        )  # fmt: skip
    _diagonal(figure, shown["first"], shown["second"])
    return styled(
        figure,
        title="The same texts with both models",
        subtitle=short(f"n = {count(len(shown), 'texts')}", sign=False),
        x=f"{label(first, 30)}: {_UNITS[by]}",
        y=f"{label(second, 30)}: {_UNITS[by]}",
        height=520,
    )


def calibration_curves(bins: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Each curve is a model: how sure Bradley–Terry makes it, against how often it is right; the diagonal is calibrated.

    Args:
        bins: By name of the model, `predicted`, `observed`, `low`, `high`, `n`.
    """
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[0.5, 1], y=[0.5, 1], mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip",
            showlegend=False,
        )
    )  # fmt: skip
    for number, (name, part) in enumerate(bins.items()):
        colour = RUNS[number % len(RUNS)]
        hovers = [
            f"{label(name)}<br>predicted {row.predicted:.3f}, observed {row.observed:.3f} "
            f"[{row.low:.3f}, {row.high:.3f}]<br>{row.n:,} pairs"
            for row in part.itertuples()
        ]
        figure.add_trace(
            go.Scatter(
                x=part["predicted"].tolist(), y=part["observed"].tolist(), name=label(name, 40), mode="lines+markers",
                line={"color": colour, "width": 1.5},
                marker={"color": colour, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
                error_y=_error(part, "observed", "low", "high", colour), hovertext=hovers, hoverinfo="text",
            )
        )  # fmt: skip
    ns = pd.Series([int(part["n"].sum()) for part in bins.values()])
    return styled(
        figure,
        title="Calibration",
        subtitle=short("above the diagonal: less sure than it could be", f"n = {_span(ns, 'pairs')}", sign=False),
        x="predicted: σ(|margin|)",
        y="observed share of pairs ranked so by people",
        height=440,
    )


def length_dots(models: pd.DataFrame) -> go.Figure:
    """Each dot is a model: does it prefer the longer reply of a pair, and does it pay long texts more?

    Args:
        models: `name`, `n`, and `length`, `reward_length` with `_low` and `_high`.
    """
    figure = go.Figure()
    for name, field, colour, symbol, offset in (
        ("margin with length difference, within pairs", "length", FIRST, "circle", -0.14),
        ("reward with length, over texts", "reward_length", SECOND, "diamond", 0.14),
    ):
        figure = _dots(
            models, field, models["name"], [colour] * len(models), name=name, symbol=symbol, offset=offset, onto=figure
        )
    figure.add_vline(x=0, line={"color": NEUTRAL, "dash": "dot"})
    styled(
        figure,
        title="Length",
        subtitle=short("length in characters of the reply", f"n = {_span(models['n'], 'pairs')}", sign=False),
        x="Spearman correlation",
        y="",
        height=180 + 2 * _ROW * len(models),
    )
    return figure


def step_lines(models: pd.DataFrame, field: str, title: str, y: str, chosen: int) -> go.Figure:
    """One figure of the steps of one training, with intervals; the chosen step is marked.

    Args:
        models: `step`, `n`, and the field with `_low` and `_high` where it has an interval.
        field: Column to draw.
        title: Of the figure.
        y: Title of its axis.
        chosen: Row that is marked.
    """
    has_interval = f"{field}_low" in models
    figure = go.Figure(
        go.Scatter(
            x=models["step"].tolist(), y=models[field].tolist(), mode="lines+markers", showlegend=False,
            line={"color": FIRST, "width": 2}, marker={"size": 7},
            error_y=_error(models, field, f"{field}_low", f"{field}_high", FIRST) if has_interval else None,
            hovertemplate="step %{x:,}<br>%{y:.4g}<extra></extra>",
        )
    )  # fmt: skip
    at = float(models["step"].iloc[chosen])
    figure.add_vline(x=at, line={"color": NEUTRAL, "width": 6}, opacity=0.3, layer="below")
    facts = f"n = {_span(models['n'], 'pairs')}"
    return styled(figure, title=title, subtitle=short(facts, sign=False), x="step", y=y, height=300).update_layout(
        margin_t=_TOP
    )


def effect_moves(features: pd.DataFrame, first: str, second: str) -> go.Figure:
    """Each dot is a pair of matched features: its effect in the first model and in the second.

    Args:
        features: `feature_first`, `feature_second`, `effect_first`, `effect_second`, `correlation`, `words`;
            `customdata` of a dot is `[row]`.
        first: Name of the first model.
        second: Name of the second.
    """
    hovers = [
        f"{row.feature_first} → {row.feature_second} {label(str(row.words), 40)}<br>effect {row.effect_first:+.3g} → "
        f"{row.effect_second:+.3g}, correlation {row.correlation:.2f}"
        for row in features.itertuples()
    ]
    figure = go.Figure(
        go.Scatter(
            x=features["effect_first"].tolist(), y=features["effect_second"].tolist(), mode="markers", showlegend=False,
            marker={"color": FIRST, "size": 6, "opacity": 0.65}, hovertext=hovers, hoverinfo="text",
        )
    )  # fmt: skip
    _diagonal(figure, features["effect_first"], features["effect_second"])
    return styled(
        figure,
        title="Effects of matched features",
        subtitle=short(f"n = {count(len(features), 'features')}"),
        x=f"{label(first, 30)}: effect (sd of rewards)",
        y=f"{label(second, 30)}: effect (sd of rewards)",
        height=440,
    )


def _dots(
    table: pd.DataFrame,
    field: str,
    ticks: "pd.Series",
    colours: Sequence[str],
    hovers: Sequence[str] | None = None,
    *,
    name: str | None = None,
    symbol: str = "circle",
    offset: float = 0.0,
    onto: go.Figure | None = None,
) -> go.Figure:
    """A column of dots with whiskers, the first row on top; the interval is in `_low` and `_high`."""
    own = ("low", "high") if field == "accuracy" and "accuracy_low" not in table else (f"{field}_low", f"{field}_high")
    texts = hovers or [
        f"{label(str(tick))}<br>{value:.4g} [{low:.4g}, {high:.4g}]"
        for tick, value, low, high in zip(ticks, table[field], table[own[0]], table[own[1]], strict=True)
    ]
    figure = onto or go.Figure()
    figure.add_trace(
        go.Scatter(
            x=table[field].tolist(), y=[place + offset for place in range(len(table))], mode="markers",
            name=name, showlegend=name is not None,
            marker={"color": list(colours), "size": 9, "symbol": symbol}, hovertext=list(texts), hoverinfo="text",
            error_x=_error(table, field, *own, colours[0] if onto else NEUTRAL),
        )
    )  # fmt: skip
    shown = [label(str(tick), 44) for tick in ticks]
    return figure.update_yaxes(
        tickvals=list(range(len(table))), ticktext=shown, range=[len(table) - 0.5, -0.5], showgrid=False, zeroline=False
    )


def _error(table: pd.DataFrame, field: str, low: str, high: str, colour: str) -> dict[str, Any]:
    return {
        "symmetric": False, "array": (table[high] - table[field]).tolist(),
        "arrayminus": (table[field] - table[low]).tolist(), "color": colour, "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _diagonal(figure: go.Figure, x: "pd.Series", y: "pd.Series") -> None:
    both = np.concatenate([x.to_numpy(float), y.to_numpy(float)])
    if len(both):
        ends = [float(both.min()), float(both.max())]
        line = {"color": NEUTRAL, "dash": "dot"}
        figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False))


def _span(ns: "pd.Series", unit: str) -> str:
    if not len(ns):
        return count(0, unit)
    low, high = int(ns.min()), int(ns.max())
    return count(low, unit) if low == high else f"{low:,} to {count(high, unit)}"
