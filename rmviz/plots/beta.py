"""Figures of a policy that is led by values: what its sampling becomes as β grows."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from rmviz.plots.style import CATEGORIES, NEUTRAL, styled


def beta_curve(
    betas: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    now: float,
    *,
    title: str,
    unit: str,
    subtitle: str = "",
    errors: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """One figure of the replies against β, whose values stand side by side; the dotted line is the β chosen.

    Args:
        betas: Ascending.
        lines: Name and values of each line, a value per β.
        now: The β chosen, one of them.
        title: What is shown.
        unit: Of the values.
        subtitle: The line under the title.
        errors: Half-widths of intervals, by the name of a line.
    """
    places, figure = list(range(len(betas))), go.Figure()
    for number, (name, values) in enumerate(lines.items()):
        halves = (errors or {}).get(name)
        figure.add_scatter(
            x=places, y=list(values), name=name, mode="lines+markers", showlegend=len(lines) > 1,
            line={"color": CATEGORIES[number % len(CATEGORIES)]}, customdata=[f"{beta:g}" for beta in betas],
            error_y={"array": list(halves), "thickness": 1.3, "width": 3} if halves is not None else None,
            hovertemplate=f"β = %{{customdata}}<br>%{{y:.3g}} {unit}<extra>{name}</extra>",
        )  # fmt: skip
    figure.add_vline(x=int(np.searchsorted(betas, now)), line={"color": NEUTRAL, "dash": "dot"})
    styled(figure, title=title, subtitle=subtitle, x="β", y=unit, height=320)
    figure.update_xaxes(tickvals=places, ticktext=[f"{beta:g}" for beta in betas], zeroline=False)
    return figure
