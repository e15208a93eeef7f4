"""Experiments: what recipes and iterated loops have found."""

import streamlit as st

from rmviz.ui import experiments, pickers, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
kept = [artifact for artifact in artifacts if artifact.kind == "experiment"]

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Experiments")
if not kept:
    experiments.nothing(workspace)
    st.stop()

with picker:
    experiment = pickers.artifact_picker("Experiment", kept, "experiment", help="Newest first.")
assert experiment is not None, "there is at least one"
experiments.show(experiment, artifacts)
