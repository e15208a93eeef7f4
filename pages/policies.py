"""Policies: what a language model became while it was trained for a reward."""

import streamlit as st

from rmviz.training.looks import is_watched
from rmviz.ui import pickers, policies, router

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
kept = sorted((one for one in artifacts if one.kind == "policy"), key=lambda one: not is_watched(one))

title, picker = st.columns([5, 3], vertical_alignment="bottom")
with title:
    st.title("Policies")
if not kept:
    policies.nothing(workspace)
    st.stop()

with picker:
    policy = pickers.artifact_picker("Policy", kept, "policy", help="Runs that were watched come first.")
assert policy is not None, "there is at least one"
policies.browse(policy, artifacts)
