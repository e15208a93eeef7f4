"""A reward model's figures: accuracy on held-out pairs beside its baselines, and in each part of them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.compare import accuracy_dots
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import empty, export, frame, pickers, router, style
from rmviz.ui.words import counted, number, percent, plain, shortened

_SLICES = "slices.json"


@frame.fragment
def browse(model: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Key figures, what it was made from and is part of, then accuracy by slice."""
    _headline(model)
    links(model, artifacts)
    if _SLICES in model.files:
        _slices(model)
    elif model.config.get("dataset"):
        st.info("This model was trained before accuracy was kept by slice; train it again, or compare it.")
        own = next((a.id for a in artifacts if a.kind == "dataset" and a.id in model.parents), "DATASET")
        words = ("compare", model.id, own)
        st.code(empty.command(router.workspace(), *words), language="bash")
    else:
        st.info("This model was brought in, so rmviz has not measured it on held-out pairs; a comparison does.")


def links(model: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Where to go from here: the playground, the data, the ensembles that it is part of, its training's settings."""
    with st.container(horizontal=True, gap="medium"):
        router.page_link("playground", "Try it in the Playground", {"model": model.id}, ":material/arrow_forward:")
        for parent in (a for a in artifacts if a.id in model.parents):
            if parent.kind == "dataset":
                router.page_link("data", f"Data: {_name(parent)}", {"dataset": parent.id}, ":material/table_rows:")
            elif parent.kind == "reward_model":
                router.page_link("models", f"From: {_name(parent)}", {"model": parent.id}, ":material/arrow_back:")
        for one in (a for a in artifacts if a.kind == "ensemble" and model.id in a.parents):
            router.page_link("models", f"Part of: {_name(one)}", {"model": one.id}, ":material/groups:")


def _name(artifact: Artifact) -> str:
    return plain(shortened(artifact.name, 50))


def _headline(model: Artifact) -> None:
    metrics: dict[str, Any] = model.metrics
    items = []
    if metrics.get("accuracy") is not None:
        under = f"n = {counted(int(metrics['num_heldout']), 'pair')}"
        if metrics.get("accuracy_low") is not None:
            under = f"{percent(metrics['accuracy_low'])} to {percent(metrics['accuracy_high'])}, {under}"
        items.append(("held-out accuracy", percent(metrics["accuracy"]), under))
        items.append(("untrained", percent(metrics.get("accuracy_before")), "the same model before"))
        items.append(("prefer the longer", percent(metrics.get("length_baseline")), "chance is 50 %"))
        middle, spread = metrics.get("reward_mean"), metrics.get("reward_std")
        items.append(("reward", number(middle, signed=True), f"standard deviation {number(spread)}"))
    if metrics.get("num_pairs"):
        left_out = [
            f"{metrics[name]:,} {words}"
            for name, words in (("num_same", "alike, left out"), ("num_cut", "cut to fit"))
            if metrics.get(name)
        ]
        items.append(("trained on", f"{metrics['num_pairs']:,}", escaped("; ".join(left_out) or "pairs")))
    items.append(("size", f"{metrics.get('num_parameters', 0):,}", escaped(str(metrics.get("family", "")))))
    if "seed" in metrics:
        items.append(("seed", f"{metrics['seed']}", f"{metrics.get('steps', 0):,} steps"))
    st.html(style.figures(items))


def _slices(model: Artifact) -> None:
    found = model.read_json(_SLICES)
    table = pd.DataFrame(found["slices"])
    if table.empty:
        st.info("There are no held-out pairs to cut into slices; add the data with heldout above 0.")
        return
    columns = {str(name): plain(str(name)) for name in table["column"].unique()}
    left, right = st.columns([5, 4], gap="medium")
    with left:
        column = pickers.named("Cut the held-out pairs by", columns, "by")
        shown = table[table["column"] == column].rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
        st.plotly_chart(accuracy_dots(shown.assign(name=shown["value"])), key=f"slices-{model.id}")
        st.caption(plain(caption("model_slices", n_pairs=int(found["n"]), source=model.id)))
    with right:
        own = table[table["column"] == column].drop(columns="column")
        height = min(35 * len(own) + 38, 420)
        st.dataframe(own, hide_index=True, key="model-slices", height=height, column_config=NUMBERS)
        export.table_buttons(table, f"{model.name}-slices", "model-slices-out")


NUMBERS = {
    name: st.column_config.NumberColumn(title, format=form, width=72)
    for name, title, form in (
        ("accuracy", "accuracy", "%.3f"), ("low", "low", "%.3f"), ("high", "high", "%.3f"), ("n", "pairs", "%d"),
    )
}  # fmt: skip
"""How tables of shares of pairs show their columns."""
