"""Train: choose a kind of job, fill its form, see what it will need, launch it."""

import streamlit as st

from rmviz.ui import frame, job_drafts, job_launch, recipes, router
from rmviz.ui.forms import checked, config_form
from rmviz.ui.job_kinds import kind_picker
from rmviz.ui.words import plain

router.guard()
workspace = router.workspace()
job_drafts.take_link(workspace)
artifacts = workspace.list()

st.title("Train")
recipes.shelf(workspace, artifacts)


@frame.fragment
def body() -> None:
    """The form and what comes of it; they run again by themselves."""
    kind = kind_picker(artifacts)
    if said := job_drafts.said():
        st.error(plain(said[:1].upper() + said[1:]), icon=":material/error:")
    form, launch = st.columns([7, 5], gap="large")
    with form:
        above = st.container()
        values = config_form(kind, artifacts, job_drafts.draft_of(kind).values, job_drafts.form_key(kind))
        config, problem = checked(kind, values)
        with above:
            job_launch.starting_points(kind, config)
    with launch, st.container(border=True, key="rm-sticky-launch"):
        job_launch.launch_panel(workspace, kind, config, problem)


body()
