"""Maps: what the best poem of every tone and genre is worth to a reward model, and which poems these are."""

import streamlit as st

from rmviz.ui import map_link, maps, pickers, router
from rmviz.ui.lineage import KINDS
from rmviz.ui.words import plain

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
found = [artifact for artifact in artifacts if artifact.kind == "map"]

if not found:
    maps.nothing(workspace)
    st.stop()

map_link.follow(artifacts)
title, picker = st.columns([5, 3], vertical_alignment="bottom")
with picker:
    chosen = pickers.artifact_picker("Map", found, "map", help="Which search to look at.")
assert chosen is not None, "there is at least one"
parents = [artifact for artifact in artifacts if artifact.id in chosen.parents]
with title:
    maps.heading(chosen)
    made_of = [f"{KINDS[parent.kind]} {plain(parent.name)}" for parent in parents]
    st.caption(
        f"What the best poem of every cell is worth to the reward model: {', '.join(made_of) or 'parents gone'}."
    )
maps.browse(chosen, artifacts)
