"""Pair: the margin of one preference pair taken apart into features, SAE error, base and interaction rest."""

import streamlit as st

from rmviz.ui import apart, apart_source, banner, empty, frame, pickers, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
saes = [artifact for artifact in artifacts if artifact.kind == "sae"]
models = [a for a in artifacts if a.kind == "reward_model" and pickers.descendants(saes, a.id, "sae")]

if not models:
    st.title("Pair")
    empty.nothing(workspace, "There is no reward model with an SAE yet.")
    st.stop()

title, left, right = st.columns([5, 4, 4], vertical_alignment="bottom")
with left:
    model = pickers.artifact_picker("Reward model", models, "model", help="Whose margin is taken apart.")
assert model is not None, "there is at least one"
with right:
    own = pickers.descendants(saes, model.id, "sae")
    sae = pickers.artifact_picker("SAE", own, "sae", help="Whose features are the parts; only SAEs of this model.")
assert sae is not None, "only models with an SAE are offered"
with title:
    frame.title("Pair", sae)
banner.report_banner(sae)
pair = apart_source.chosen_pair([artifact for artifact in artifacts if artifact.kind == "dataset"])
if pair is not None:
    features = next((a for a in artifacts if a.kind == "features" and sae.id in a.parents), None)
    apart.take_apart(model, sae, features, pair)
