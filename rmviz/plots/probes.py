"""Figures of probes: what edits of texts are worth, and the rewards of one-token replies."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from rmviz.plots.captions import count, short
from rmviz.plots.curves import RUNS
from rmviz.plots.style import CATEGORIES, NEGATIVE, NEUTRAL, POSITIVE, label, styled

_ROW = 24  # pixels of one bar
_NUM_BINS = 80
_HUES = tuple(colour for colour in RUNS if colour != NEUTRAL)


def gap_bars(table: pd.DataFrame, std: float, tolerance: float) -> go.Figure:
    """Each bar is an edit: mean reward with it − without it, with its interval; between the dotted lines it does not matter.

    Orange raises the reward and blue lowers it, where the verdict is `matters`; grey bars are small or cannot be told from 0.

    Args:
        table: item, verdict, gap, gap_low, gap_high, num_texts; the first row on top. Items without a gap are left out.
        std: Standard deviation of the rewards: the unit of the axis.
        tolerance: Gap that matters, in that unit.
    """
    shown = table[table["gap"].notna()]
    unit = std or 1.0
    gap, low, high = (shown[name].to_numpy(float) / unit for name in ("gap", "gap_low", "gap_high"))
    matters = (shown["verdict"] == "matters").to_numpy()
    colours = np.where(matters, np.where(gap > 0, POSITIVE, NEGATIVE), NEUTRAL).tolist()
    hovers = [
        f"{label(str(row.item))}<br>{row.gap:+.3g} [{row.gap_low:+.3g}, {row.gap_high:+.3g}] in reward units<br>"
        f"{row.num_texts:,} texts, {label(str(row.verdict))}"
        for row in shown.itertuples()
    ]
    places = list(range(len(shown)))
    bar = go.Bar(
        x=gap.tolist(), y=places, orientation="h", showlegend=False, hovertext=hovers, hoverinfo="text",
        marker={"color": colours, "opacity": 0.75},
        customdata=[[str(item)] for item in shown["item"]],
        error_x={"symmetric": False, "array": (high - gap).tolist(), "arrayminus": (gap - low).tolist(),
                 "color": NEUTRAL, "thickness": 1.3, "width": 3},
    )  # fmt: skip
    figure = go.Figure(bar)
    figure.add_vline(x=0, line={"color": NEUTRAL})
    for end in {tolerance, -tolerance}:
        figure.add_vline(x=end, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    ns = shown["num_texts"]
    n = f"n = {int(ns.min()):,} to {count(int(ns.max()), 'texts')}" if len(ns) else "no texts"
    styled(
        figure,
        title="What each edit is worth",
        subtitle=short("gap = reward with − reward without", n, sign=False),
        x="mean gap, standard deviations of the rewards",
        y="",
        height=130 + _ROW * max(len(shown), 1),
    )
    figure.update_yaxes(
        tickvals=places, ticktext=[label(str(item), 34) for item in shown["item"]], range=[len(shown) - 0.5, -0.5],
        showgrid=False, zeroline=False,
    )  # fmt: skip
    return figure.update_layout(bargap=0.35, margin_t=74)


def token_histogram(tokens: pd.DataFrame) -> go.Figure:
    """How many tokens have a reward of each size, and where the special tokens stand (marks below).

    Args:
        tokens: reward, special, token.
    """
    known = tokens[np.isfinite(tokens["reward"])]
    counts, edges = np.histogram(known["reward"], bins=_NUM_BINS)
    figure = go.Figure(
        go.Bar(
            x=((edges[1:] + edges[:-1]) / 2).tolist(), y=counts.tolist(), width=np.diff(edges).tolist(),
            marker={"color": CATEGORIES[0]}, name="all tokens", showlegend=False,
            hovertemplate="reward %{x:.3g}<br>%{y:,} tokens<extra></extra>",
        )
    )  # fmt: skip
    special = known[known["special"]]
    figure.add_trace(
        go.Scatter(
            x=special["reward"].tolist(), y=[0] * len(special), mode="markers", name="special tokens", showlegend=False,
            marker={"symbol": "line-ns-open", "size": 16, "color": CATEGORIES[1], "line": {"width": 2}},
            hovertext=[f"{label(str(t))}, special" for t in special["token"]], hoverinfo="text",
        )
    )  # fmt: skip
    facts = f"{count(len(special), 'special tokens')} (violet marks)" if len(special) else ""
    return styled(
        figure, title="Rewards of all one-token replies",
        subtitle=short(f"n = {count(len(known), 'tokens')}", facts, sign=False), x="reward", y="tokens", height=280,
    ).update_layout(margin_t=74)  # fmt: skip


def feature_colours(features: "pd.Series") -> dict[int, str]:
    """A colour for each of the features that are most often there; the others get the neutral one."""
    common = features[features >= 0].value_counts(sort=True).index[: len(_HUES)]
    return {int(feature): _HUES[place] for place, feature in enumerate(common)}


def token_bars(tokens: pd.DataFrame, colours: Mapping[int, str], mean: float, title: str) -> go.Figure:
    """Each bar is a token: how far its reward is from the mean token's; its colour is the feature with the largest |effect|.

    Args:
        tokens: token, reward, feature (−1: none known), effect; the first row on top.
        colours: Of features; others are grey.
        mean: Reward of the mean token.
        title: Of the figure.
    """
    colour = [colours.get(int(feature), NEUTRAL) for feature in tokens["feature"]]
    hovers = [
        f"{label(repr(str(row['token'])))}<br>reward {row['reward']:+.4g}<br>"
        + (f"feature {row['feature']}, effect {row['effect']:+.3g}" if row["feature"] >= 0 else "no feature known")
        for row in tokens.to_dict("records")
    ]
    figure = go.Figure(
        go.Bar(
            x=(tokens["reward"] - mean).tolist(), y=list(range(len(tokens))), orientation="h", showlegend=False,
            marker={"color": colour}, hovertext=hovers, hoverinfo="text",
        )
    )  # fmt: skip
    ticks = [label(visible(str(token)), 24) for token in tokens["token"]]
    styled(
        figure, title=title, subtitle=short("colour: the feature with the largest |effect|", sign=False),
        x="reward − mean reward of all tokens", y="", height=130 + 20 * max(len(tokens), 1),
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.5, -0.5], showgrid=False, zeroline=False
    )
    return figure.update_layout(margin_t=74, bargap=0.2)


def visible(token: str) -> str:
    """A token with its spaces and line breaks shown."""
    return token.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
