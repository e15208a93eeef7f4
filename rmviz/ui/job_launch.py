"""From a form's settings to a job in the queue: the command, the estimate, the file, and the launch."""

import json
import shlex
import time
from typing import Any

import streamlit as st

from rmviz.configs.command import command_line, config_file_name
from rmviz.configs.files import config_file
from rmviz.configs.presets import LABELS, PRESETS, preset_of
from rmviz.errors import RmvizError
from rmviz.jobs import estimate, queue
from rmviz.jobs.estimate import Estimate
from rmviz.jobs.progress import duration
from rmviz.jobs.records import Job
from rmviz.jobs.settings import RUNNERS, read_settings
from rmviz.plots.tokens import escaped
from rmviz.store.workspace import Workspace
from rmviz.ui import job_drafts as drafts
from rmviz.ui import jobs as listing
from rmviz.ui import router, style
from rmviz.ui.job_detail import NOTE
from rmviz.ui.job_watch import forget
from rmviz.ui.words import plain

_ESTIMATE, _LAUNCHED = "_job-estimate", "_job-launched"
_DOUBLE_CLICK = 5.0
"""Seconds in which a second launch of the same is the same launch."""


def starting_points(kind: str, config: Any) -> None:
    """Presets, and a config file, to fill the form with."""
    with st.container(horizontal=True, vertical_alignment="center", key="train-presets"):
        presets = PRESETS.get(kind, {})
        if presets:
            st.caption("Start from", width="content")
        now = preset_of(kind, config) if config is not None else ""
        for preset in presets:
            st.button(
                LABELS[preset],
                key=f"preset-{preset}",
                on_click=drafts.apply_preset,
                args=(kind, preset),
                type="primary" if preset == now else "secondary",
                help=plain(", ".join(f"{name} = {value}" for name, value in presets[preset].items())),
            )
        st.button("Defaults", key="preset-defaults", on_click=drafts.reset, args=(kind,))
        with st.popover("Load from a file", icon=":material/upload_file:"):
            key = f"load-{kind}-{drafts.draft_of(kind).generation}"
            st.file_uploader(
                "A config saved here, or any `config.json` of a job",
                type="json",
                key=key,
                on_change=_loaded,
                args=(key,),
            )


def _loaded(key: str) -> None:
    file = st.session_state.get(key)
    if file is not None:
        drafts.load(file.getvalue())


def launch_panel(workspace: Workspace, kind: str, config: Any, problem: str) -> None:
    """What will run, what it needs, and the button that launches it.

    Args:
        workspace: Whose queue.
        kind: The job kind.
        config: What the form's values make; None where they do not fit.
        problem: Why they do not fit.
    """
    if config is None:
        st.warning(plain(problem), icon=":material/rule:")
        return
    runner, again = _where(workspace)
    st.caption("The command that does the same")
    words = command_line(kind, config, workspace.root, queue=True, runner=runner, again=again)
    st.code(shlex.join(words), language="bash", wrap_lines=True)
    _estimate(workspace, kind, config)
    reason = listing.why_no_changes()
    with st.container(horizontal=True, vertical_alignment="center"):
        wanted = st.button(
            "Launch", type="primary", icon=":material/rocket_launch:", key="launch", disabled=bool(reason)
        )
        st.download_button(
            "Save the config",
            json.dumps(config_file(kind, config), indent=1, ensure_ascii=False),
            config_file_name(kind),
            "application/json",
            key="train-save",
            icon=":material/download:",
            on_click="ignore",
            type="tertiary",
        )
    if reason:
        st.caption(reason)
    elif wanted:
        launch(workspace, kind, config, runner, again)


def _where(workspace: Workspace) -> tuple[str, bool]:
    """The runner, empty for the workspace's own, and whether to run it once more."""
    kept = read_settings(workspace.root).runner
    left, right = st.columns(2, vertical_alignment="bottom")
    names = ["", *RUNNERS]
    picked = left.selectbox(
        "Runner",
        names,
        key="train-runner",
        format_func=lambda name: name or f"the queue's ({kept})",
        help="local: this machine. ray: the cluster of the queue's settings. slurm: this cluster's queue.",
        persist_state="session",
    )
    again = right.toggle(
        "Run it once more",
        key="train-again",
        help="The same settings lead to the same job: one that waits, runs or is done is shown, not made again. "
        "This makes another run of it.",
    )
    return picked or "", again


def _estimate(workspace: Workspace, kind: str, config: Any) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        quick = st.button(
            "Estimate", icon=":material/timer:", key="estimate", help="From files' sizes and earlier jobs."
        )
        probe = st.button(
            "Measure with a probe",
            icon=":material/speed:",
            key="probe",
            help="Does the job's first seconds of work in a process of its own, at most 25 s; nothing is kept.",
        )
    if quick:
        st.session_state[_ESTIMATE] = (kind, config, estimate.estimated(kind, config, workspace))
    if probe and listing.may_change_jobs():
        with st.spinner("Measuring on the job's first seconds"):
            st.session_state[_ESTIMATE] = (kind, config, _probed(kind, config, workspace))
    known = st.session_state.get(_ESTIMATE)
    if known and known[:2] == (kind, config) and known[2] is not None:
        show_estimate(known[2])


def _probed(kind: str, config: Any, workspace: Workspace) -> Estimate | None:
    try:
        return estimate.probe(kind, config, workspace)
    except RmvizError as error:
        st.error(plain(f"The probe could not begin: {error}"), icon=":material/error:")
        return None


def show_estimate(found: Estimate) -> None:
    """Time, memory and disk, what that rests on, and why it cannot fit."""
    figures = [
        ("Time", duration(found.seconds) if found.seconds is not None else "not known", ""),
        ("Memory", listing.size(found.memory) if found.memory is not None else "not known", "at the peak"),
        ("Disk", listing.size(found.disk) if found.disk is not None else "not known", ""),
    ]
    st.html(style.figures([(name, escaped(value), under) for name, value, under in figures]))
    if found.basis:
        st.caption(f"{plain(found.basis[:1].upper() + found.basis[1:])}{'' if found.basis.endswith('.') else '.'}")
    _refused(found)


def _refused(found: Estimate) -> None:
    for reason in found.refusals:
        st.error(plain(f"This cannot run here: {reason}."), icon=":material/block:")


def launch(workspace: Workspace, kind: str, config: Any, runner: str = "", again: bool = False) -> None:
    """Queue the job and open it, unless it clearly cannot fit."""
    found = estimate.estimated(kind, config, workspace)
    if found.refusals:
        st.session_state[_ESTIMATE] = (kind, config, found)
        _refused(found)
        return
    wanted, now = (kind, config, runner, again), time.time()
    before = st.session_state.get(_LAUNCHED)
    if before and before[0] == wanted and now - before[1] < _DOUBLE_CLICK:
        key = before[2]
    else:
        job = queue.launch(kind, config, workspace, runner=runner, again=again)
        key = job.key
        forget()
        st.session_state[_LAUNCHED] = (wanted, now, key)
        if job.submitted < now - 1:
            st.session_state[NOTE] = known_words(job)
    router.go("jobs", {"job": key})


def known_words(job: Job) -> str:
    """What to say of a job that was there before it was launched."""
    verb = {"queued": "waits already", "running": "runs already", "succeeded": "was run before"}.get(
        job.state, "is known"
    )
    return f"A job with these settings {verb}; this is it. “Run it once more” on the Train page makes another."
