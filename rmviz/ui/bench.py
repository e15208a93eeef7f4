"""The features that fire on the Playground's texts: switch them off in the table, scale them with sliders."""

import zlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.backend.wire import AblateAnswer, FeaturesAnswer
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, drafts, export, live, pickers, readings, repair
from rmviz.ui.words import SIGN, counted, shortened

MAX_SLIDERS = 12
COLOURS = {"change": "Reward change", "feature": "One feature", "edit": "What the edit changes"}


def bench(
    model: Artifact,
    sae: Artifact,
    features: Artifact | None,
    draft: drafts.Draft,
    names: Sequence[str],
    answers: Sequence[FeaturesAnswer],
) -> None:
    """Rewards and texts at the left, the features at the right."""
    rows = active_features(names, answers, cached.words_of_features(features))
    scales = drafts.scales()
    edits = _edits(model, sae, draft, answers, scales)
    left, right = st.columns([10, 9], gap="medium")
    with left:
        readings.rewards(names, answers, edits)
        _tokens(names, answers, edits, rows)
        readings.curves(names, answers, edits)
    with right:
        _buttons(scales)
        _table(sae, draft, rows, scales)
        _sliders(scales, rows)
        repair.scales_button(sae, scales)
        shown, fire = len(rows), max(answer.num_rows for answer in answers)
        listed = f"the {shown:,} strongest are listed" if fire > shown else f"{counted(shown, 'feature')} fire"
        st.caption(
            f"Tick a row to switch the feature off. {listed[0].upper()}{listed[1:]}; "
            f"effects are exact, each for this text. {SIGN}"
        )
        export.table_buttons(rows, "playground-features", "playground")


def active_features(names: Sequence[str], answers: Sequence[FeaturesAnswer], words: dict[int, str]) -> pd.DataFrame:
    """One row per feature that fires in any of the texts, largest |effect| (of a pair: on the margin) first."""
    sides = ["effect"] if len(answers) == 1 else [f"effect {name[-1]}" for name in names]
    found: dict[int, dict[str, Any]] = {}
    for side, answer in zip(sides, answers, strict=True):
        for row in answer.rows:
            line = found.setdefault(
                row.feature,
                {"feature": row.feature, "top_tokens": words.get(row.feature, ""), **dict.fromkeys(sides, 0.0)},
            )
            line[side] = row.effect
            line["max_activation"] = max(line.get("max_activation", 0.0), row.max_activation or 0.0)
            line["tokens"] = line.get("tokens", 0) + len(row.positions)
    table = pd.DataFrame(list(found.values()), columns=["feature", "top_tokens", *sides, "max_activation", "tokens"])
    main = sides[0]
    if len(sides) == 2:
        main = "on margin"
        table.insert(2, main, table[sides[0]].astype(float) - table[sides[1]].astype(float))
    return table.sort_values(main, key=lambda column: -column.astype(float).abs(), kind="stable").reset_index(drop=True)


def _edits(
    model: Artifact, sae: Artifact, draft: drafts.Draft, answers: Sequence[FeaturesAnswer], scales: dict[int, float]
) -> list[AblateAnswer]:
    wanted = tuple(
        sorted((feature, scale) for feature, scale in scales.items() if scale != 1 and feature < answers[0].d_sae)
    )
    if not wanted:
        return []
    return [
        live.ablation(model.id, sae.id, prompt, reply, wanted, f"edit-{name}", with_prefixes=True)
        for name, prompt, reply in draft.texts
    ]


def _buttons(scales: dict[int, float]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Features on this text**")
        st.button(
            "Undo",
            icon=":material/undo:",
            type="tertiary",
            on_click=drafts.undo,
            disabled=not drafts.can_undo(),
            key="undo",
        )
        st.button(
            "All back on",
            icon=":material/restart_alt:",
            type="tertiary",
            on_click=drafts.set_scales,
            args=({},),
            disabled=not scales,
            key="all-on",
        )


def _table(sae: Artifact, draft: drafts.Draft, rows: pd.DataFrame, scales: dict[int, float]) -> None:
    stamp = zlib.crc32(repr((sae.id, draft, rows["feature"].tolist())).encode("utf-8", "replace"))
    key = f"active-{stamp}-{drafts.generation()}"  # positions mean other features on another text
    ticked = [index for index, feature in enumerate(rows["feature"]) if feature in scales]
    column = st.column_config
    effect = {
        name: column.NumberColumn(name, width=74, format="%+.3g", help=SIGN)
        for name in map(str, rows)
        if name.startswith(("effect", "on margin"))
    }
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=min(30 * len(rows) + 40, 400),
        row_height=30,
        lazy=False,
        selection_mode="multi-row",
        on_select=lambda: _ticked(key, rows),
        selection_default={"selection": {"rows": ticked, "columns": [], "cells": []}},
        column_config={
            "feature": column.NumberColumn("id", width=56, format="%d"),
            "top_tokens": column.TextColumn("fires on", width=150),
            **effect,
            "max_activation": column.NumberColumn("max act", width=66, format="%.3g"),
            "tokens": column.NumberColumn("tokens", width=58, format="%d", help="Tokens on which it fires here."),
        },
    )


def _ticked(key: str, rows: pd.DataFrame) -> None:
    """The ticks of the table become scales: a new tick switches off; features that do not fire here keep theirs."""
    features = rows["feature"].tolist()
    ticked = {features[index] for index in st.session_state[key]["selection"]["rows"] if index < len(features)}
    old = drafts.scales()
    kept = {feature: scale for feature, scale in old.items() if feature in ticked or feature not in set(features)}
    drafts.change_scales(kept | {feature: 0.0 for feature in features if feature in ticked and feature not in old})


def _sliders(scales: dict[int, float], rows: pd.DataFrame) -> None:
    words = dict(zip(rows["feature"].tolist(), rows["top_tokens"].tolist(), strict=True))
    for feature in list(scales)[:MAX_SLIDERS]:
        key = f"scale-{feature}-{drafts.generation()}"
        name = shortened(words[feature], 40) if feature in words else "does not fire here"
        left, right = st.columns([2, 3], vertical_alignment="center")
        left.html(
            f'<div class="rm"><b class="num">{feature}</b> <span class="muted">{readings.escaped(name)}</span></div>'
        )
        right.slider(
            f"Scale of feature {feature}",
            drafts.LOW,
            drafts.HIGH,
            value=scales[feature],
            step=drafts.STEP,
            key=key,
            format="×%.2f",
            label_visibility="collapsed",
            on_change=lambda feature=feature, key=key: _scaled(feature, key),
            help="0: off, 1: as it is.",
        )
    if len(scales) > MAX_SLIDERS:
        st.caption(f"{len(scales) - MAX_SLIDERS} more are switched off; sliders are shown for the first {MAX_SLIDERS}.")


def _scaled(feature: int, key: str) -> None:
    drafts.change_scales(drafts.scales() | {feature: float(st.session_state[key])})


def _tokens(
    names: Sequence[str], answers: Sequence[FeaturesAnswer], edits: Sequence[AblateAnswer], rows: pd.DataFrame
) -> None:
    shows = pickers.arrived("show")
    if shows is not None and shows.isascii() and shows.isdigit():
        st.session_state["pg-show"] = int(shows[:9])
        st.session_state[pickers.choice_key("colour")] = "feature"
        pickers.keep_in_url("show", shows)
    options = COLOURS if edits else {name: label for name, label in COLOURS.items() if name != "edit"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = pickers.choice("Colour tokens by", options, "colour", "change")
        feature = _feature_picker(rows) if colour == "feature" and len(rows) else None
    if feature is not None:
        readings.tokens_by_feature(names, answers, feature)
    elif colour == "edit" and edits:
        readings.tokens_by_edit(names, answers, edits)
    else:
        readings.tokens_by_change(names, answers)


def _feature_picker(rows: pd.DataFrame) -> int:
    features = [int(feature) for feature in rows["feature"]]
    words = dict(zip(features, rows["top_tokens"].tolist(), strict=True))
    if st.session_state.get("pg-show") not in features:
        st.session_state["pg-show"] = features[0]
    picked = st.selectbox(
        "Feature", features, key="pg-show", format_func=lambda f: f"{f} · {shortened(words.get(f, ''), 40)}"
    )
    pickers.keep_in_url("show", str(picked))
    return int(picked)
