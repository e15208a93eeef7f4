"""Trees: how a policy's replies were searched, and which pairs came of it."""

import streamlit as st

from rmviz.ui import pickers, router, trees

router.guard()
workspace = router.workspace()
searched = trees.with_trees(workspace.list())

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Trees")
if not searched:
    trees.nothing(workspace)
    st.stop()

with picker:
    dataset = pickers.artifact_picker("Dataset", searched, "dataset", help="Pairs that a tree search has made.")
assert dataset is not None, "there is at least one"
trees.browse(dataset)
