"""Features that two of the compared models share, and how their effects moved; those that only one has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.compare import effect_moves
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, compare_tables, export, pickers
from rmviz.ui.compare_tables import Compared
from rmviz.ui.words import counted, number, percent, plain

SHOWN = {"matched": "Matched", "shared": "Shared", "first": "Only first", "second": "Only second"}
MEANINGS = {
    "matched": "Each is the other's best match; those whose effect moved furthest come first.",
    "shared": "More alike than chance, but one of the two is still more like another feature: split, merged, or near.",
    "first": "No feature of the second SAE fires more like it than chance would have it; the strongest effects first.",
    "second": "No feature of the first SAE fires more like it than chance would have it; the strongest effects first.",
}


def features(compared: Compared, artifacts: Sequence[Artifact]) -> None:
    """The match of the two models' SAEs, if the job made one."""
    which, turned = _match(compared)
    if which is None:
        st.info(
            "The features of these two models were not matched. Name their effects when comparing; the first model's "
            "SAE is the one that the others are matched with.",
            icon=":material/lightbulb:",
        )
        st.code("rmviz compare MODEL-A,MODEL-B DATASET --effects EFFECTS-A,EFFECTS-B", language="bash", wrap_lines=True)
        return
    info = compared.info["matches"][which]
    table = (
        _turned(compare_tables.matched(compared.artifact, which))
        if turned
        else compare_tables.matched(compared.artifact, which)
    )
    ids = (info["second"], info["first"]) if turned else (info["first"], info["second"])
    words = [_words(artifacts, effects) for effects in ids]
    table = table.assign(words=_fires_on(table, words))
    _how(info)
    show = pickers.choice("Show", SHOWN, "show", "matched", label_visibility="collapsed")
    status = show if show in ("matched", "shared") else f"only {show}"
    found = table[table["status"] == status]
    by = found["moved" if status == show else f"effect_{show}"]
    shown = found.iloc[np.argsort(-by.abs().fillna(0).to_numpy(), kind="stable")].reset_index(drop=True)
    if shown.empty:
        st.info(f"No feature is {SHOWN[show].lower()}.", icon=":material/search_off:")
        return
    st.caption(MEANINGS[show])
    if show != "matched":
        _table(compared, shown, show)
        return
    left, right = st.columns([7, 5], gap="medium")
    with left:
        _table(compared, shown, show)
    with right:
        st.plotly_chart(effect_moves(shown, compared.first_name, compared.second_name), key=f"moves-{which}")
        source = compared.artifact.id
        st.caption(plain(caption("compare_effects", n_features=len(shown), seed=compared.seed, source=source)))


def _match(compared: Compared) -> tuple[int | None, bool]:
    """Which match is of the two models, and whether it was made the other way round."""
    effects = compared.info["effects"]
    ids = [compared.info["models"][model]["id"] for model in (compared.first, compared.second)]
    wanted = (effects.get(ids[0]), effects.get(ids[1]))
    for which, match in enumerate(compared.info["matches"]):
        if (match["first"], match["second"]) == wanted:
            return which, False
        if (match["second"], match["first"]) == wanted:
            return which, True
    return None, False


def _turned(table: pd.DataFrame) -> pd.DataFrame:
    """The match with its sides swapped."""
    other = {"first": "second", "second": "first"}
    names = {name: name.replace(side, other[side]) for name in map(str, table) for side in other if side in name}
    statuses = {"only first": "only second", "only second": "only first"}
    return table.rename(columns=names).assign(status=table["status"].replace(statuses), moved=-table["moved"])


def _how(info: dict[str, Any]) -> None:
    """In words, what the match rests on."""
    parts = [
        f"Features are matched by the correlation of their activations on {counted(int(info['num_units']), str(info['by']))} "
        f"of {counted(int(info['num_texts']), 'text')}; shuffled, 95 % of features reach no more than "
        f"{number(info['noise'])}."
    ]
    if info["no_cosine"]:
        parts.append(f"Directions are not compared: {info['no_cosine']}.")
    else:
        parts.append(
            "Cosine of decoders after the second model's residual stream was turned onto the first one's, which explains "
            f"{percent(info['frame_fit'])} of its variance."
        )
    st.caption(plain(" ".join(parts)))


def _words(artifacts: Sequence[Artifact], effects: str) -> dict[int, str]:
    ready = next((a for a in artifacts if a.kind == "features" and effects in a.parents), None)
    return cached.words_of_features(ready)


def _fires_on(table: pd.DataFrame, words: Sequence[dict[int, str]]) -> list[str]:
    pairs = zip(
        table["feature_first"].tolist(), table["feature_second"].tolist(), table["status"].tolist(), strict=True
    )
    return [
        words[1].get(second, "") if status == "only second" else words[0].get(first, "") or words[1].get(second, "")
        for first, second, status in pairs
    ]


def _table(compared: Compared, shown: pd.DataFrame, show: str) -> None:
    column = st.column_config
    effect = (
        "Mean effect on the reward in the first (1) or second (2) model, in standard deviations of the model's rewards."
    )
    sides, effects = ["feature_first", "feature_second"], ["effect_first", "effect_second"]
    order = (
        [*sides, "words", "moved", *effects, "correlation", "cosine"]
        if show in ("matched", "shared")
        else [f"feature_{show}", "words", f"effect_{show}", "correlation"]
    )
    if shown["cosine"].isna().all():
        order = [name for name in order if name != "cosine"]
    st.dataframe(
        shown,
        hide_index=True,
        key=f"matched-{show}",
        height=440,
        row_height=30,
        column_order=order,
        column_config={
            "feature_first": column.NumberColumn(
                "first", width=60, format="%d", help="Feature of the first model's SAE."
            ),
            "feature_second": column.NumberColumn("second", width=64, format="%d", help="Feature of the second's."),
            "words": column.TextColumn("fires on", width=150),
            "moved": column.NumberColumn(
                "moved", width=72, format="%+.3g", help="Effect in the second − in the first."
            ),
            "effect_first": column.NumberColumn("effect 1", width=76, format="%+.3g", help=effect),
            "effect_second": column.NumberColumn("effect 2", width=76, format="%+.3g", help=effect),
            "correlation": column.NumberColumn(
                "corr.", width=64, format="%.2f", help="Of activations; best of the other SAE."
            ),
            "cosine": column.NumberColumn(
                "cosine", width=68, format="%.2f", help="Of decoder directions in one frame."
            ),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{counted(len(shown), 'feature')}.", width="content")
        export.table_buttons(shown, f"{compared.artifact.name}-features-{show}", f"features-{show}")
