"""Figures of ratings from comparisons."""

import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import short
from rmviz.plots.curves import RUNS
from rmviz.plots.style import NEUTRAL, label, styled

MOST_DOTS = 40
"""Items in the figure at most, from the best down."""


def rating_dots(ratings: pd.DataFrame) -> go.Figure:
    """Each dot is an item's Elo rating with its interval, the best on top; 1500 is the mean of its group.

    Args:
        ratings: `item`, `elo`, `elo_low`, `elo_high`, `num_comparisons`; the first `MOST_DOTS` are drawn.
    """
    shown = ratings.head(MOST_DOTS)
    places = list(range(len(shown)))
    figure = go.Figure(
        go.Scatter(
            x=shown["elo"].tolist(), y=places, mode="markers", marker={"size": 9, "color": RUNS[0]},
            error_x={"type": "data", "symmetric": False, "color": NEUTRAL, "thickness": 1,
                     "array": (shown["elo_high"] - shown["elo"]).tolist(),
                     "arrayminus": (shown["elo"] - shown["elo_low"]).tolist()},
            customdata=shown["num_comparisons"].tolist(), hovertext=[label(item) for item in shown["item"]],
            hovertemplate="%{hovertext}<br>Elo %{x:.0f}, %{customdata} comparisons<extra></extra>",
        )
    )  # fmt: skip
    more = f"the best {len(shown)} of {len(ratings):,}" if len(ratings) > len(shown) else f"{len(ratings):,} items"
    styled(
        figure, title="Ratings", subtitle=short("1500: the mean of a group", more, sign=False), x="Elo", y="",
        height=150 + 22 * len(shown),
    )  # fmt: skip
    ticks = [label(item, 36) for item in shown["item"]]
    return figure.update_yaxes(
        tickvals=places, ticktext=ticks, range=[len(shown) - 0.5, -0.5], showgrid=False, zeroline=False
    )
