"""Figures about many features, and about one."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.style import CATEGORIES, DIVERGING, NEGATIVE, NEUTRAL, POSITIVE, label, styled

By = Literal["mean", "margin", "firing"]
BY_TITLES: Mapping[str, str] = {
    "mean": "mean effect on the reward",
    "margin": "mean effect on the margin of pairs",
    "firing": "mean effect where it fires",
}

ORDINARY, EVER, TEMPLATE = CATEGORIES

_GL_FROM = 3000  # dots; below this, SVG is as quick and its dots can be clicked in any browser
_LOWEST_Q = 1e-4  # a bootstrap of 1,000 resamples cannot tell smaller values apart


def feature_volcano(table: pd.DataFrame, *, by: By = "mean", against: Literal["q", "density"] = "q") -> go.Figure:
    """Each dot is a feature: how far it moves the reward (x), against how sure that is or how often it fires (y).

    Args:
        table: Feature table; `customdata` of a dot is `[feature]`.
        by: Which effect.
        against: `q` draws −log10 of the q-value, `density` the share of tokens on which the feature fires.
    """
    effect = f"{by}_effect"
    shown = table.loc[np.isfinite(table[effect].astype(float))]
    heights = -np.log10(np.clip(shown[f"{effect}_q"], _LOWEST_Q, 1)) if against == "q" else shown["density"]
    kinds = [
        ("features", ~(shown["template"] | shown["ever_firing"]), ORDINARY, "circle"),
        ("fires in nearly every text", shown["ever_firing"] & ~shown["template"], EVER, "diamond"),
        ("template tokens", shown["template"], TEMPLATE, "x"),
    ]
    figure = go.Figure()
    for name, rows, colour, symbol in kinds:
        if rows.any():
            marker = {"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75}
            figure.add_trace(
                _dots(
                    shown.loc[rows], x=shown.loc[rows, effect], y=heights[rows], name=name, marker=marker, effect=effect
                )
            )
    y = "certainty, −log10(q)" if against == "q" else "density, share of tokens"
    styled(
        figure,
        title="How far and how surely",
        subtitle=short(f"n = {count(len(shown), 'features')}"),
        x=f"{BY_TITLES[by]} (reward units)",
        y=y,
    )
    if against == "density" and len(shown):
        figure.update_yaxes(type="log")
    return figure


def feature_map(table: pd.DataFrame, *, by: By = "mean", height: int = 520) -> go.Figure:
    """Each dot is a feature; features with like decoder directions lie close, and colour is the effect.

    The colour range is symmetric about 0 and ends at the 98th percentile of |effect|, so that one giant does not blanch
    the others.
    """
    effect = f"{by}_effect"
    values = table[effect].astype(float)
    shown = table.loc[np.isfinite(values) & np.isfinite(table["umap_x"].astype(float))]
    limit = robust_limit(shown[effect])
    marker = {
        "color": shown[effect].tolist(), "colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "cmid": 0, "size": 7,
        "line": {"width": 0.5, "color": NEUTRAL}, "colorbar": {"title": {"text": "effect"}, "thickness": 12},
    }  # fmt: skip
    figure = go.Figure(
        _dots(shown, x=shown["umap_x"], y=shown["umap_y"], name="features", marker=marker, effect=effect)
    )
    facts = (f"colour: {BY_TITLES[by]} (reward units)", f"n = {count(len(shown), 'features')}")
    styled(
        figure,
        title="Features by direction",
        subtitle=short(*facts),
        x="UMAP 1 (no unit)",
        y="UMAP 2 (no unit)",
        height=height,
    )
    return figure.update_layout(showlegend=False).update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)


def effect_bars(ranked: pd.DataFrame, *, by: By = "mean", top: int = 20) -> go.Figure:
    """Each bar is a feature's mean effect with its 95 % interval, in the order of the table, the first on top.

    Args:
        ranked: What `rmviz.features.read.ranked` gives; only its first `top` rows are drawn.
        by: Which effect the ranking is by.
        top: Bars at most.
    """
    shown = ranked.head(top).iloc[::-1]
    effect, low, high = (shown[f"{by}_effect{end}"].astype(float) for end in ("", "_low", "_high"))
    above, below = high - effect, effect - low
    ticks = [
        f"{feature} {label(words, 34)}" for feature, words in zip(shown["feature"], shown["top_tokens"], strict=True)
    ]
    figure = go.Figure(
        go.Bar(
            x=effect.tolist(),
            y=list(range(len(shown))),
            orientation="h",
            customdata=[[int(feature)] for feature in shown["feature"]],
            marker={"color": [POSITIVE if value > 0 else NEGATIVE for value in effect]},
            hovertext=_hovers(shown, f"{by}_effect"),
            hoverinfo="text",
            error_x={"symmetric": False, "array": above.tolist(), "arrayminus": below.tolist(), "color": NEUTRAL},
        )
    )
    facts = (
        f"whiskers: 95 % interval · n = {_span(shown['num_pairs' if by == 'margin' else 'num_texts'])} per feature",
    )
    title = f"Features by {BY_TITLES[by]}"
    styled(
        figure,
        title=title,
        subtitle=short(*facts),
        x=f"{BY_TITLES[by]} (reward units)",
        y="feature",
        height=140 + 22 * len(shown),
    )
    return figure.update_yaxes(tickmode="array", tickvals=list(range(len(shown))), ticktext=ticks).update_layout(
        bargap=0.3
    )


def effect_distribution(table: pd.DataFrame, *, by: By = "mean", bins: int = 60) -> go.Figure:
    """How many features have an effect of each size: whether the model mostly rewards or mostly punishes.

    Effects beyond the 99.5th percentile of |effect| are counted in the outermost bars.
    """
    values = table[f"{by}_effect"].astype(float).to_numpy()
    values = values[np.isfinite(values)]
    limit = robust_limit(values, 99.5)
    counts, edges = np.histogram(np.clip(values, -limit, limit), bins=2 * (bins // 2), range=(-limit, limit))
    facts = (f"{(values > 0).sum():,} raise, {(values < 0).sum():,} lower", f"n = {count(len(values), 'features')}")
    figure = _bars(edges, counts, signed=True)
    styled(
        figure,
        title="Effects of all features",
        subtitle=short(*facts),
        x=f"{BY_TITLES[by]} (reward units)",
        y="features (log count)",
    )
    return figure.update_yaxes(type="log")


def activation_histogram(histogram: Mapping[str, Sequence[float]], *, feature: int | None = None) -> go.Figure:
    """How strongly a feature fires, over the tokens on which it fires at all.

    Args:
        histogram: `edges` (one more than bars) and `counts`, as a feature's page holds them.
        feature: Named in the title.
    """
    total = int(sum(histogram["counts"]))
    figure = _bars(histogram["edges"], histogram["counts"], signed=False)
    title = "Activation" if feature is None else f"Activation of feature {feature}"
    return styled(
        figure,
        title=title,
        subtitle=short(f"n = {count(total, 'tokens')} where it fires", sign=False),
        x="activation (SAE units)",
        y="tokens",
    )


def effect_histogram(histogram: Mapping[str, Sequence[float]], *, feature: int | None = None) -> go.Figure:
    """A feature's effect on each text in which it fires: orange texts gain by it, blue ones lose.

    Args:
        histogram: `edges` (one more than bars) and `counts`, as a feature's page holds them.
        feature: Named in the title.
    """
    total = int(sum(histogram["counts"]))
    figure = _bars(histogram["edges"], histogram["counts"], signed=True)
    title = "Effect, text by text" if feature is None else f"Effect of feature {feature}, text by text"
    return styled(
        figure,
        title=title,
        subtitle=short(f"n = {count(total, 'texts')} where it fires"),
        x="effect (reward units)",
        y="texts",
    )


def robust_limit(values: Any, percentile: float = 98.0) -> float:
    """A symmetric colour or axis limit: this percentile of |value|, and never 0."""
    sizes = np.abs(np.asarray(values, dtype=float))
    sizes = sizes[np.isfinite(sizes)]
    if not sizes.size:
        return 1.0
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def _dots(
    table: pd.DataFrame, *, x: Any, y: Any, name: str, marker: dict[str, Any], effect: str
) -> go.Scatter | go.Scattergl:
    kind = go.Scattergl if len(table) >= _GL_FROM else go.Scatter
    # lists, because Streamlit hands a NumPy customdata back as a dictionary
    ids = [[int(feature)] for feature in table["feature"]]
    hover = {"hovertext": _hovers(table, effect), "hoverinfo": "text"}
    return kind(
        x=list(map(float, x)), y=list(map(float, y)), mode="markers", name=name, marker=marker, customdata=ids, **hover
    )


def _hovers(table: pd.DataFrame, effect: str) -> list[str]:
    columns = zip(
        *(table[name] for name in ("feature", "top_tokens", effect, f"{effect}_low", f"{effect}_high", "num_texts")),
        strict=True,
    )
    return [
        f"feature {feature}<br>{label(words)}<br>effect {value:+.4g} [{low:+.3g}, {high:+.3g}]"
        f"<br>fires in {count(int(n), 'texts')}"
        for feature, words, value, low, high, n in columns
    ]


def _bars(edges: Any, counts: Any, *, signed: bool) -> go.Figure:
    edges = np.asarray(edges, dtype=float)
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    colours = [POSITIVE if centre > 0 else NEGATIVE for centre in centres] if signed else NEUTRAL
    hovers = [
        f"{low:.4g} to {high:.4g}: {int(n):,}" for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    bars = go.Bar(
        x=centres.tolist(),
        y=[int(n) for n in counts],
        width=widths.tolist(),
        marker={"color": colours},
        hovertext=hovers,
        hoverinfo="text",
    )
    return go.Figure(bars)


def _span(numbers: pd.Series) -> str:
    if numbers.empty:
        return "0"
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
