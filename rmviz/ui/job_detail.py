"""One job: how far it is, what can be done about it, its curves, log, settings, and what it was made from and made."""

import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence

import streamlit as st

from rmviz.configs.base import parent_lists, parents
from rmviz.configs.command import command_line, config_file_name
from rmviz.configs.compare import names_of
from rmviz.configs.files import config_file, config_of
from rmviz.configs.kinds import KINDS
from rmviz.errors import RmvizError
from rmviz.jobs import queue
from rmviz.jobs.progress import duration
from rmviz.jobs.records import LOG, Job, last_words, read_job, tail
from rmviz.jobs.settings import read_settings
from rmviz.jobs.vitals import read_vitals
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import jobs as listing
from rmviz.ui import router, style
from rmviz.ui.job_curves import job_curves
from rmviz.ui.job_watch import TICK, current_job, current_jobs, look_again, watched
from rmviz.ui.lineage import BY_WHAT
from rmviz.ui.words import moment, number, percent, plain, shortened

PAGES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "dataset": ("data", "dataset", {}),
    "reward_model": ("models", "model", {}),
    "ensemble": ("models", "model", {}),
    "sae": ("playground", "sae", {"reward_model": "model"}),
    "effects": ("data", "scan", {"dataset": "dataset"}),
    "features": ("features", "features", {}),
    "labels": ("features", "labels", {}),
    "map": ("maps", "map", {}),
    "comparison": ("maps", "comparison", {"map": "map"}),
    "probe": ("probes", "probe", {}),
}
"""The page that shows an artifact of a kind, its parameter there, and the parameters of parents that go with it."""

NOTE = "_job-note"
"""Session key of a sentence that the Train page leaves for the job that it opens."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def job_detail(workspace: Workspace, job: Job, jobs: Sequence[Job], artifacts: Sequence[Artifact]) -> None:
    """Draw one job; its state, curves and log follow it while it waits or runs."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(plain(shortened(job.name or job.kind, 80)), width="content", anchor=False)
        st.caption(f"{plain(job.kind)} · {plain(job.key)}", width="content")
    if note := st.session_state.pop(NOTE, ""):
        st.info(plain(note), icon=":material/replay:")
    others = [other for other in jobs if other.kind == job.kind and other.key != job.key]

    def live() -> None:  # one fragment: the looks of several get in each other's way
        now = current_job(workspace, job)
        _head(workspace, now)
        _problem(now)
        _made(now, artifacts)
        st.markdown("**Curves**")
        job_curves(now, others)
        st.markdown("**Log**")
        _log(now)

    watched(live, TICK if job.active else None)
    _settings(workspace, job)


def _head(workspace: Workspace, job: Job) -> None:
    """State, progress and resources, and the buttons that fit the state."""
    words = listing.state_words(job)
    if job.state == "queued":
        waits = listing.waiting_words(current_jobs(workspace), read_settings(workspace.root).num_slots)
        words = f"{words}: {waits.get(job.key, '')}"
    if job.state == "running":
        st.progress(job.share, text=plain(progress_words(job)))
    st.html(style.figures([("State", f"{listing.MARKS[job.state]} {escaped(words)}", _state_since(job)), *facts(job)]))
    _buttons(workspace, job)


def progress_words(job: Job) -> str:
    """`120 of 200 steps · 60 % · 4.1 steps/s · 20 s left`."""
    if not job.total:
        return "started; nothing reported yet"
    parts = [f"{job.step:,} of {job.total:,}", percent(round(job.share, 3))]
    parts += [f"{number(job.rate)} steps/s"] if job.rate else []
    parts += [f"{duration(job.seconds_left)} left"] if job.seconds_left is not None else []
    return " · ".join(parts)


def facts(job: Job) -> list[tuple[str, str, str]]:
    """Numbers about a job for `style.figures`: progress, latest metrics, what its process uses."""
    found = []
    if job.total:
        found.append(("Progress", percent(round(job.share, 3)), f"{job.step:,} of {job.total:,}"))
    if job.state == "running" and job.rate:
        found.append(("Rate", f"{number(job.rate)}/s", f"reported {listing.since(job.reported)}"))
    if job.seconds_left is not None:
        done = time.strftime("%H:%M", time.localtime(time.time() + job.seconds_left))
        found.append(("Time left", duration(job.seconds_left), f"until about {done}"))
    found += [
        (escaped(shortened(name, 24)), number(float(value)), "latest") for name, value in list(job.metrics.items())[:4]
    ]
    vitals = read_vitals(job.folder)
    if vitals:
        last, now = vitals[-1], job.state == "running"
        peak = {name: max(float(line.get(name, 0)) for line in vitals) for name in ("cpu", "rss", "gpu")}
        found.append(("Cores used", number(float(last.get("cpu", 0))) if now else "–", f"peak {number(peak['cpu'])}"))
        found.append(
            ("Memory", listing.size(float(last.get("rss", 0))) if now else "–", f"peak {listing.size(peak['rss'])}")
        )
        if peak["gpu"]:
            found.append(
                (
                    "GPU memory",
                    listing.size(float(last.get("gpu", 0))) if now else "–",
                    f"peak {listing.size(peak['gpu'])}",
                )
            )
    place = f"process {job.pid} on {job.host}" if job.state == "running" and job.pid else ""
    found.append(("Runner", escaped(job.runner), escaped(place)))
    return found


def _state_since(job: Job) -> str:
    return f"since {moment(job.changed)}" if job.changed else ""


def _buttons(workspace: Workspace, job: Job) -> None:
    locked = not listing.may_change_jobs()
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.active and st.button("Cancel", icon=":material/stop_circle:", key="job-cancel", disabled=locked or job.cancelling,
                                    help="It saves a checkpoint and ends; Resume goes on from there."):  # fmt: skip
            queue.cancel(job, workspace)
            look_again()
        if job.state == "queued" and not job.handle:
            for label, icon, places in (("Earlier", "arrow_upward", -1), ("Later", "arrow_downward", 1)):
                if st.button(label, icon=f":material/{icon}:", key=f"job-{label}", disabled=locked):
                    queue.move(job, workspace, places)
                    look_again()
        if job.state in ("failed", "cancelled"):
            if st.button("Resume", icon=":material/play_arrow:", key="job-resume", type="primary", disabled=locked,
                         help="Goes on from its last checkpoint."):  # fmt: skip
                queue.resume(job, workspace)
                look_again()
            _retry(workspace, job, locked)
        router.page_link("train", "Launch a copy", {"copy": job.key, "kind": job.kind}, ":material/content_copy:")
        if reason := listing.why_no_changes():
            st.caption(reason)


def _retry(workspace: Workspace, job: Job, locked: bool) -> None:
    with st.popover("Start over", icon=":material/restart_alt:", disabled=locked, key="job-retry-ask"):
        st.write("Starting over drops this job's checkpoints, curves and log; it begins at step 0.")
        if st.button("Drop them and start over", key="job-retry", type="primary", disabled=locked):
            if not read_job(job.folder, progress=False).active:  # a second click finds it queued
                queue.retry(job, workspace)
            look_again()


def _problem(job: Job) -> None:
    """Why a job failed, with the last lines it said."""
    if job.state != "failed":
        return
    st.error(plain(shortened(job.error or "It failed without a word.", 2000)), icon=":material/error:")
    if words := clean_log(last_words(job)):
        st.caption("The last lines of its log")
        st.code(words, language=None, wrap_lines=True)


def _made(job: Job, artifacts: Sequence[Artifact]) -> None:
    """Links to what it was made from, and to what it made."""
    by_ref = {ref: artifact for artifact in reversed(artifacts) for ref in (artifact.name, artifact.id)}
    used = _used(job)
    results = [a for a in artifacts if a.key == job.key or a.id == job.artifact]
    if not used and not results:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        if used:
            st.caption("Made from", width="content")
        for name, ref in used:
            artifact_link(by_ref.get(ref), ref, name, by_ref)
        if results:
            st.caption("Made", width="content")
        for artifact in results:
            artifact_link(artifact, artifact.id, artifact.kind.replace("_", " "), by_ref)


def _used(job: Job) -> list[tuple[str, str]]:
    """What its settings name: the setting and the id (or name) of each artifact; a list gives as many."""
    if job.kind not in KINDS:
        return []
    one = [(name, str(job.config[name])) for name in parents(KINDS[job.kind]) if job.config.get(name)]
    many = [
        (name.removesuffix("s"), ref)
        for name in parent_lists(KINDS[job.kind])
        for ref in names_of(str(job.config.get(name, "")))
    ]
    return one + many


def artifact_link(artifact: Artifact | None, ref: str, role: str, by_id: Mapping[str, Artifact]) -> None:
    """A link to the page that shows an artifact; words where there is no page, or where it is gone."""
    if artifact is None:
        gone = "" if "/" in ref else ", which is not in the workspace (any more)"
        st.markdown(f"{plain(role)}: {plain(shortened(ref, 80))}{gone}", width="content")
        return
    words = f"{plain(role)}: {plain(shortened(artifact.name, 60))}"
    if artifact.metrics.get("what") in BY_WHAT:
        page, param = BY_WHAT[artifact.metrics["what"]]
        router.page_link(page, words, {param: artifact.id}, ":material/arrow_forward:")
    elif artifact.kind in PAGES:
        page, param, others = PAGES[artifact.kind]
        params = {param: artifact.id}
        for parent in (by_id[ref] for ref in artifact.parents if ref in by_id):
            params |= {others[parent.kind]: parent.id} if parent.kind in others else {}
        router.page_link(page, words, params, ":material/arrow_forward:")
    else:
        st.markdown(words, width="content")


def _log(job: Job) -> None:
    text = clean_log(tail(job.folder / LOG))
    if not text:
        st.caption("It has said nothing yet." if job.active else "It said nothing.")
        return
    with st.container(height=300, border=True, autoscroll=True, key="job-log"):
        st.html(f'<pre class="rm-log">{escaped_lines(text)}</pre>')


def escaped_lines(text: str) -> str:
    """HTML of a log, line by line."""
    return "\n".join(escaped(line) for line in text.split("\n"))


def clean_log(text: str) -> str:
    """A log as it looks in a terminal: no colour codes, and of a line that was drawn again and again its last state."""
    lines = _ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).strip("\n")


def _settings(workspace: Workspace, job: Job) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Settings**")
        rows = [
            f"<tr><td>{escaped(str(n))}</td><td>{escaped(shortened(str(v), 200))}</td></tr>"
            for n, v in job.config.items()
        ]
        st.html(f'<div class="rm"><table class="rm-table">{"".join(rows)}</table></div>')
    with right:
        st.markdown("**The command that does the same**")
        try:
            config = config_of(job.kind, dict(job.config))
        except RmvizError as error:
            st.caption(f"This rmviz cannot run these settings: {plain(str(error))}")
            return
        st.code(shlex.join(command_line(job.kind, config, workspace.root)), language="bash", wrap_lines=True)
        st.download_button(
            "Save the config",
            json.dumps(config_file(job.kind, config), indent=1, ensure_ascii=False),
            config_file_name(job.kind),
            "application/json",
            key="job-config",
            icon=":material/download:",
            on_click="ignore",
            type="tertiary",
        )
