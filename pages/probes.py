"""Probes: edits of texts that should not matter, what they cost, and which features carry that; one-token replies."""

import streamlit as st

from rmviz.ui import pickers, probes, router
from rmviz.ui.lineage import BY_WHAT

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
kept = [artifact for artifact in artifacts if artifact.kind == "probe" and artifact.metrics.get("what") not in BY_WHAT]

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Probes")
if not kept:
    probes.nothing(workspace, artifacts)
    st.stop()

with picker:
    probe = pickers.artifact_picker(
        "Probe", kept, "probe", help="Euphemism tests, spec checks, bias batteries, tokens."
    )
assert probe is not None, "there is at least one"
probes.browse(probe, artifacts)
