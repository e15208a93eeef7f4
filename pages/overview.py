"""Overview: what is in the workspace, how it came about, and what to do next."""

import streamlit as st

from rmviz.ui import empty, overview, router
from rmviz.ui.lineage import lineage_dot

router.guard()
workspace = router.workspace()
artifacts = workspace.list()

st.title("Overview")
st.caption("See what a reward model prizes and punishes: its features, ranked by what the reward loses without them.")
overview.read_only_mark(workspace)

steps = empty.next_steps(workspace) + empty.policy_steps(workspace)
if not artifacts:
    empty.nothing(workspace, "This workspace is empty. Two ways to start:")
    overview.jobs(workspace)
    st.stop()

overview.counts(artifacts)
if steps:
    with st.container(border=True):
        st.markdown("**What to do next**")
        empty.show_steps(steps)

overview.jobs(workspace)
overview.calibration(workspace)

st.subheader("How it came about")
st.graphviz_chart(lineage_dot(artifacts, dark=st.context.theme.type == "dark"), width="stretch")
st.caption("Each box is a result that never changes; arrows lead from what it was made of.")

overview.inventory(artifacts)
