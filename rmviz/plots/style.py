"""The look that all figures share: neutral in dark and light, safe for colour-blind eyes, no data read as markup."""

from typing import Any

import plotly.graph_objects as go

POSITIVE = "#e8590c"
"""Raises the reward (orange)."""

NEGATIVE = "#1c7ed6"
"""Lowers the reward (blue)."""

NEUTRAL = "#868e96"
"""No sign; also text and lines, legible on white and on near-black alike."""

DIVERGING = [[0.0, NEGATIVE], [0.5, "#ced4da"], [1.0, POSITIVE]]

CATEGORIES = ("#0ca678", "#9c36b5", NEUTRAL)
"""Kinds of things, where colour must not be read as a sign."""

SIGN = "effect = reward with the feature − reward without it"

_GRID = "rgba(134, 142, 150, 0.22)"


def label(text: str, limit: int = 60) -> str:
    """Text from data for a tick or a hover box: one line, cut at `limit`, and never read as Plotly's markup."""
    line = text.replace("\r", "↵").replace("\n", "↵").replace("\t", " ")
    line = line if len(line) <= limit else f"{line[: limit - 1]}…"
    # Plotly decodes these three entities and leaves &quot; as it is, so html.escape would show too much
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def styled(figure: go.Figure, *, title: str, subtitle: str, x: str, y: str, height: int = 380) -> go.Figure:
    """The figure with its title, its caption line, its axis titles, and colours for both themes."""
    axis: dict[str, Any] = {
        "gridcolor": _GRID,
        "zerolinecolor": NEUTRAL,
        "zerolinewidth": 1,
        "linecolor": _GRID,
        "automargin": True,
    }
    lines = subtitle.count("<br>") + 1
    traces: Any = figure.data
    named = sum(trace.name is not None and trace.showlegend is not False for trace in traces)
    heading = {
        "text": title,
        "font": {"size": 15},
        "subtitle": {"text": subtitle, "font": {"size": 12, "color": NEUTRAL}},
        "yref": "container",
        "y": 1.0,
        "yanchor": "top",
        "pad": {"t": 8},
    }
    figure.update_layout(
        title=heading,
        height=height,
        font={"color": NEUTRAL, "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 20, "t": 38 + 16 * lines + 24 * (named > 1), "b": 52},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0.0},
        hoverlabel={"align": "left"},
        bargap=0.04,
    )
    figure.update_traces(marker_line_width=0, selector={"type": "bar"})
    figure.update_xaxes(title_text=x, **axis)
    figure.update_yaxes(title_text=y, **axis)
    return figure
