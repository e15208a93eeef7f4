"""Choosing what kind of job to launch, and what its form still waits for."""

import inspect
from collections.abc import Sequence
from dataclasses import fields

import streamlit as st

from rmviz.configs.base import parents, required
from rmviz.configs.kinds import KINDS
from rmviz.store.artifact import Artifact
from rmviz.ui import job_drafts, pickers
from rmviz.ui.words import listed, plain

MAKERS = {
    "dataset": "data.add",
    "policy": "world.policy",
    "reward_model": "model.add",
    "sae": "sae.train",
    "effects": "effects",
    "map": "map",
}
"""The kind of job that most often makes an artifact of a kind: where to go when there is none."""


def kind_picker(artifacts: Sequence[Artifact]) -> str:
    """One of all job kinds; below it, what must be made before this kind can run."""
    kind = st.selectbox(
        "What to run", list(KINDS), key=job_drafts.KIND, format_func=kind_words, persist_state="session",
    )  # fmt: skip
    pickers.keep_in_url("kind", kind)
    present = {artifact.kind for artifact in artifacts}
    free = {f.name for f in fields(KINDS[kind]) if f.metadata.get("external") or not required(f)}
    for name, kinds in parents(KINDS[kind]).items():
        if name in free or present & set(kinds):
            continue
        what = listed([one.replace("_", " ") for one in kinds])
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(
                plain(f"There is no {what} in this workspace yet, and this job needs one."), icon=":material/lightbulb:"
            )
            if (maker := MAKERS.get(kinds[0])) in KINDS:
                st.button(f"Go to {maker}", key=f"make-{name}", on_click=job_drafts.show, args=(maker,))
    return kind


def kind_words(kind: str) -> str:
    """A kind and what it does, from its config's docstring."""
    first = (inspect.getdoc(KINDS[kind]) or "").split("\n")[0]
    return f"{kind} · {first.rstrip('.')}"
