"""A search tree drawn: who follows whom, how often it was visited, what it is worth, and where the pairs lie."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE, label, styled

MOST = 300
"""Nodes that are drawn at most: those visited most often."""

_NAMED = 90
"""Nodes up to which every one is named by its token."""

_SMALLEST, _LARGEST = 9.0, 34.0
"""Diameters in pixels."""


def search_tree(nodes: pd.DataFrame, pairs: Sequence[tuple[int, int]] = (), *, chosen: int = -1) -> go.Figure:
    """Every node a dot below its parent: size is visits, colour is value.

    Args:
        nodes: node, parent (−1 above the root), depth, token, prior, visits, value, reply, paid; parents before children.
        pairs: Chosen and rejected node of each pair; their ways from the root are drawn.
        chosen: Which pair is drawn thick; all alike when −1.
    """
    parents = dict(zip(nodes["node"].tolist(), nodes["parent"].tolist(), strict=True))
    shown = _shown(nodes, {way for pair in pairs for end in pair for way in path(parents, end)})
    place = _places(shown)
    figure = go.Figure()
    edges = [(parents[node], node) for node in shown["node"].tolist() if parents[node] >= 0]
    figure.add_trace(_lines(edges, place, NEUTRAL, 1.0, ""))
    for number, pair in enumerate(pairs):
        for end, colour, side in zip(pair, (POSITIVE, NEGATIVE), ("chosen", "rejected"), strict=True):
            way = path(parents, end)
            width = 6.0 if number == chosen else 2.5
            line = _lines(list(pairwise(way)), place, colour, width, side)
            line.update(showlegend=number == 0, opacity=1.0 if chosen in (-1, number) else 0.35)
            figure.add_trace(line)
    figure.add_trace(_dots(shown, place))
    subtitle = f"n = {len(nodes):,} nodes, {len(pairs)} pairs"
    styled(figure, title="Search tree", subtitle=subtitle, x="", y="depth (tokens)", height=640)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(autorange="reversed", dtick=1, zeroline=False)
    return figure


def path(parents: dict[int, int], node: int) -> list[int]:
    """The nodes from the root to this one."""
    way = [node]
    while parents[way[-1]] >= 0:
        way.append(parents[way[-1]])
    return way[::-1]


def _shown(nodes: pd.DataFrame, needed: set[int]) -> pd.DataFrame:
    """At most `MOST` nodes; a node's parent has more visits than it, or was met before it, so that none hangs in the air."""
    order = nodes.assign(needed=nodes["node"].isin(list(needed))).sort_values(
        ["needed", "visits", "node"], ascending=[False, False, True]
    )
    return order.head(max(MOST, len(needed))).sort_values("node")


def _places(shown: pd.DataFrame) -> dict[int, tuple[float, int]]:
    """Leaves stand side by side, a parent over the middle of its children."""
    children: dict[int, list[int]] = {node: [] for node in shown["node"].tolist()}
    for node, parent in zip(shown["node"].tolist(), shown["parent"].tolist(), strict=True):
        if parent >= 0:
            children[parent].append(node)
    depth = dict(zip(shown["node"].tolist(), shown["depth"].tolist(), strict=True))
    x: dict[int, float] = {}
    leaves = 0
    for node in _below_first(children, int(shown["node"].iloc[0])):
        if children[node]:
            x[node] = (x[children[node][0]] + x[children[node][-1]]) / 2
        else:
            x[node], leaves = float(leaves), leaves + 1
    return {node: (x[node], depth[node]) for node in x}


def _below_first(children: dict[int, list[int]], root: int) -> list[int]:
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += children[node]
    return order[::-1]


def _lines(
    edges: Sequence[tuple[int, int]], place: dict[int, tuple[float, int]], colour: str, width: float, name: str
) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for start, end in edges:
        x += [place[start][0], place[end][0], None]
        y += [place[start][1], place[end][1], None]
    return go.Scatter(
        x=x, y=y, mode="lines", name=name or None, showlegend=False, hoverinfo="skip", legendgroup=name,
        line={"color": colour, "width": width},
    )  # fmt: skip


def _dots(shown: pd.DataFrame, place: dict[int, tuple[float, int]]) -> go.Scatter:
    visits = shown["visits"].to_numpy(float)
    size = _SMALLEST + (_LARGEST - _SMALLEST) * np.sqrt(visits / visits.max())
    hover = [
        f"<b>{label(str(token)) if depth else 'root'}</b> · node {node}<br>value {value:.3f} · visits {count} · prior {prior:.2f}"
        f"<br>first reply: {label(str(reply))}<br>which was paid {paid:.3f}"
        for node, token, depth, value, count, prior, reply, paid in zip(
            *(shown[name].tolist() for name in ("node", "token", "depth", "value", "visits", "prior", "reply", "paid")),
            strict=True,
        )
    ]
    names = [
        label(str(token).strip() or "␣", 12) if depth else "root"
        for token, depth in zip(shown["token"], shown["depth"], strict=True)
    ]
    return go.Scatter(
        x=[place[node][0] for node in shown["node"].tolist()], y=[place[node][1] for node in shown["node"].tolist()],
        mode="markers+text" if len(shown) <= _NAMED else "markers", text=names, textposition="middle right",
        textfont={"size": 11}, hovertext=hover, hoverinfo="text", showlegend=False,
        marker={
            "size": size, "color": shown["value"].tolist(), "colorscale": "Viridis", "line": {"color": NEUTRAL, "width": 1},
            "colorbar": {"title": "value", "thickness": 12},
        },
    )  # fmt: skip
