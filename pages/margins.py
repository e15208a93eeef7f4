"""Margins: how much of a dataset's margins a few features explain, and which features make the wrong pairs wrong."""

import streamlit as st

from rmviz.ui import margins, pickers, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
probes = margins.of_margins(artifacts)

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Margins")
if not probes:
    margins.nothing(workspace)
    st.stop()

with picker:
    probe = pickers.artifact_picker(
        "Margins of", probes, "probe", help="A probe of margins: a model, an SAE, a dataset."
    )
assert probe is not None, "there is at least one"
by_kind = {artifact.kind: artifact for artifact in artifacts if artifact.id in probe.parents}
features = next(
    (a for a in artifacts if a.kind == "features" and "sae" in by_kind and by_kind["sae"].id in a.parents), None
)
margins.browse(probe, by_kind, features)
