"""Figures of ensembles of reward models."""

import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import short
from rmviz.plots.curves import RUNS
from rmviz.plots.style import NEUTRAL, styled


def error_dots(errors: pd.DataFrame) -> go.Figure:
    """Each dot is a fifth of the held-out pairs by disagreement: the share that the members' mean ranks wrongly.

    Args:
        errors: `doubt`, `wrong`, `low`, `high`, `n`.
    """
    figure = go.Figure(
        go.Scatter(
            x=errors["doubt"].tolist(), y=errors["wrong"].tolist(), mode="markers+lines",
            marker={"size": 9, "color": RUNS[0]}, line={"color": NEUTRAL, "width": 1},
            error_y=_whiskers(errors, "wrong"), customdata=errors["n"].tolist(),
            hovertemplate="disagreement %{x:.3g}: %{y:.1%} wrong, n = %{customdata}<extra></extra>",
        )
    )  # fmt: skip
    styled(
        figure, title="Errors by disagreement", subtitle=short(f"n = {int(errors['n'].sum()):,} pairs", sign=False),
        x="disagreement of the members on the pair's margin", y="share ranked wrongly",
    )  # fmt: skip
    return figure.update_yaxes(tickformat=".0%", rangemode="tozero")


def best_of_lines(table: pd.DataFrame) -> go.Figure:
    """True reward of the best of n replies, a line for each way of choosing.

    Args:
        table: `way`, `best_of`, `mean`, `low`, `high`, `num_ensembles`.
    """
    figure = go.Figure()
    for place, (way, rows) in enumerate(table.groupby("way", sort=False)):
        figure.add_scatter(
            x=rows["best_of"].tolist(), y=rows["mean"].tolist(), mode="markers+lines", name=str(way),
            line={"color": RUNS[place % len(RUNS)]}, error_y=_whiskers(rows, "mean"),
            hovertemplate="best of %{x}: %{y:.3g}<extra>" + str(way) + "</extra>",
        )  # fmt: skip
    styled(
        figure, title="Best of n", subtitle=short(f"{int(table['num_ensembles'].max())} ensembles", sign=False),
        x="replies to choose from", y="true reward of the chosen one",
    )  # fmt: skip
    ticks = sorted(set(table["best_of"].tolist()))
    return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[str(tick) for tick in ticks])


def _whiskers(rows: pd.DataFrame, value: str) -> dict[str, object]:
    known = rows.fillna({"low": rows[value], "high": rows[value]})
    return {
        "type": "data", "symmetric": False, "color": NEUTRAL, "thickness": 1,
        "array": (known["high"] - known[value]).tolist(), "arrayminus": (known[value] - known["low"]).tolist(),
    }  # fmt: skip
