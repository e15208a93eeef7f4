"""What the compared models' SAEs keep of their accuracy, and what single features do to it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.ablation.rows import row_files
from rmviz.compare.ablated import accuracy_effects, clean_accuracy, splice_change
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui import cached, empty, export, router
from rmviz.ui.compare_tables import Compared
from rmviz.ui.words import counted, percent, plain

MOST_FEATURES = 200
"""Features listed of each model."""


def splice(compared: Compared, artifacts: Sequence[Artifact]) -> None:
    """A line per SAE of any compared model; below it the features of the two chosen models that move accuracy."""
    rows = [
        (str(model["id"]), name, sae)
        for model, name in zip(compared.info["models"], compared.names, strict=True)
        for sae in artifacts
        if sae.kind == "sae" and model["id"] in sae.parents
    ]
    if not rows:
        st.info("None of these models has an SAE. Train one, then measure its effects:", icon=":material/lightbulb:")
        model, data = str(compared.info["models"][compared.second]["id"]), str(compared.info["dataset"])
        lines = [("sae", "train", model, data), ("effects", "SAE", data)]
        words = "\n".join(empty.command(router.workspace(), *line) for line in lines)
        st.code(words, language="bash", wrap_lines=True)
        return
    _splices(compared, rows)
    chosen = dict.fromkeys([compared.first, compared.second])
    for column, place in zip(st.columns(2, gap="medium"), chosen, strict=False):
        with column:
            _features(compared, place, artifacts)


def _splices(compared: Compared, rows: Sequence[tuple[str, str, Artifact]]) -> None:
    lines = []
    for _, name, sae in rows:
        card = _card(sae, sae.id)
        change = splice_change(card, compared.seed)
        lines.append(
            {"model": name, "SAE": sae.name, "clean": card.get("clean_pair_accuracy"), "spliced": card.get("splice_pair_accuracy"),
             "change": change.value, "low": change.low, "high": change.high, "pairs": change.n}
        )  # fmt: skip
    table = pd.DataFrame(lines)
    number = st.column_config.NumberColumn
    st.markdown("**Accuracy with the SAE's reconstruction in place of the residual**")
    st.dataframe(
        table,
        hide_index=True,
        key="splices",
        height=min(35 * len(table) + 38, 320),
        column_config={
            "clean": number("clean", format="percent", width=80),
            "spliced": number("spliced", format="percent", width=80),
            "change": number("change", format="%+.3f", width=80, help="Spliced − clean, on the same pairs."),
            "low": number("low", format="%+.3f", width=72),
            "high": number("high", format="%+.3f", width=72),
            "pairs": number("pairs", format="%d", width=64),
        },
    )
    st.caption(
        "Share of held-out pairs ranked as people did, from each SAE's report card; change = spliced − clean with a paired 95 % "
        "bootstrap interval (SAEs of an earlier rmviz have none)."
    )
    export.table_buttons(table, f"{compared.artifact.name}-splice", "splice")


def _features(compared: Compared, place: int, artifacts: Sequence[Artifact]) -> None:
    """The features of a model that move its accuracy most."""
    model, name = str(compared.info["models"][place]["id"]), compared.names[place]
    st.markdown(f"**{plain(name)}: features and accuracy**")
    effects = next((one for one in artifacts if one.kind == "effects" and model in one.parents), None)
    if effects is None:
        st.caption("The effects of its features have not been measured (`rmviz effects SAE DATASET`).")
        return
    table = _effects(effects, effects.id, compared.seed)
    if table.empty:
        st.caption("The effects of this model were measured on texts without pairs.")
        return
    ready = next((one for one in artifacts if one.kind == "features" and effects.id in one.parents), None)
    words = cached.words_of_features(ready)
    table = table.assign(words=[words.get(feature, "") for feature in table["feature"]])
    moving = table[(table["num_righted"] + table["num_wronged"] + table["num_ties"]) > 0]
    number = st.column_config.NumberColumn
    st.dataframe(
        moving.head(MOST_FEATURES),
        hide_index=True,
        key=f"accuracy-effects-{place}",
        height=min(30 * min(len(moving), MOST_FEATURES) + 42, 380),
        row_height=30,
        column_order=["feature", "words", "effect", "low", "high", "q", "num_righted", "num_wronged", "num_firing"],
        column_config={
            "feature": number("id", format="%d", width=52),
            "words": st.column_config.TextColumn("fires on", width=108),
            "effect": number(
                "effect", format="%+.4f", width=76, help="Accuracy with the feature − accuracy without it."
            ),
            "low": number("low", format="%+.4f", width=72, help="95 % bootstrap interval over pairs."),
            "high": number("high", format="%+.4f", width=72),
            "q": number(
                "q",
                format="%.3f",
                width=58,
                help=f"Exact McNemar test of rights against wrongs, Benjamini–Hochberg over all {len(table):,} features that fire.",
            ),
            "num_righted": number("rights", format="%d", width=56, help="Pairs that are wrong without it."),
            "num_wronged": number("wrongs", format="%d", width=58, help="Pairs that are right without it."),
            "num_firing": number("fires in", format="%d", width=62, help="Pairs in which it fires on either side."),
        },
    )
    clean = _clean(effects, effects.id)
    st.caption(
        f"Effect = accuracy with the feature − accuracy without it, each feature switched off alone, exactly; clean accuracy "
        f"{percent(clean.value)}, n = {counted(clean.n, 'pair')} of {plain(effects.name)}. "
        f"{counted(len(moving), 'feature')} of {len(table):,} move any pair to the other side."
    )
    export.table_buttons(table, f"{effects.name}-accuracy", f"accuracy-effects-{place}")


@st.cache_data(max_entries=32, show_spinner=False)
def _card(_sae: Artifact, artifact_id: str) -> dict[str, Any]:
    return _sae.read_json("report_card.json") if "report_card.json" in _sae.files else {}


@st.cache_data(max_entries=8, show_spinner="Switching features off")
def _effects(_effects: Artifact, artifact_id: str, seed: int) -> pd.DataFrame:
    columns = ["text_id", "feature", "effect"]
    parts = (load_table(file, columns=columns) for file in row_files(_effects))
    return accuracy_effects(cached.rewards(_effects), parts, seed)


@st.cache_data(max_entries=8, show_spinner=False)
def _clean(_effects: Artifact, artifact_id: str) -> Any:
    return clean_accuracy(cached.rewards(_effects))
