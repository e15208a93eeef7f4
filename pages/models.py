"""Models: a reward model's accuracy on held-out pairs and their slices; an ensemble's members, disagreement and errors."""

import streamlit as st

from rmviz.ui import empty, ensembles, models, pickers, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
found = [artifact for artifact in artifacts if artifact.kind in ("ensemble", "reward_model")]

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Models")
if not found:
    empty.nothing(workspace, "There is no reward model yet.")
    st.stop()

with picker:
    model = pickers.artifact_picker("Reward model or ensemble", found, "model")
assert model is not None, "there is at least one"
if model.kind == "ensemble":
    ensembles.browse(model, artifacts)
else:
    models.browse(model, artifacts)
