"""Compare: two or many reward models, or the steps of one training, on the same pairs."""

import streamlit as st

from rmviz.ui import compare, pickers, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
comparisons = compare.of_models(artifacts)

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Compare")
if not comparisons:
    compare.nothing(workspace, artifacts)
    st.stop()

with picker:
    comparison = pickers.artifact_picker(
        "Comparison", comparisons, "comparison", help="Pairs scored by several models."
    )
assert comparison is not None, "there is at least one"
compare.browse(comparison, artifacts)
