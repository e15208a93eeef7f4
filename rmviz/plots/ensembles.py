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
            error_y={"type": "data", "symmetric": False, "color": NEUTRAL, "thickness": 1,
                     "array": (errors["high"] - errors["wrong"]).tolist(),
                     "arrayminus": (errors["wrong"] - errors["low"]).tolist()}, customdata=errors["n"].tolist(),
            hovertemplate="disagreement %{x:.3g}: %{y:.1%} wrong, n = %{customdata}<extra></extra>",
        )
    )  # fmt: skip
    styled(
        figure, title="Errors by disagreement", subtitle=short(f"n = {int(errors['n'].sum()):,} pairs", sign=False),
        x="disagreement of the members on the pair's margin", y="share ranked wrongly",
    )  # fmt: skip
    return figure.update_yaxes(tickformat=".0%", rangemode="tozero")
