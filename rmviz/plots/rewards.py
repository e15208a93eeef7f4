"""Figures about rewards: of prefixes, of pairs, before and after a change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE, label, styled

_GL_FROM = 3000


def before_after_bars(names: Sequence[str], before: Sequence[float], after: Sequence[float]) -> go.Figure:
    """The reward of each text before and after the chosen features were changed.

    Args:
        names: One per text.
        before: Clean rewards.
        after: Rewards with the features changed.
    """
    ticks = [label(name) for name in names]
    figure = go.Figure()
    for name, values, colour in (("before", before, NEUTRAL), ("after", after, POSITIVE)):
        shown = [float(value) for value in values]
        figure.add_trace(
            go.Bar(
                x=ticks,
                y=shown,
                name=name,
                marker={"color": colour},
                text=[_number(value) for value in shown],
                textposition="auto",
            )
        )
    changes = [float(a) - float(b) for a, b in zip(after, before, strict=True)]
    facts = (f"change {', '.join(f'{change:+.3g}' for change in changes[:4])}", f"n = {count(len(names), 'texts')}")
    styled(figure, title="Before and after", subtitle=short(*facts, sign=False), x="text", y="reward", height=320)
    return figure.update_layout(barmode="group", bargap=0.3)


def margin_histogram(margins: Any, *, bins: int = 50) -> go.Figure:
    """Margins of all pairs, chosen − rejected reward; below zero, the model disagrees with people.

    Args:
        margins: One number per pair.
        bins: Bars on both sides of zero together.
    """
    values = np.asarray(margins, dtype=float)
    values = values[np.isfinite(values)]
    limit = float(np.abs(values).max()) if values.size and np.abs(values).max() > 0 else 1.0
    edges = np.linspace(-limit, limit, 2 * (bins // 2) + 1)
    figure = go.Figure()
    for name, part, colour in (
        ("right", values[values > 0], POSITIVE),
        ("wrong or tied", values[values <= 0], NEGATIVE),
    ):
        counts, _ = np.histogram(part, bins=edges)
        hovers = [
            f"{low:.3g} to {high:.3g}: {count(int(n), 'pairs')}"
            for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        centres, widths = ((edges[1:] + edges[:-1]) / 2).tolist(), np.diff(edges).tolist()
        figure.add_trace(
            go.Bar(
                x=centres,
                y=counts.tolist(),
                width=widths,
                name=name,
                marker={"color": colour},
                hovertext=hovers,
                hoverinfo="text",
            )
        )
    share = f"{(values > 0).mean():.1%} of pairs right (chance 50 %)" if values.size else ""
    facts = ("margin = chosen − rejected reward", share, f"n = {count(len(values), 'pairs')}")
    styled(figure, title="Margins", subtitle=short(*facts, sign=False), x="margin (reward units)", y="pairs")
    return figure.update_layout(barmode="overlay")


def reward_scatter(pairs: pd.DataFrame) -> go.Figure:
    """Each dot is a preference pair; dots above the diagonal are ranked as people did.

    Args:
        pairs: Columns `pair_id`, `chosen_reward`, `rejected_reward`; `customdata` of a dot is `[pair_id]`.
    """
    shown = pairs[
        np.isfinite(pairs["chosen_reward"].astype(float)) & np.isfinite(pairs["rejected_reward"].astype(float))
    ]
    right = shown["chosen_reward"] > shown["rejected_reward"]
    kind = go.Scattergl if len(shown) >= _GL_FROM else go.Scatter
    figure = go.Figure()
    for name, rows, colour, symbol in (("right", right, POSITIVE, "circle"), ("wrong or tied", ~right, NEGATIVE, "x")):
        part = shown[rows]
        chosen, rejected, ids = (part[column].tolist() for column in ("chosen_reward", "rejected_reward", "pair_id"))
        hovers = [
            f"{label(str(pair))}<br>chosen {c:.3g}, rejected {r:.3g}"
            for pair, c, r in zip(ids, chosen, rejected, strict=True)
        ]
        marker = {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.7}
        figure.add_trace(
            kind(
                x=rejected,
                y=chosen,
                mode="markers",
                name=name,
                marker=marker,
                customdata=[[str(i)] for i in ids],
                hovertext=hovers,
                hoverinfo="text",
            )
        )
    if len(shown):
        ends = [
            float(shown[["chosen_reward", "rejected_reward"]].min().min()),
            float(shown[["chosen_reward", "rejected_reward"]].max().max()),
        ]
        figure.add_trace(
            go.Scatter(
                x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
            )
        )
    share = f"{right.mean():.1%} of pairs right (chance 50 %)" if len(shown) else ""
    facts = ("margin = chosen − rejected reward", share, f"n = {count(len(shown), 'pairs')}")
    return styled(
        figure,
        title="Rewards of pairs",
        subtitle=short(*facts, sign=False),
        x="reward of the rejected reply",
        y="reward of the chosen reply",
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
