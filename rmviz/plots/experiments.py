"""Figures of experiments: numbers with their intervals, and curves over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy import stats

from rmviz.plots.captions import short
from rmviz.plots.curves import RUNS
from rmviz.plots.policies import run_bands
from rmviz.plots.style import CATEGORIES, NEUTRAL, label, styled
from rmviz.store.experiments import Curves, Figure

_ROW, _TOP = 30, 74  # pixels of a dot, and above the axis
_NEARLY_ALL = 0.9
_FEW_ROUNDS = 12  # each has its own tick
_IN_A_ROW = 5  # names of arms that fit above the axis
LEAST = 3
"""Seeds from which on a band is drawn: Student's interval of two is 12.7 standard errors wide."""


def figure_dots(figures: Sequence[Figure], title: str) -> go.Figure:
    """Each dot is a figure over its 95 % interval; the first on top, those without a number left out."""
    shown = [figure for figure in figures if figure.mean is not None]
    means = [float(figure.mean or 0.0) for figure in shown]
    above = [0.0 if one.high is None else one.high - mean for one, mean in zip(shown, means, strict=True)]
    below = [0.0 if one.low is None else mean - one.low for one, mean in zip(shown, means, strict=True)]
    figure = go.Figure(
        go.Scatter(
            x=means, y=list(range(len(shown))), mode="markers", marker={"size": 10, "color": CATEGORIES[0]},
            error_x={
                "type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": NEUTRAL,
                "thickness": 1.6, "width": 5,
            },
            hovertext=[f"{label(one.name)}<br>{label(one.meaning, 90)}<br>{told(one)}" for one in shown],
            hoverinfo="text", showlegend=False,
        )
    )  # fmt: skip
    if means and min(means) < 0 < max(means):
        figure.add_vline(x=0, line={"color": NEUTRAL, "dash": "dot"})
    counts = sorted({one.n for one in shown})
    n = f"n = {counts[0]:,}" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,}" if counts else ""
    styled(
        figure, title=label(title), subtitle=short(n, sign=False), x="", y="", height=120 + _ROW * max(len(shown), 1)
    )
    ticks = [label(one.name, 32) for one in shown]
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(shown))), ticktext=ticks, range=[len(shown) - 0.5, -0.5], showgrid=False,
        zeroline=False,
    )  # fmt: skip
    return figure.update_layout(margin_t=_TOP)


def told(figure: Figure) -> str:
    """A figure's number with its interval, as on a tick or in a hover box."""
    if figure.mean is None:
        return "no number"
    ends = "" if figure.low is None or figure.high is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.mean:.4g}{ends}, n = {figure.n:,}"


def seed_bands(rows: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """Per arm the mean over seeds at each x with Student's 95 % interval: `x`, `mean`, `low`, `high`, `n`, in order of x.

    Points without a number are left out.
    """
    table = _points(rows)
    found = {}
    for arm, part in table.groupby("arm", sort=False):
        groups = part.groupby("x")["y"]
        band = pd.DataFrame({"mean": groups.mean(), "spread": groups.std(ddof=1), "n": groups.size()}).reset_index()
        some = band["n"] >= LEAST
        half = np.where(
            some, stats.t.ppf(0.975, band["n"].clip(lower=2) - 1) * band["spread"] / np.sqrt(band["n"]), np.nan
        )
        found[str(arm)] = band.assign(low=band["mean"] - half, high=band["mean"] + half).drop(columns="spread")
    return found


def arm_curves(curves: Curves) -> go.Figure:
    """A line per arm over its band; where seeds do not share their x, a line per seed in the arm's colour instead."""
    bands, table = seed_bands(curves.rows), _points(curves.rows)
    seeds = table.groupby("arm")["seed"].nunique().max() if len(table) else 0
    facts = f"n = {seeds:,} seed{'' if seeds == 1 else 's'}"
    shared = {arm: band for arm, band in bands.items() if _shared(band, table, arm)}
    drawn = {arm: band.assign(at=[f"{curves.x} {x:.6g}, n = {n}" for x, n in zip(band["x"], band["n"], strict=True)])
             for arm, band in shared.items()}  # fmt: skip
    figure = run_bands(drawn, title=label(curves.title), x=label(curves.x), y=label(curves.y), facts=facts)
    for place, arm in enumerate(bands):
        own = table[table["arm"] == arm]
        if arm in shared and own["seed"].nunique() < 2:
            continue
        for number, (seed, part) in enumerate(own.groupby("seed")):
            part = part.sort_values("x", kind="stable")
            figure.add_trace(
                go.Scatter(
                    x=part["x"].tolist(), y=part["y"].tolist(), mode="lines", opacity=0.35 if arm in shared else 1.0,
                    line={"color": RUNS[place % len(RUNS)], "width": 1}, name=label(arm, 30), hoverinfo="text",
                    hovertext=[f"{label(arm)}, seed {seed}<br>{y:.4g}" for y in part["y"]], legendgroup=str(place),
                    showlegend=arm not in shared and number == 0 and len(bands) > 1,
                )
            )  # fmt: skip
    if len(table) and table["x"].max() <= _FEW_ROUNDS and (table["x"] % 1 == 0).all():
        figure.update_xaxes(dtick=1)
    if len(bands) > _IN_A_ROW:
        beside = {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1.1, "yanchor": "top"}
        figure.update_layout(legend={**beside, "tracegroupgap": 0, "font": {"size": 10}})
    return figure


def _shared(band: pd.DataFrame, table: pd.DataFrame, arm: str) -> bool:
    """Whether a mean over seeds says something at nearly all points: most seeds of the arm have the same x there."""
    seeds = int(table.loc[table["arm"] == arm, "seed"].nunique())
    counts = band["n"]
    return seeds == 1 or bool(counts[counts > seeds / 2].sum() >= _NEARLY_ALL * counts.sum())


def _points(rows: Sequence[Any]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=["arm", "seed", "x", "y"])
    table = table.assign(arm=table["arm"].astype(str), x=pd.to_numeric(table["x"]), y=pd.to_numeric(table["y"]))
    return table[np.isfinite(table["x"].astype(float)) & np.isfinite(table["y"].astype(float))]
