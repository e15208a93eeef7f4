"""Repair: a patched model with some features off or scaled, or the data without the pairs that they decide."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.configs.command import command_line
from rmviz.configs.data import RepairConfig
from rmviz.configs.models import PatchConfig
from rmviz.errors import ConfigError
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import cached, job_launch, names, pickers, router
from rmviz.ui import jobs as listing
from rmviz.ui.words import counted, plain, shortened

_SET = "_repair-set"
"""Session key: the features that are to be undone."""

_SHOWN = 5
"""Results listed of each kind."""


def toggle() -> bool:
    """Whether the section is open; it stands in the URL."""
    return st.toggle(
        "Repair", key="repair", bind="query-params",
        help="Switch features off or scale them in a model of its own, or undo the pairs that they decide in the data.",
    )  # fmt: skip


def panel(features: Artifact, table: pd.DataFrame, feature: int) -> None:
    """Choose features, see the exact command, launch it, and find what came of it."""
    workspace, sae = router.workspace(), names.sae_of(features)
    artifacts = workspace.list()
    with st.container(border=True, key="rm-repair"):
        chosen = _chosen(features, table, feature)
        left, right = st.columns(2, gap="medium")
        with left:
            st.markdown("**Patch the model**")
            _patch(workspace, artifacts, sae, chosen)
        with right:
            st.markdown("**Repair the data**")
            _data(workspace, artifacts, sae, chosen)
        if reason := listing.why_no_changes():
            st.caption(reason)
        _results(artifacts, sae)


def _chosen(features: Artifact, table: pd.DataFrame, feature: int) -> list[int]:
    """The set of features; it stays while one looks at others."""
    known, called = table["feature"].tolist(), cached.words_of_features(features)
    key = f"{_SET}-{features.id}"
    st.session_state[key] = [one for one in st.session_state.get(key, [feature]) if one in set(known)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.multiselect(
            "Features to undo", known, key=key, persist_state="session",
            format_func=lambda one: shortened(names.feature_name(int(one), called), 40),
        )  # fmt: skip
        if feature not in st.session_state[key]:
            st.button(f"Add {feature}", key=f"repair-add-{feature}", on_click=_add, args=(key, feature))
    return [int(one) for one in st.session_state[key]]


def _add(key: str, feature: int) -> None:
    st.session_state[key] = [*st.session_state.get(key, []), feature]


def _patch(workspace: Workspace, artifacts: Sequence[Artifact], sae: str, chosen: list[int]) -> None:
    scale = st.number_input(
        "Scale",
        value=0.0,
        step=0.25,
        format="%g",
        key="repair-scale",
        help="0 switches a feature off, 1 leaves it as it is.",
    )
    compare = _dataset("Then compare with the original on", artifacts, "repair-compare", none="nothing")
    _launcher(
        workspace, "model.patch", bool(chosen),
        lambda: PatchConfig(sae=sae, features=_written(chosen), scale=float(scale), compare=compare),
    )  # fmt: skip
    st.caption(
        "The features are scaled in every text that the model reads, by a hook that rmviz applies wherever it loads the "
        "model: an activation passes a threshold, so no change of weights does the same."
    )


def _data(workspace: Workspace, artifacts: Sequence[Artifact], sae: str, chosen: list[int]) -> None:
    dataset = _dataset("Dataset", artifacts, "repair-dataset")
    left, right = st.columns(2)
    flip = left.selectbox("What becomes of the pairs", ("drop", "flip"), key="repair-how") == "flip"
    share = right.number_input(
        "Share of the margin", min_value=0.01, value=1.0, step=0.1, key="repair-share",
        help="That the features must carry, all of them off at once: 1 takes the pairs that the model ranks as they are "
        "labelled only through them.",
    )  # fmt: skip
    retrain = st.toggle("Then train a reward model on the result", key="repair-retrain")
    _launcher(
        workspace, "data.repair", bool(chosen and dataset),
        lambda: RepairConfig(
            sae=sae, dataset=dataset, features=_written(chosen), how="flip" if flip else "drop",
            min_share=float(share), retrain=bool(retrain),
        ),
    )  # fmt: skip


def _launcher(workspace: Workspace, kind: str, ready: bool, make: Callable[[], Any]) -> None:
    """The command of a job and the button that launches it."""
    if not ready:
        st.caption("Choose features first." if kind == "model.patch" else "Choose features and a dataset first.")
        return
    try:
        config = make()
    except ConfigError as error:
        st.warning(plain(str(error)), icon=":material/rule:")
        return
    words = command_line(kind, config, workspace.root, queue=True)
    st.code(shlex.join(words), language="bash", wrap_lines=True)
    if st.button(
        "Launch", key=f"repair-{kind}", icon=":material/rocket_launch:", disabled=bool(listing.why_no_changes())
    ):
        job_launch.launch(workspace, kind, config)


def _dataset(label: str, artifacts: Sequence[Artifact], key: str, none: str = "") -> str:
    """Id of a dataset of pairs; empty for none."""
    found = [one for one in artifacts if one.kind == "dataset" and one.metrics.get("kind") != "texts"]
    found.sort(key=lambda one: "num_looked_at" in one.metrics)  # what was repaired here comes last
    called = {"": none} | pickers.labels(found) if none else pickers.labels(found)
    picked = st.selectbox(label, list(called), key=key, format_func=lambda one: called.get(str(one), ""))
    return str(picked or "")


def _written(chosen: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(chosen)))


def _results(artifacts: Sequence[Artifact], sae: str) -> None:
    """Patched models and repaired datasets of this SAE, each with what was made from it."""
    patched = [one for one in artifacts if one.kind == "reward_model" and sae in one.parents]
    repaired = [one for one in artifacts if one.kind == "dataset" and sae in one.parents]
    if patched or repaired:
        st.markdown("**Made so far**")
    for model in patched[:_SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center"):
            _told(model, f"features {model.config.get('features')}, scale {model.config.get('scale'):g}")
            _compared(artifacts, model.parents[0], model)
    for data in repaired[:_SHOWN]:
        what = "dropped" if "num_dropped" in data.metrics else "flipped"
        number = int(data.metrics.get(f"num_{what}", 0))
        trained = [one for one in artifacts if one.kind == "reward_model" and data.id in one.parents]
        with st.container(horizontal=True, vertical_alignment="center"):
            _told(data, f"{counted(number, 'pair')} of {int(data.metrics['num_looked_at']):,} {what}")
            if trained:
                original = next((ref for ref in data.parents if ref.startswith("reward-model")), "")
                _compared(artifacts, original, trained[0])
            else:
                link = {"kind": "train.reward", "dataset": data.id}
                router.page_link("train", "Train a reward model on it", link, ":material/model_training:")


def _compared(artifacts: Sequence[Artifact], original: str, model: Artifact) -> None:
    """The comparison of a model with the original, or the form that makes it."""
    found = [one for one in artifacts if one.kind == "comparison" and {original, model.id} <= set(one.parents)]
    if found:
        router.page_link(
            "compare", "Compared with the original", {"comparison": found[0].id}, ":material/compare_arrows:"
        )
    else:
        link = {"kind": "compare", "models": f"{original}, {model.id}"}
        router.page_link("train", "Compare with the original", link, ":material/compare_arrows:")


def _told(artifact: Artifact, words: str) -> None:
    st.caption(plain(f"{artifact.name}: {words}"), help=plain(artifact.id), width="content")
