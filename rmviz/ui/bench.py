"""The features that fire on the Playground's texts: switch them off in the table, change them one by one or by group."""

import zlib
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from rmviz.backend.wire import AblateAnswer, FeaturesAnswer
from rmviz.features.sets import HIGH, LOW, MOST_VALUE, OFF, Edit, Edits, scales_of, values_of
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import active, cached, drafts, export, live, pickers, set_shelf
from rmviz.ui.edited import Edited
from rmviz.ui.words import SIGN, counted, shortened

PAGE_ROWS = 100
MAX_KNOBS = 8
"""Features that get a slider or a number; the others are reached through the table and the groups."""

STEP = 0.25
KINDS = {"scale": "×", "value": "="}


def edits_of(
    model: Artifact, sae: Artifact, draft: drafts.Draft, answers: Sequence[FeaturesAnswer], edits: Edits
) -> list[AblateAnswer]:
    """Each text's reward under the edits; nothing where they change nothing."""
    known = {feature: edit for feature, edit in edits.items() if feature < answers[0].d_sae}
    scales, values = (tuple(sorted(part.items())) for part in (scales_of(known), values_of(known)))
    if not scales and not values:
        return []
    return [
        live.ablation(model.id, sae.id, prompt, reply, scales, values, f"edit-{name}", with_prefixes=True)
        for name, prompt, reply in draft.texts
    ]


def bench(
    sae: Artifact, features: Artifact | None, draft: drafts.Draft, answers: Sequence[FeaturesAnswer], edited: Edited
) -> None:
    """The table of the features, what it can be narrowed to, and what is done to them."""
    _buttons(edited)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        query = st.text_input(
            "Search", key="q", bind="query-params", live=True, placeholder="words or ids", width=170,
            icon=":material/search:",
        )  # fmt: skip
        rank = pickers.choice("Rank by", active.RANKS, "rank", "effect")
    words = cached.words_of_features(features)
    rows = active.active_features(answers, words, draft.comparison, rank)
    if draft.comparison and draft.changed:
        rows = active.moved_only(rows, draft.comparison)
    found = active.searched(rows, query or "")
    with st.container(horizontal=True, vertical_alignment="center"):
        set_shelf.groups(sae, draft, answers, rows, found if query else None, edited)
        set_shelf.shelf(sae, edited)
    if rows.empty:
        st.info("No feature moved." if draft.changed else "No feature fires on this text.")
    elif found.empty:
        st.info("No feature that fires here matches. Take a shorter search.", icon=":material/search_off:")
    else:
        _table(sae, draft, found, edited)
    _knobs(edited, rows)
    _caption(draft, rows, found, answers)
    export.table_buttons(rows, "playground-features", "playground")


def _buttons(edited: Edited) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Features on this text**", width="content")
        for label, icon, key, act, can in (
            ("Undo", "undo", "undo", edited.undo, edited.can_undo),
            ("Redo", "redo", "redo", edited.redo, edited.can_redo),
            ("All back on", "restart_alt", "all-on", lambda: edited.put({}), bool(edited.now)),
        ):
            st.button(label, icon=f":material/{icon}:", type="tertiary", on_click=act, disabled=not can, key=key)


def _table(sae: Artifact, draft: drafts.Draft, found: pd.DataFrame, edited: Edited) -> None:
    num_pages = -(-len(found) // PAGE_ROWS)
    stamp = zlib.crc32(repr((sae.id, draft, found["feature"].tolist())).encode("utf-8", "replace"))
    page = 1
    if num_pages > 1:
        page = st.session_state.get(f"active-page-{stamp}", 1)
    rows = found.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    features = [int(feature) for feature in rows["feature"]]
    key = f"active-{stamp}-{page}-{edited.generation}"  # positions mean other features on another page or text
    ticked = [index for index, feature in enumerate(features) if feature in edited.now]
    column = st.column_config
    signed = {
        name: column.NumberColumn(name, width=68, format="%+.3g", help=SIGN)
        for name in map(str, rows)
        if name not in ("feature", "top_tokens", "tokens") and "act" not in name
    }
    acts = {
        name: column.NumberColumn(name.replace("max_activation", "max act"), width=66, format="%.3g")
        for name in map(str, rows)
        if "act" in name
    }
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=min(30 * len(rows) + 40, 400),
        row_height=30,
        lazy=False,
        selection_mode="multi-row",
        on_select=lambda: _ticked(key, features, edited),
        selection_default={"selection": {"rows": ticked, "columns": [], "cells": []}},
        column_config={
            "feature": column.NumberColumn("id", width=56, format="%d"),
            "top_tokens": column.TextColumn("fires on", width=130),
            **signed,
            **acts,
            "tokens": column.NumberColumn("tokens", width=58, format="%d", help="Tokens on which it fires here."),
        },
    )
    if num_pages > 1:
        st.pagination(num_pages, key=f"active-page-{stamp}")


def _ticked(key: str, features: Sequence[int], edited: Edited) -> None:
    """The ticks of the table become edits: a new tick switches off; features of other pages keep theirs."""
    ticked = {features[index] for index in st.session_state[key]["selection"]["rows"] if index < len(features)}
    old = edited.now
    kept = {feature: edit for feature, edit in old.items() if feature in ticked or feature not in set(features)}
    edited.change(kept | {feature: OFF for feature in features if feature in ticked and feature not in old})


def _knobs(edited: Edited, rows: pd.DataFrame) -> None:
    edits = edited.now
    words = dict(zip(rows["feature"].tolist(), rows["top_tokens"].tolist(), strict=True))
    acts = rows[[name for name in map(str, rows) if "act" in name]].astype(float).max(axis=1)
    strongest = dict(zip(rows["feature"].tolist(), acts.tolist(), strict=True))
    for feature in list(edits)[:MAX_KNOBS]:
        name = shortened(words[feature], 40) if feature in words else "does not fire here"
        _knob(edited, feature, edits[feature], name, strongest.get(feature, 1.0))
    if edits:
        more = len(edits) - MAX_KNOBS
        rest = f" {counted(more, 'more feature')} changed, without a slider here." if more > 0 else ""
        st.caption(
            f"× multiplies the activation where the feature fires (0: off, 1: as it is); = sets it at every token.{rest}"
        )


def _knob(edited: Edited, feature: int, edit: Edit, name: str, strongest: float) -> None:
    stamp = f"{edited.sae}-{feature}-{edited.generation}"
    text, kind, number, away = st.columns([7, 6, 9, 2], vertical_alignment="center")
    text.html(f'<div class="rm"><b class="num">{feature}</b> <span class="muted">{escaped(name)}</span></div>')
    kind.segmented_control(
        f"What is done to feature {feature}", list(KINDS), format_func=lambda k: KINDS[k], default=edit.kind,
        key=f"kind-{stamp}", label_visibility="collapsed", required=True,
        on_change=lambda: _kind_chosen(edited, feature, f"kind-{stamp}", strongest),
    )  # fmt: skip
    key = f"{edit.kind}-{stamp}"
    if edit.kind == "scale":
        number.slider(
            f"Scale of feature {feature}", LOW, HIGH, value=min(max(edit.number, LOW), HIGH), step=STEP, key=key, format="×%.2f",
            label_visibility="collapsed", help="0: off, 1: as it is.",
            on_change=lambda: _turned(edited, feature, "scale", key),
        )  # fmt: skip
    else:
        number.number_input(
            f"Value of feature {feature}", -MOST_VALUE, MOST_VALUE, min(max(edit.number, -MOST_VALUE), MOST_VALUE),
            step=max(round(strongest / 4, 2), 0.01), key=key, label_visibility="collapsed",
            on_change=lambda: _turned(edited, feature, "value", key),
        )  # fmt: skip
    away.button(
        "", icon=":material/close:", type="tertiary", key=f"away-{stamp}", help=f"Feature {feature} back as it is.",
        on_click=lambda: edited.put({f: e for f, e in edited.now.items() if f != feature}),
    )  # fmt: skip


def _turned(edited: Edited, feature: int, kind: str, key: str) -> None:
    number = float(st.session_state[key])
    if feature in edited.now:
        edited.change(edited.now | {feature: Edit("scale" if kind == "scale" else "value", number)})


def _kind_chosen(edited: Edited, feature: int, key: str, strongest: float) -> None:
    """A feature that is set begins at its strongest activation here; one that is scaled begins as it is."""
    new = Edit("value", round(strongest, 3)) if st.session_state[key] == "value" else Edit("scale", 1.0)
    edited.change(edited.now | {feature: new})


def _caption(draft: drafts.Draft, rows: pd.DataFrame, found: pd.DataFrame, answers: Sequence[FeaturesAnswer]) -> None:
    fire = max(answer.num_rows for answer in answers)
    listed = f"All {counted(len(rows), 'feature')} that fire are listed."
    if draft.changed:
        listed = f"{counted(len(rows), 'feature')} moved, by effect or activation; effects before and after are exact."
    elif any(answer.num_rows > len(answer.rows) for answer in answers):
        listed = f"The strongest of {fire:,} features are listed."
    if len(found) < len(rows):
        listed += f" {len(found):,} match the search."
    st.caption(f"Tick a row to switch the feature off. {listed} Each effect is exact, on this text. {SIGN}")
