"""A pair taken apart: its figures, the waterfall, the table of all parts, and both texts."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from rmviz.backend.wire_pair import PairAnswer, PairSide, ShapleyAnswer
from rmviz.plots.captions import caption
from rmviz.plots.pairs import waterfall_bars
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.types import Pair
from rmviz.ui import cached, diff, export, frame, links, live, pickers, router, style
from rmviz.ui.tables import ROW_CLICK, clicked, record
from rmviz.ui.words import SIGN, counted, number, percent, plain, shortened

TOPS = {"5": "5", "10": "10", "20": "20", "40": "40"}
PERMUTATIONS = {"0": "Off", "16": "16", "64": "64", "256": "256"}
OTHERS, ERROR, BASE, REST = "all other features", "SAE error", "base", "interaction rest"
_FEATURE = "_apart-feature"
_FIRST = 8


@frame.fragment
def take_apart(model: Artifact, sae: Artifact, features: Artifact | None, pair: Pair) -> None:
    """Everything below the pickers; it runs by itself."""
    with st.spinner("The model reads (the first time, it is loaded)"):
        answer = live.pair(model.id, sae.id, pair, "pair")
    _marks(answer, pair)
    words = cached.words_of_features(features)
    table = part_table(answer, words)
    _headline(answer, table)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        top = int(pickers.choice("Features by themselves", TOPS, "top", "10"))
        num_permutations = int(
            pickers.choice(
                "Shapley values, permutations", PERMUTATIONS, "shapley", "0",
                help="Share the interaction rest out among the parts, by sampling orders in which they enter.",
            )
        )  # fmt: skip
    left, right = st.columns([11, 10], gap="medium")
    with left:
        _waterfall(answer, table, top, pair)
        if num_permutations:
            table = _shapley(model, sae, pair, table, top, num_permutations)
    with right:
        _table(pair, table)
        _chosen(features, table, words)
    _texts(answer, pair)


def part_table(answer: PairAnswer, words: dict[int, str]) -> pd.DataFrame:
    """One row per part: the features by |effect on the margin|, then SAE error, base and interaction rest.

    Returns:
        part, feature (−1 for what is no feature), fires_on, margin, chosen, rejected; each of the last three columns sums
        to the margin or to the reward.
    """
    chosen, rejected = (np.array(one, float) for one in (answer.chosen_effects, answer.rejected_effects))
    rows = pd.DataFrame(
        {
            "part": [f"feature {feature}" for feature in answer.features], "feature": answer.features,
            "fires_on": [words.get(feature, "") for feature in answer.features], "chosen": chosen, "rejected": rejected,
        }
    ).astype({"feature": int})  # fmt: skip
    a, b = answer.chosen, answer.rejected
    rest = [(ERROR, a.error, b.error), (BASE, a.base, b.base), (REST, a.interaction, b.interaction)]
    others = pd.DataFrame(
        [(name, -1, "", one, other) for name, one, other in rest],
        columns=["part", "feature", "fires_on", "chosen", "rejected"],
    )
    table = pd.concat([rows, others], ignore_index=True) if len(rows) else others
    table.insert(3, "margin", table["chosen"].astype(float) - table["rejected"].astype(float))
    return table


def bars(table: pd.DataFrame, top: int) -> pd.DataFrame:
    """The parts as the waterfall shows them: base, the top features, the others in one, SAE error, interaction rest."""
    features = table[table["feature"] >= 0]
    rest = table[table["feature"] < 0].set_index("part")["margin"]
    shown = features.head(top)
    names = [
        f"{f} · {shortened(w, 26)}" if w else str(f) for f, w in zip(shown["feature"], shown["fires_on"], strict=True)
    ]
    parts = [(BASE, -1, rest[BASE]), *zip(names, shown["feature"], shown["margin"], strict=True)]
    if len(features) > top:
        parts.append((f"{OTHERS} ({len(features) - top:,})", -1, features["margin"].iloc[top:].sum()))
    parts += [(ERROR, -1, rest[ERROR]), (REST, -1, rest[REST])]
    return pd.DataFrame(parts, columns=["part", "feature", "value"])


def _marks(answer: PairAnswer, pair: Pair) -> None:
    """What the reader should know of how the texts were read."""
    sides: tuple[tuple[str, PairSide], ...] = (("chosen", answer.chosen), ("rejected", answer.rejected))
    for warning in dict.fromkeys(side.off_format for _, side in sides if side.off_format):
        st.warning(f"Off-format: {plain(warning)}", icon=":material/format_clear:")
    for name, side in sides:
        if side.num_cut:
            st.warning(
                f"✂ The first {counted(side.num_cut, 'token')} of the {name} text were cut: the model reads "
                f"{counted(answer.info.max_length, 'token')} at most.",
                icon=":material/content_cut:",
            )
    if answer.same:
        why = "Both texts are the same" if pair.chosen == pair.rejected else "The model reads the same in both texts"
        st.info(f"{why}, so every part of the margin is 0.", icon=":material/equal:")
    elif answer.chosen.reward == answer.rejected.reward:
        st.info("A tie: the margin is 0, and what the parts say cancels.", icon=":material/equal:")


def _headline(answer: PairAnswer, table: pd.DataFrame) -> None:
    a, b = answer.chosen, answer.rejected
    parts = table.set_index("part")["margin"]
    assert a.reward is not None and b.reward is not None, "the backend refuses a pair without finite rewards"
    margin = a.reward - b.reward
    verdict = "a tie" if margin == 0 else f"the model prefers the {'chosen' if margin > 0 else 'rejected'}"
    own = table[table["feature"] >= 0]
    items = [
        ("margin", _signed(margin), verdict),
        ("reward, chosen", number(a.reward, signed=True), counted(a.num_tokens, "token")),
        ("reward, rejected", number(b.reward, signed=True), counted(b.num_tokens, "token")),
        ("features", _signed(float(own["margin"].sum())), f"{len(own):,} fire on either text"),
        ("SAE error", _signed(float(parts[ERROR])), "what the SAE does not see"),
        ("base", _signed(float(parts[BASE])), "frame, positions, biases"),
        ("interaction rest", _signed(float(parts[REST])), f"{percent(answer.interaction_share)} of all parts' size"),
    ]
    st.html(style.figures(items))


def _signed(value: float) -> str:
    """A part with its sign; what float sums leave of nothing is 0."""
    shown = round(value, 6) + 0.0
    return f'<span class="{style.sign_class(shown)}">{number(shown, signed=True)}</span>'


def _waterfall(answer: PairAnswer, table: pd.DataFrame, top: int, pair: Pair) -> None:
    _bars(waterfall_bars(bars(table, top), title="The margin taken apart"), f"waterfall-{pair.pair_id}-{top}")
    st.caption(
        plain(
            f"{caption('waterfall', n_features=len(answer.features), n_pairs=1)} Each part is measured alone, with all else in "
            "place. What parts do only together is the interaction rest: it is assigned to none of them, and has "
            f"{percent(answer.interaction_share)} of the size of all parts."
        )
    )


def _bars(figure: go.Figure, key: str) -> None:
    st.plotly_chart(
        figure, key=key, on_select=lambda: _clicked_bar(key), selection_mode="points",
        config={"doubleClick": False, "doubleClickDelay": 1, "displayModeBar": False},
    )  # fmt: skip


def _clicked_bar(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    custom = points[0].get("customdata") if points else None
    if custom:
        feature = int(custom[0] if isinstance(custom, list | tuple) else custom["0"])
        st.session_state[_FEATURE] = feature if feature >= 0 else st.session_state.get(_FEATURE)


def _shapley(
    model: Artifact, sae: Artifact, pair: Pair, table: pd.DataFrame, top: int, num_permutations: int
) -> pd.DataFrame:
    """The same margin shared out without a rest; the table with the values beside the effects."""
    progress = st.progress(0.0, "Orders in which the parts enter are sampled")
    number_now = min(_FIRST, num_permutations)
    while True:  # in steps, so that progress is seen and others are served between them
        shares = live.shapley(model.id, sae.id, pair, top, number_now, "shapley")
        progress.progress(number_now / num_permutations, f"{number_now:,} of {num_permutations:,} permutations")
        if number_now == num_permutations:
            break
        number_now = min(2 * number_now, num_permutations)
    progress.empty()
    found = shapley_bars(shares, table)
    _bars(
        waterfall_bars(found, title="The margin shared out (Shapley)"),
        f"shapley-{pair.pair_id}-{top}-{num_permutations}",
    )
    st.caption(
        plain(
            "Each bar is a Shapley value: what the part adds to the margin on entering, over random orders of all parts, so "
            "that an interaction is shared by those in it. Base and values sum to the margin. Whiskers: 95 % intervals, "
            f"n = {shares.num_permutations:,} permutations, seed 0."
        )
    )
    own = found[(found["feature"] >= 0) | (found["part"] == ERROR)]
    names = np.where(own["feature"] >= 0, "feature " + own["feature"].astype(str), own["part"])
    values = pd.DataFrame({"part": names, "shapley": own["value"].tolist(), "shapley_error": own["error"].tolist()})
    return table.merge(values, on="part", how="left")


def shapley_bars(shares: ShapleyAnswer, table: pd.DataFrame) -> pd.DataFrame:
    """Base and Shapley values as the waterfall shows them."""
    words = dict(zip(table["feature"], table["fires_on"], strict=True))
    names = [f"{f} · {shortened(words.get(f, ''), 26)}" if words.get(f) else str(f) for f in shares.features]
    nothing = np.nan
    rows = [(BASE, -1, shares.empty, nothing, nothing, nothing)]
    players = [*names, OTHERS, ERROR]
    ids = [*shares.features, -1, -1]
    rows += list(zip(players, ids, shares.value, shares.error, shares.low, shares.high, strict=True))
    return pd.DataFrame(rows, columns=["part", "feature", "value", "error", "low", "high"])


def _table(pair: Pair, table: pd.DataFrame) -> None:
    ids = table["feature"].tolist()
    key = f"parts-{pair.pair_id}-{len(table)}-{'shapley' in table}"
    column = st.column_config
    shares = ["shapley", "shapley_error"] if "shapley" in table else []
    numbers = {
        "margin": column.NumberColumn("on margin", width=78, format="%+.3g", help="Chosen − rejected."),
        "chosen": column.NumberColumn("chosen", width=74, format="%+.3g", help=SIGN),
        "rejected": column.NumberColumn("rejected", width=74, format="%+.3g", help=SIGN),
        "shapley": column.NumberColumn("Shapley", width=74, format="%+.3g", help="Its share of the margin."),
        "shapley_error": column.NumberColumn("±", width=60, format="%.2g", help="Standard error."),
    }
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        height=min(30 * len(table) + 40, 460),
        row_height=30,
        lazy=False,
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, ids, st.session_state.get(_FEATURE))),
        column_order=["part", "fires_on", "margin", *shares, "chosen", "rejected"],
        column_config={
            "part": column.TextColumn("part", width=106),
            "fires_on": column.TextColumn("fires on", width=130),
            **numbers,
        },
    )
    st.caption(
        f"Margin, chosen and rejected sum to the margin and to the rewards. Click a row or a bar to see its feature. {SIGN}"
    )
    export.table_buttons(table, f"{pair.pair_id}-parts", "apart")


def _choose(feature: int | None) -> None:
    if feature is not None and feature >= 0:
        st.session_state[_FEATURE] = feature


def _chosen(features: Artifact | None, table: pd.DataFrame, words: dict[int, str]) -> None:
    """The feature that was clicked, and the way to its page."""
    feature = int(st.session_state.get(_FEATURE, -1))
    if feature < 0 or feature not in table["feature"].tolist():
        return
    row = record(table, table["feature"].tolist().index(feature))
    with st.container(border=True):
        st.html(
            f'<div class="rm"><b>Feature {feature}</b> <span class="muted">{escaped(words.get(feature, ""))}</span><br>'
            f"on the margin {_signed(float(row['margin']))} = chosen {_signed(float(row['chosen']))} − rejected "
            f"{_signed(float(row['rejected']))}</div>"
        )
        if features is not None:
            params = {"features": features.id, "feature": str(feature)}
            router.page_link("features", f"Open feature {feature}", params, ":material/leaderboard:")


def _texts(answer: PairAnswer, pair: Pair) -> None:
    """Both texts side by side, what differs marked."""
    st.html(f"<h4 style='margin:.4rem 0 0'>{escaped(pair.pair_id)}</h4>")
    links.playground(pair.prompt, pair.chosen, pair.rejected, answer.info.id)
    sides = (
        ("chosen", answer.chosen, pair.chosen, pair.rejected),
        ("rejected", answer.rejected, pair.rejected, pair.chosen),
    )
    for column, (name, side, own, other) in zip(st.columns(2), sides, strict=True):
        head = f'<b>{name}</b> <span class="muted num">reward {number(side.reward, signed=True)}</span>'
        column.html(f'<div class="rm">{head}</div>' + diff.text_box(pair.prompt, diff.marked_difference(own, other)))
