"""The lander's map with values, arrows and landings, and what its best flight is worth for every step reward."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from rmviz.plots.style import CATEGORIES, NEGATIVE, NEUTRAL, POSITIVE, styled

Place = tuple[int, int]
ARROWS = {"up": "▲", "right": "▶", "down": "▼", "left": "◀"}
_SIGNS = {"G": "goal", "S": "storm", "L": "start", "#": ""}


def lander_map(
    cells: Mapping[Place, str],
    values: Mapping[Place, float],
    moves: Mapping[Place, str],
    landed: Mapping[Place, int],
    *,
    marked: Sequence[Place] = (),
    subtitle: str,
) -> go.Figure:
    """The map: colour is the value, an arrow the best move, the share of flights stands where they ended.

    Args:
        cells: Sign of each cell.
        values: Expected sum of rewards from each cell on; of an end, what it is worth.
        moves: Best move in each cell that is flown through.
        landed: Simulated flights that ended in each end.
        marked: Cells whose arrow is framed.
        subtitle: The line under the title.
    """
    rows, columns = 1 + max(i for i, _ in cells), 1 + max(j for _, j in cells)
    grid = np.full((rows, columns), np.nan)
    for place, value in values.items():
        grid[place] = value
    largest = float(np.nanmax(np.abs(grid))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=grid, zmin=-largest, zmax=largest, colorscale=[[0, NEGATIVE], [0.5, "#f1f3f5"], [1, POSITIVE]],
            xgap=3, ygap=3, colorbar={"title": "value", "thickness": 12},
            hovertemplate="row %{y}, column %{x}<br>value %{z:.4f}<extra></extra>",
            x=list(range(1, columns + 1)), y=list(range(1, rows + 1)),
        )
    )  # fmt: skip
    flights = max(1, sum(landed.values()))
    for (i, j), sign in cells.items():
        shown = [f"<b>{_SIGNS[sign]}</b>"] if _SIGNS.get(sign) else []
        if (i, j) in moves:
            shown += [f"<span style='font-size:20px'>{ARROWS[moves[i, j]]}</span>", f"{values[i, j]:.3f}"]
        elif (i, j) in landed:
            shown += [f"{values[i, j]:+g}", f"{landed[i, j] / flights:.0%} land"]
        pale = (i, j) in values and abs(values[i, j]) < 0.6 * largest
        figure.add_annotation(
            x=j + 1, y=i + 1, text="<br>".join(shown) or "rock", showarrow=False,
            font={"color": NEUTRAL if sign == "#" else "#212529" if pale else "#ffffff", "size": 12},
            bordercolor=CATEGORIES[1] if (i, j) in marked else "rgba(0,0,0,0)", borderwidth=2, borderpad=6,
        )  # fmt: skip
    styled(figure, title="Value and best move", subtitle=subtitle, x="column", y="row", height=110 * rows + 110)
    figure.update_xaxes(dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(dtick=1, showgrid=False, zeroline=False, autorange="reversed")
    return figure


def lander_curve(
    bounds: Sequence[float], goal: Sequence[float], now: float, *, subtitle: str, lowest: float
) -> go.Figure:
    """The chance of a safe landing against the step reward: flat within a range of one best policy.

    Args:
        bounds: Lower bounds of the ranges, ascending; the last ends at 0.
        goal: Chance to end on a goal in each range.
        now: The step reward that is shown beside it.
        subtitle: The line under the title.
        lowest: Where the axis begins.
    """
    figure = go.Figure(
        go.Scatter(
            x=[-x for x in [*bounds, 0.001]], y=[*goal, goal[-1]], mode="lines", line={"shape": "hv", "color": CATEGORIES[0]},
            hovertemplate="step reward −%{x:.4f}<br>%{y:.1%} on a goal<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=-now, line={"color": NEUTRAL, "dash": "dot"})
    styled(
        figure,
        title="Chance to end on a goal",
        subtitle=subtitle,
        x="price of a step (log scale)",
        y="chance",
        height=320,
    )
    figure.update_xaxes(type="log", range=[np.log10(-lowest), -3])
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    return figure
