"""Figures of margins: one taken apart, and what k features explain of many."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.style import CATEGORIES, NEGATIVE, NEUTRAL, POSITIVE, label, styled

_ROW = 24  # pixels of one part
_TOP = 74  # pixels above the curve, so that its line of facts stands clear of the axis


def waterfall_bars(parts: pd.DataFrame, *, title: str, facts: Sequence[str] = ()) -> go.Figure:
    """Each bar is a part of a margin and begins where the one above it ends; the last one is the whole margin.

    Orange speaks for the chosen reply, blue for the rejected one.

    Args:
        parts: `part`, `value`, `feature` (−1 for what is no feature), and where there is an interval `low` and `high`; the parts
            from top to bottom. `customdata` of a bar is `[feature]`.
        title: Title of the figure.
        facts: For the lines under the title.
    """
    value = parts["value"].to_numpy(float)
    margin = float(value.sum())
    starts, ends = np.append(np.cumsum(value) - value, 0.0), np.append(np.cumsum(value), margin)
    names = [label(str(name), 44) for name in parts["part"]] + ["<b>margin</b>"]
    colours = [POSITIVE if v > 0 else NEGATIVE for v in value] + [CATEGORIES[0]]
    hovers = [
        f"{name}<br>{v:+.4g}{reach}<br>sum so far {end:+.4g}"
        for name, v, reach, end in zip(names, value, _intervals(parts), ends, strict=False)
    ]
    told = [f"{round(v, 6) + 0.0:+.3g}" for v in [*value, margin]]
    ticks = names if "low" not in parts else [f"{name}  {v}" for name, v in zip(names, told, strict=True)]
    places = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            y=places, x=(ends - starts).tolist(), base=starts.tolist(), orientation="h", marker={"color": colours},
            text=told if ticks is names else None, textposition="outside", cliponaxis=False, showlegend=False,
            customdata=[[int(feature)] for feature in [*parts["feature"], -1]],
            hovertext=[*hovers, f"margin {margin:+.4g}"], hoverinfo="text", error_x=_whiskers(parts),
        )
    )  # fmt: skip
    for place, end in zip(places, ends[:-1], strict=False):
        line = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=end, x1=end, y0=place, y1=place + 1, line=line, layer="below")
    styled(
        figure,
        title=title,
        subtitle=short(*facts, sign=False),
        x="reward units: chosen − rejected",
        y="",
        height=130 + _ROW * len(names),
    )
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1})
    reach = [*starts, *ends]
    if "low" in parts:
        whiskers = np.concatenate([ends[:-1] + parts[side].to_numpy(float) - value for side in ("low", "high")])
        reach += whiskers[np.isfinite(whiskers)].tolist()
    pad = 0.14 * (max(reach) - min(reach) or 1.0)
    figure.update_xaxes(range=[min(reach) - pad, max(reach) + pad])
    figure.update_yaxes(tickvals=places, ticktext=ticks, range=[len(names) - 0.5, -0.5], showgrid=False, zeroline=False)
    figure.update_traces(unselected={"marker": {"opacity": 0.6}, "textfont": {"color": NEUTRAL}})
    return figure.update_layout(bargap=0.3, dragmode=False)


def explained_curve(shares: pd.DataFrame) -> go.Figure:
    """The share of the margins that the k most decisive features explain, with its band.

    Args:
        shares: `k`, `share`, `share_low`, `share_high`, `num_pairs`.
    """
    k, colour = shares["k"].tolist(), CATEGORIES[0]
    hovers = [
        f"{row.k:,} off: {row.share:.1%} [{row.share_low:.1%}, {row.share_high:.1%}]" for row in shares.itertuples()
    ]
    band = {"x": k + k[::-1], "y": [*shares["share_high"], *shares["share_low"][::-1]]}
    figure = go.Figure(
        [
            go.Scatter(
                **band, fill="toself", mode="lines", line={"width": 0}, fillcolor="rgba(12, 166, 120, 0.2)",
                hoverinfo="skip", showlegend=False,
            ),
            go.Scatter(
                x=k, y=shares["share"].tolist(), mode="lines+markers", line={"color": colour, "width": 2},
                marker={"color": colour, "size": 7}, hovertext=hovers, hoverinfo="text", showlegend=False,
            ),
        ]
    )  # fmt: skip
    figure.add_hline(y=1, line={"color": NEUTRAL, "dash": "dot"})
    num_pairs = int(shares["num_pairs"].iloc[0]) if len(shares) else 0
    styled(
        figure,
        title="Share of the margins that k features explain",
        subtitle=short("all k off at once", f"n = {count(num_pairs, 'pairs')}", sign=False),
        x="k, most decisive features first",
        y="share of the margins",
    )
    figure.update_xaxes(type="log", tickvals=k, ticktext=[f"{one:,}" for one in k])
    return figure.update_yaxes(tickformat=".0%", rangemode="tozero").update_layout(margin_t=_TOP)


def _intervals(parts: pd.DataFrame) -> list[str]:
    if "low" not in parts:
        return [""] * len(parts)
    return [
        f" [{low:+.4g}, {high:+.4g}]" if np.isfinite(low) else ""
        for low, high in zip(parts["low"], parts["high"], strict=True)
    ]


def _whiskers(parts: pd.DataFrame) -> dict[str, object] | None:
    """Plotly's error bars at the ends of the bars; none for the margin."""
    if "low" not in parts:
        return None
    value = parts["value"].to_numpy(float)
    up, down = parts["high"].to_numpy(float) - value, value - parts["low"].to_numpy(float)
    ends = {"array": [*np.nan_to_num(up), 0], "arrayminus": [*np.nan_to_num(down), 0]}
    return {"type": "data", "symmetric": False, **ends, "color": NEUTRAL, "thickness": 1.5, "width": 4}
