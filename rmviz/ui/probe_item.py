"""One item of a probe: its gap, what features carry of it, the features, and the texts in both wordings."""

import zlib
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.configs.probes import GIVEN
from rmviz.plots.tokens import escaped
from rmviz.ui import diff, export, links, pickers, probe_tables, router, style
from rmviz.ui.probe_tables import Probed
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import SIGN, counted, interval, number, percent, plain, q_value, shortened

ORDERS = {"size": "Largest gap", "up": "Most raised", "down": "Most lowered", "alike": "Least alike"}
CASE, FEATURE = "_probe-case", "_probe-feature"
"""Session keys: the case and the feature that are open."""

MAX_ROWS = 5000
_EXCERPT = 160
_ALL_Q = "Over all features that fire in these texts."
_BATTERY_Q = (
    "Of the features chosen; carried, interval and q come from the half of the replies that had no say in the choice."
)
_LEFT_OUT = {
    "num_unchanged": "the edit changes nothing",
    "num_empty": "the language model says nothing",
    "num_refusal": "it refuses",
    "num_too_long": "it, or the reply, is too long",
    "num_word_kept": "it keeps a word",
    "num_too_different": "it changes too much",
    "num_cut_away": "the model reads the same tokens",
    "num_without_reward": "a reward is no number",
}


def item(probe: Probed, name: str) -> None:
    """All about one item."""
    st.html(style.figures(_figures(probe, name)))
    st.caption(_meaning(probe, name))
    left, right = st.columns([9, 10], gap="medium")
    with left:
        features(probe, name)
    with right:
        case = cases(probe, name)
    if case:
        _case(probe, case)


def _figures(probe: Probed, name: str) -> list[tuple[str, str, str]]:
    """The key figures: name, value, what stands under it."""
    own, std = probe_tables.own_line(probe, name), probe.std
    counts = f"n = {counted(int(own['num_texts']), 'text')}, {counted(int(own['num_units']), 'pair')}"
    gap = f'<span class="{style.sign_class(own["gap"])}">{number(own["gap"], signed=True)}</span>'
    items = [("mean gap, reward units", gap, interval(own["gap_low"], own["gap_high"]))]
    if std:
        ends = interval(own["gap_low"] / std, own["gap_high"] / std)
        items.append(("in sd of the rewards", number(own["gap"] / std, signed=True), ends))
    verdict = _verdict(probe, name)
    if "d_z" in verdict:
        under = f"mean / sd of the gaps, {interval(verdict['d_z_low'], verdict['d_z_high'])}"
        items.append(("Cohen’s d_z", number(verdict["d_z"], signed=True), under))
    if (count := len(probe_tables.carriers(probe, name))) and own.get("features"):
        ends = interval(own["remaining_low"], own["remaining_high"])
        items.append(("gap without its features", number(own["remaining"], signed=True), f"{ends}, {count} off"))
        share = f"[{percent(own['share_low'])}, {percent(own['share_high'])}]" if own["share"] == own["share"] else ""
        items.append(("share they carry", percent(own["share"]), share or "the gap may be 0"))
    if probe.what == "euphemism":
        control = str(probe.info.get("control") or "")
        told = f"features of {escaped(shortened(control, 24))}" if control else "no control had texts"
        items.append(("share a control carries", percent(probe.info["control_share"]), told))
        alike = number(probe.info["similarity_mean"])
        items.append(("alike, mean", alike, f"at least {number(probe.info['similarity_min'])}"))
    items.append(("q of the gap", q_value(own["q"]), counts))
    return items


def _verdict(probe: Probed, name: str) -> dict[str, Any]:
    if probe.what not in ("spec", "bias"):
        return {}
    table = probe_tables.table(probe.artifact, "verdicts")
    return {str(key): value for key, value in table[table["item"] == name].iloc[0].to_dict().items()}


def _meaning(probe: Probed, name: str) -> str:
    says = _verdict(probe, name).get("says")
    with_it = f"with the edit ({says})" if says else "with the words"
    counts = probe.info["counts"][name]
    left = [f"{counts[key]:,} {why}" for key, why in _LEFT_OUT.items() if counts.get(key)]
    chosen = (
        "named by the user"
        if GIVEN in probe.info["sets"]
        else "chosen on one half of the pairs and measured on the other"
    )
    chosen += "; only such as pull its way, so the share can pass 100 %" if probe.what == "bias" else ""
    held = "replies looked at" if probe.what == "bias" else "replies hold the words"
    return plain(
        f"Gap = reward {with_it} − reward without; intervals are 95 % bootstrap intervals over pairs. Share = what is gone of the "
        f"gap when the features are switched off at once in both texts; they were {chosen}. {counts['num_holding']:,} {held}; left "
        f"out: {', '.join(left) or 'none'}. Alike = {alike_help(probe)}."
    )


def features(probe: Probed, name: str) -> None:
    """The features that carry the gap, each one click away from its page."""
    table = probe_tables.table(probe.artifact, "features")
    table = table[table["item"] == name].reset_index(drop=True)
    st.markdown("**Features that carry it**")
    if table.empty:
        st.caption("No feature fires on either text, or none was measured.")
        return
    off = set(probe_tables.carriers(probe, name))
    words = probe.words
    shown = table.assign(
        off=["off" if feature in off else "" for feature in table["feature"]],
        fires=[words.get(int(f)) or token for f, token in zip(table["feature"], table["token"], strict=True)],
    )
    key = f"probe-features-{probe.artifact.id}-{zlib.crc32(name.encode())}"
    ids = table["feature"].tolist()
    column = st.column_config
    st.dataframe(
        shown, key=key, hide_index=True, lazy=False, height=min(35 * len(shown) + 38, 380), selection_mode=ROW_CLICK,
        on_select=lambda: _open(FEATURE, clicked(key, ids, st.session_state.get(FEATURE))),
        column_order=["feature", "fires", "carried", "carried_low", "carried_high", "q", "num_texts", "off"],
        column_config={
            "feature": column.NumberColumn("id", width=56, format="%d"),
            "fires": column.TextColumn("fires on", width=130),
            "carried": column.NumberColumn(
                "carried", width=78, format="%+.3g",
                help=f"Mean effect in the text with − effect in the text without, one feature off at a time. {SIGN}",
            ),
            "carried_low": column.NumberColumn("low", width=74, format="%+.3g"),
            "carried_high": column.NumberColumn("high", width=74, format="%+.3g"),
            "q": column.NumberColumn("q", width=56, format="%.3f", help=_BATTERY_Q if probe.what == "bias" else _ALL_Q),
            "num_texts": column.NumberColumn("texts", width=52, format="%d", help="Cases in which it fires."),
            "off": column.TextColumn("set", width=44, help="off: among those switched off together for the share."),
        },
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        feature = st.session_state.get(FEATURE)
        feature_link(probe, int(feature) if feature is not None and feature in ids else int(ids[0]))
        st.caption("Click a row to choose another.", width="content")
    export.table_buttons(shown, f"{probe.artifact.name}-{name}-features", f"{key}-export")


def feature_link(probe: Probed, feature: int) -> None:
    """A link to a feature's page; what makes that page where there is none."""
    if probe.features is None:
        st.caption("Its page is made by `rmviz effects` and `rmviz features`.", width="content")
        return
    params = {"features": probe.features.id, "feature": str(feature)}
    router.page_link("features", f"Open feature {feature}", params, ":material/leaderboard:")


def _open(key: str, value: Any) -> None:
    st.session_state[key] = value


def cases(probe: Probed, name: str) -> dict[str, Any]:
    """The list of texts; the one that is open, nothing where there is none."""
    table = probe_tables.table(probe.artifact, "cases")
    own = table[(table["item"] == name) & table["gap"].notna()]
    st.markdown("**Texts**")
    if own.empty:
        st.caption("No text could be compared.")
        return {}
    order = pickers.choice("Order", ORDERS, "order", "size", label_visibility="collapsed")
    shown = ordered(own, order)
    listed = shown.head(MAX_ROWS)
    ids = [int(case) for case in listed.index]
    wanted = pickers.arrived("case")
    if wanted is not None and wanted.isdecimal() and int(wanted[:9]) in own.index:
        st.session_state[CASE] = int(wanted[:9])
    key = f"probe-cases-{probe.artifact.id}-{zlib.crc32(repr((name, order)).encode())}"
    column = st.column_config
    st.dataframe(
        listed.assign(without_words=[shortened(text, _EXCERPT) for text in listed["without_words"]]),
        key=key, hide_index=True, lazy=False, height=min(35 * len(listed) + 38, 330), selection_mode=ROW_CLICK,
        on_select=lambda: _open(CASE, clicked(key, ids, st.session_state.get(CASE))),
        column_order=["gap", "reward_with", "reward_without", "similarity", "without_words", "text_id"],
        column_config={
            "gap": column.NumberColumn("gap", width=76, format="%+.3g", help="Reward with − reward without."),
            "reward_with": column.NumberColumn("with", width=70, format="%+.3g"),
            "reward_without": column.NumberColumn("without", width=70, format="%+.3g"),
            "similarity": column.NumberColumn("alike", width=60, format="%.2f", help=alike_help(probe)),
            "without_words": column.TextColumn("reply without", width=240),
            "text_id": column.TextColumn("text", width=120),
        },
    )  # fmt: skip
    rest = f"; the first {MAX_ROWS:,} are listed" if len(shown) > MAX_ROWS else ""
    st.caption(f"{counted(len(shown), 'text')}{rest}. Click a row to read both wordings.")
    export.table_buttons(shown, f"{probe.artifact.name}-{name}-cases", f"{key}-export")
    chosen = st.session_state.get(CASE)
    chosen = chosen if chosen in own.index else ids[0]
    pickers.keep_in_url("case", None if chosen == ids[0] else str(chosen))
    return {str(key): value for key, value in own.loc[chosen].to_dict().items()}


def alike_help(probe: Probed) -> str:
    """What the similarity of two wordings is."""
    return str(probe.info.get("similarity") or "the share of the words that stays")


def ordered(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Cases in one of `ORDERS`."""
    by = {"size": -table["gap"].abs(), "up": -table["gap"], "down": table["gap"], "alike": table["similarity"]}[order]
    return table.iloc[np.argsort(by.to_numpy(float), kind="stable")]


def _case(probe: Probed, case: dict[str, Any]) -> None:
    """Both wordings side by side, with what differs marked."""
    texts = [str(case[name]) for name in ("with_words", "without_words")]
    for box, title, own, other, reward in zip(
        st.columns(2), ("with", "without"), texts, texts[::-1], (case["reward_with"], case["reward_without"]),
        strict=True,
    ):  # fmt: skip
        head = (
            f'<div class="rm"><b>{title}</b> <span class="muted num">reward {number(reward, signed=True)}</span></div>'
        )
        box.html(head + diff.text_box(str(case["prompt"]), diff.marked_difference(own, other)))
    links.playground(
        str(case["prompt"]), texts[0], texts[1], str(probe.info["model"]), "Open both in the Playground",
        sae=str(probe.info["sae"]),
    )  # fmt: skip
