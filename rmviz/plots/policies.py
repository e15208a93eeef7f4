"""Figures of policies while they are trained."""

import math
from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import short
from rmviz.plots.curves import RUNS
from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE, label, styled

_DASHES = ("solid", "dash", "dot", "dashdot")
_ROW = 24
_TOP = 74  # pixels above a figure without a legend, so that its line of facts stands clear of the axis


def run_bands(
    runs: Mapping[str, pd.DataFrame], *, title: str, x: str, y: str, facts: str, height: int = 330
) -> go.Figure:
    """A line per run, over the 95 % band of each point where it has one.

    Args:
        runs: By name, `x`, `mean`, `low` and `high` (NaN where there is no interval), and `at`, which says where a point is.
        title: Of the figure.
        x: Title of the x axis.
        y: Title of the y axis.
        facts: What the figure rests on.
        height: In pixels.
    """
    figure = go.Figure()
    for place, (name, table) in enumerate(runs.items()):
        colour, dash = RUNS[place % len(RUNS)], _DASHES[place // len(RUNS) % len(_DASHES)]
        if table["low"].notna().any():
            there, back = table["x"].tolist(), table["x"].tolist()[::-1]
            figure.add_trace(
                go.Scatter(
                    x=there + back, y=table["high"].tolist() + table["low"].tolist()[::-1], fill="toself", mode="lines",
                    line={"width": 0}, fillcolor=colour, opacity=0.16, hoverinfo="skip", showlegend=False,
                    legendgroup=str(place),
                )
            )  # fmt: skip
        rows = zip(*(table[name].tolist() for name in ("at", "mean", "low", "high")), strict=True)
        hovers = [
            f"{label(name)}<br>{label(str(at))}<br>{mean:.4g}"
            + (f" [{low:.4g}, {high:.4g}]" if math.isfinite(low) else "")
            for at, mean, low, high in rows
        ]
        figure.add_trace(
            go.Scatter(
                x=table["x"].tolist(), y=table["mean"].tolist(), mode="lines+markers", name=label(name, 30),
                line={"color": colour, "width": 2, "dash": dash}, marker={"size": 6, "color": colour}, hovertext=hovers,
                hoverinfo="text", showlegend=len(runs) > 1, legendgroup=str(place),
            )
        )  # fmt: skip
    return styled(figure, title=title, subtitle=short(facts, sign=False), x=x, y=y, height=height)


def drift_bars(table: pd.DataFrame, names: Mapping[int, str], *, facts: str) -> go.Figure:
    """Each bar is a feature: what its drift stands for in the reward, with its interval; the first row on top.

    Args:
        table: `feature`, `worth`, `worth_low`, `worth_high`.
        names: What to call features.
        facts: What the figure rests on.
    """
    ticks = [f"{feature} {label(names.get(int(feature), ''), 26)}".strip() for feature in table["feature"]]
    figure = go.Figure(
        go.Bar(
            x=table["worth"].tolist(), y=list(range(len(table))), orientation="h",
            marker={"color": [POSITIVE if worth > 0 else NEGATIVE for worth in table["worth"]]},
            error_x={
                "type": "data", "symmetric": False, "array": (table["worth_high"] - table["worth"]).tolist(),
                "arrayminus": (table["worth"] - table["worth_low"]).tolist(), "color": NEUTRAL, "thickness": 1.2, "width": 3,
            },
            hovertext=[
                f"{tick}<br>{row.worth:+.3g} [{row.worth_low:+.3g}, {row.worth_high:+.3g}]"
                for tick, row in zip(ticks, table.itertuples(), strict=True)
            ],
            hoverinfo="text",
        )
    )  # fmt: skip
    styled(
        figure,
        title="What the drift stands for",
        subtitle=short(facts, sign=False),
        x="reward, first order: unit effect × change of activation",
        y="",
        height=130 + _ROW * max(len(table), 1),
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(table))),
        ticktext=ticks,
        autorange="reversed",
        showgrid=False,
        zeroline=False,
    )
    return figure.update_layout(margin_t=_TOP)
