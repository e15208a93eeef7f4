"""Playground: type a text or a pair, see its reward and what fires, switch features off and see the reward move."""

import streamlit as st

from rmviz.ui import banner, empty, frame, pickers, playground, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
models = [artifact for artifact in artifacts if artifact.kind == "reward_model"]

if not models:
    st.title("Playground")
    empty.nothing(workspace, "There is no reward model yet.")
    st.stop()

title, left, right = st.columns([5, 4, 4], vertical_alignment="bottom")
with left:
    model = pickers.artifact_picker("Reward model", models, "model", help="The reward model that reads the texts.")
assert model is not None, "there is at least one"
saes = pickers.descendants(artifacts, model.id, "sae")
with right:
    sae = pickers.artifact_picker("SAE", saes, "sae", help="Whose features are shown; only SAEs of this model.")
    if sae is None:
        st.caption("No SAE was trained on this model.")
with title:
    frame.title("Playground", sae)
if sae is not None:
    banner.report_banner(sae)

playground.play(model, sae, artifacts)
