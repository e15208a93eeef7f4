"""Looking at jobs again and again: what all open pages see is read once for all of them."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import streamlit as st

from rmviz.errors import RmvizError
from rmviz.jobs.records import Job, list_jobs
from rmviz.store.workspace import Workspace
from rmviz.ui import frame

TICK, IDLE_TICK = 1.25, 6.0
"""Seconds between looks at the jobs: while any waits or runs, and while none does."""

_FRESH = 0.5
"""Seconds for which a look serves every session."""


def current_jobs(workspace: Workspace) -> list[Job]:
    """All jobs with their progress, at most half a second old; shared, so not to be changed."""
    return _jobs(workspace.root)


@st.cache_resource(ttl=_FRESH, max_entries=8, show_spinner=False)
def _jobs(root: Path) -> list[Job]:
    return list_jobs(Workspace(root), progress=True)


def current_job(workspace: Workspace, job: Job) -> Job:
    """A job as it is now; as it was, if its folder is gone."""
    return next((one for one in current_jobs(workspace) if one.key == job.key), job)


def forget() -> None:
    """Read the jobs anew at the next look: one was just launched or changed."""
    _jobs.clear()


def look_again() -> None:
    """Draw the page anew with what has just been changed."""
    forget()
    st.rerun()


def watched(function: Callable[[], None], every: float | None) -> None:
    """Run a part of the page now and again every few seconds by itself; its errors are told, as app.py tells them."""

    @wraps(function)
    def told() -> None:
        try:
            function()
        except RmvizError as error:
            frame.problem(error)

    st.fragment(told, run_every=every)()
