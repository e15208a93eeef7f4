"""The reward of each prefix, of one text or several, by one model or several: never two models on one raw axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE, label, styled

_LINES = [
    (POSITIVE, "solid"),
    (NEGATIVE, "dash"),
    ("#2f9e44", "dot"),
    ("#9c36b5", "dashdot"),
]  # told apart by dash as well as by hue
_MODELS = ("#e8590c", "#1c7ed6", "#2f9e44", "#9c36b5", "#0ca678", NEUTRAL)
_DASHES = ("solid", "dash", "dot", "dashdot")
_SHADE = "rgba(134, 142, 150, 0.13)"


@dataclass(frozen=True)
class Curve:
    """One text read by one model: a reward after each token, NaN where there is none."""

    model: str
    name: str
    """Of the text; the same texts of several models have the same names."""

    ends: Sequence[int]
    """Character of the reply at which each token ends."""

    tokens: Sequence[str]
    rewards: Sequence[float]


def prefix_panels(curves: Sequence[Curve], *, shared_until: int | None = None, standardised: bool = False) -> go.Figure:
    """The reward if the text ended after each token, over the characters of the reply.

    Args:
        curves: Of one model or several; the models come in the order of their first curve.
        shared_until: Character until which the texts are the same; the part is shaded.
        standardised: Rewards are in standard deviations of each model, so all share one axis; else each model has its own.
    """
    models = list(dict.fromkeys(curve.model for curve in curves))
    names = list(dict.fromkeys(curve.name for curve in curves))
    panels = 1 if standardised else max(1, len(models))
    figure = go.Figure()
    for curve in curves:
        model, name = models.index(curve.model), names.index(curve.name)
        colour, dash = _LINES[name % 4] if not standardised else (_MODELS[model % 6], _DASHES[name % 4])
        title = f"{curve.model} · {curve.name}" if standardised and len(names) > 1 else (
            curve.model if standardised else curve.name
        )  # fmt: skip
        panel = 0 if standardised else model
        figure.add_trace(_line(curve, title, colour, dash, panel, shown=standardised or model == 0))
    _layout(figure, models, panels, standardised=standardised, n=sum(len(c.tokens) for c in curves))
    if shared_until is not None:
        first = min((end for curve in curves for end in curve.ends), default=0)
        box = {"x0": first, "x1": shared_until, "y0": 0, "y1": 1, "fillcolor": _SHADE, "layer": "below"}
        for panel in range(panels):
            figure.add_shape(type="rect", line={"width": 0}, xref="x", yref=f"{_axis('y', panel)} domain", **box)
        figure.add_annotation(
            text="shared", x=first, y=0, xref="x", yref="y domain", xanchor="left", yanchor="bottom", showarrow=False
        )
    return figure


def height_of(panels: int) -> int:
    """Pixels of a figure with so many panels."""
    return 290 + 180 * (panels - 1)


def _line(curve: Curve, title: str, colour: str, dash: str, panel: int, *, shown: bool) -> go.Scatter:
    known = [(end, token, float(r)) for end, token, r in zip(curve.ends, curve.tokens, curve.rewards, strict=True)]
    rewards = [reward if np.isfinite(reward) else None for _, _, reward in known]
    hovers = [
        f"{label(curve.model)}<br>{label(token)}<br>{'none' if reward is None else f'{reward:.3f}'}"
        for (_, token, _), reward in zip(known, rewards, strict=True)
    ]
    return go.Scatter(
        x=[end for end, _, _ in known],
        y=rewards,
        name=label(title),
        legendgroup=label(title),
        showlegend=shown,
        mode="lines+markers",
        line={"color": colour, "dash": dash, "width": 2},
        marker={"size": 4},
        hovertext=hovers,
        hoverinfo="text",
        yaxis=_axis("y", panel),
    )


def _layout(figure: go.Figure, models: Sequence[str], panels: int, *, standardised: bool, n: int) -> None:
    what = "standard deviations" if standardised else "reward if the text ended here"
    styled(
        figure,
        title="Reward of each prefix",
        subtitle=short(f"the last point is the reward of the whole text · n = {count(n, 'tokens')}", sign=False),
        x="character of the reply (below 0: the prompt)",
        y=what if panels == 1 else label(models[0], 24),
        height=height_of(panels),
    )
    gap = 0.06
    size = (1 - gap * (panels - 1)) / panels
    for panel in range(panels):  # the first model on top
        top = 1 - panel * (size + gap)
        axis = {**figure.layout["yaxis"].to_plotly_json(), "domain": [max(0.0, top - size), top]}
        axis["title"] = {"text": what if panels == 1 else label(models[panel], 24)}
        figure.update_layout({f"yaxis{panel + 1 if panel else ''}": axis})
    figure.update_xaxes(anchor=_axis("y", panels - 1))


def _axis(name: str, panel: int) -> str:
    return f"{name}{panel + 1 if panel else ''}"
