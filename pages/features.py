"""Features: all features of one SAE, ranked by what the reward loses without them, and one feature's page."""

import streamlit as st

from rmviz.ui import atlas, banner, empty, frame, pickers, router
from rmviz.ui.lineage import KINDS
from rmviz.ui.words import plain

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
ready = [artifact for artifact in artifacts if artifact.kind == "features"]

if not ready:
    st.title("Features")
    empty.nothing(workspace, "No features have been prepared yet.")
    st.stop()

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with picker:
    features = pickers.artifact_picker("Features of", ready, "features", help="Which result to look at.")
assert features is not None, "there is at least one"
parents = {artifact.kind: artifact for artifact in artifacts if artifact.id in features.parents}
made_of = [
    f"{KINDS[kind]} {plain(parents[kind].name)}" for kind in ("reward_model", "sae", "effects") if kind in parents
]
with title:
    frame.title("Features", parents.get("sae"))
    st.caption(f"What the reward model prizes and punishes: {', '.join(made_of)}.")
banner.report_banner(parents.get("sae"))
atlas.browse(features)
