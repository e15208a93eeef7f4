"""Jobs: what waits, runs and has ended; one job's progress, curves, log and results."""

import streamlit as st

from rmviz.ui import empty, jobs, router
from rmviz.ui.job_detail import job_detail

router.guard()
workspace = router.workspace()
jobs.look_after(workspace)

with st.container(horizontal=True, vertical_alignment="center", key="rm-title"):
    st.title("Jobs", width="content")
    jobs.settings_popover(workspace)
    router.page_link("train", "Launch a job", icon=":material/add:")

found, job = jobs.opened(workspace)
if not found:
    st.info("No job has been launched in this workspace yet.", icon=":material/lightbulb:")
    router.page_link("train", "Choose what to run on the Train page", icon=":material/arrow_forward:")
    st.write("Or from the terminal:")
    empty.show_steps(empty.next_steps(workspace))
    st.stop()

jobs.browse(workspace, found, job.key if job else None)
if job is not None:
    job_detail(workspace, job, found, workspace.list())
