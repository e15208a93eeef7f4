"""The list of all jobs, the queue's settings, and whether this app may change either."""

import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.jobs.progress import duration
from rmviz.jobs.records import Job, in_places, queue_of
from rmviz.jobs.settings import RUNNERS, QueueSettings, gpu_names, read_settings, write_settings
from rmviz.jobs.supervisor import wake
from rmviz.store.workspace import Workspace
from rmviz.ui import pickers, router
from rmviz.ui.job_watch import IDLE_TICK, TICK, current_jobs, forget, watched
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import counted, number, plain, shortened

ALLOW = "RMVIZ_ALLOW_REMOTE_JOBS"
MARKS = {"running": "▶", "queued": "◷", "succeeded": "✓", "failed": "✗", "cancelled": "◼"}
"""A sign before each state, so that a column of them can be read at a glance."""

SHOWS = {
    "all": "All",
    "active": "Waiting and running",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
ANY_KIND = "every kind"
CHOSEN = "_job"
_ROW, _MARGIN = 32, 37


def may_change_jobs() -> bool:
    """Whether jobs may be launched, cancelled and moved from this app."""
    return not why_no_changes()


def why_no_changes() -> str:
    """Why jobs may only be looked at here, as a sentence; empty where they may be changed."""
    if router.is_read_only():
        return "The workspace is read-only, so jobs can be looked at but neither launched nor changed."
    if not is_loopback(str(st.get_option("server.address") or "")) and os.environ.get(ALLOW) != "1":
        return (
            "Other machines can reach this app, so jobs can be looked at but neither launched nor changed from it. "
            f"Open it with `rmviz app` on 127.0.0.1, or start it with --allow-remote-jobs ({ALLOW}=1)."
        )
    return ""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address; an empty one means every network that there is."""
    return address in ("localhost", "::1", "[::1]") or address.startswith("127.")


def look_after(workspace: Workspace) -> None:
    """See that queued jobs get started, after a reboot too."""
    if not router.is_read_only():
        wake(workspace.root)


def opened(workspace: Workspace) -> tuple[list[Job], Job | None]:
    """All jobs, and the one that is open: what a link brings, else what was last clicked."""
    wanted = pickers.arrived("job")
    if wanted is not None:
        st.session_state[CHOSEN] = wanted
    key, jobs = st.session_state.get(CHOSEN), current_jobs(workspace)
    if key is not None and all(job.key != key for job in jobs):
        forget()  # it may be younger than the last look
        jobs = current_jobs(workspace)
    found = next((job for job in jobs if job.key == key), None)
    if key is not None and found is None:
        st.warning(f"There is no job called “{plain(shortened(str(key)))}” in this workspace.")
        st.session_state[CHOSEN] = None
    pickers.keep_in_url("job", found.key if found else None)
    return jobs, found


def choose(key: str | None) -> None:
    """Open a job, or none."""
    st.session_state[CHOSEN] = key


def browse(workspace: Workspace, jobs: list[Job], chosen: str | None) -> None:
    """The list, kept up to date; a click on a row opens its job below."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = pickers.choice("Show", SHOWS, "state", "all", label_visibility="collapsed")
        kinds = [ANY_KIND, *sorted({job.kind for job in jobs})]
        if st.session_state.get("jobs-kind") not in kinds:
            st.session_state["jobs-kind"] = ANY_KIND
        kind = st.selectbox(
            "Kind", kinds, key="jobs-kind", label_visibility="collapsed", width=190, persist_state="session"
        )
    before = {job.key: job.state for job in jobs}

    def panel() -> None:
        now = current_jobs(workspace)
        if st.session_state.get(CHOSEN) != chosen:
            st.rerun()
        if {job.key: job.state for job in now} != before:
            st.rerun()  # what is open below has changed its state, or the timer must change its pace
        rows = [job for job in now if fits(job, shown) and kind in (ANY_KIND, job.kind)]
        table = _shared_table(workspace.root, read_settings(workspace.root).num_slots, _stamp(now), now)
        _table(table if len(rows) == len(now) else table[table["key"].isin([job.key for job in rows])], chosen)
        st.caption(summary(now))

    watched(panel, TICK if any(job.active for job in jobs) else IDLE_TICK)


@st.cache_resource(max_entries=4, show_spinner=False)
def _shared_table(root: Path, num_slots: int, stamp: int, _jobs: list[Job]) -> pd.DataFrame:
    """The list for every session that looks; made again when a job has changed or reported."""
    return job_table(_jobs, num_slots)


def _stamp(jobs: Sequence[Job]) -> int:
    return hash(tuple((j.key, j.state, j.changed, j.reported, j.order, j.handle, j.cancelling) for j in jobs))


def fits(job: Job, shown: str) -> bool:
    """Whether a job belongs to what is shown."""
    return shown == "all" or job.state == shown or (shown == "active" and job.active)


def summary(jobs: Sequence[Job]) -> str:
    """How many jobs are in each state, in one line."""
    counts = {state: sum(job.state == state for job in jobs) for state in MARKS}
    parts = [f"{count:,} {state}" for state, count in counts.items() if count]
    return f"{counted(len(jobs), 'job')}: {', '.join(parts)}. Click a row to open it."


def job_table(jobs: list[Job], num_slots: int) -> pd.DataFrame:
    """One row per job as the list shows it: running ones, the queue in its order, and the others as given."""
    waits, queued = waiting_words(jobs, num_slots), queue_of(jobs)
    running = [job for job in jobs if job.state == "running"]
    jobs = [*running, *queued, *(job for job in jobs if not job.active)]
    rows = [
        {
            "state": f"{MARKS.get(job.state, '')} {state_words(job)}",
            "kind": job.kind,
            "name": shortened(job.name, 60),
            "progress": round(100 * job.share, 1),
            "rate": job.rate if job.state == "running" and job.rate else None,
            "left": duration(job.seconds_left) if job.seconds_left is not None else "",
            "waits": waits.get(job.key, shortened(job.error, 160) if job.state == "failed" else ""),
            "when": pd.Timestamp(max(job.changed, job.reported), unit="s", tz="UTC"),
            "runner": job.runner,
            "key": job.key,
        }
        for job in jobs
    ]
    names = ["state", "kind", "name", "progress", "rate", "left", "waits", "when", "runner", "key"]
    return pd.DataFrame(rows, columns=names)


def state_words(job: Job) -> str:
    """A job's state, and whether it is being cancelled."""
    return "being cancelled" if job.cancelling and job.active else job.state


def waiting_words(jobs: list[Job], num_slots: int) -> dict[str, str]:
    """For each job that waits: its place in the queue, and whom it waits for."""
    running = in_places(jobs)
    words: dict[str, str] = {}
    ahead = [] if len(running) < num_slots else running
    for place, job in enumerate(queue_of(jobs), start=1):
        if job.handle:
            words[job.key] = f"handed to {job.runner}"
            continue
        if job.runner != "local":
            words[job.key] = f"number {place}, starts as {job.runner} has room"
            continue
        after = " and ".join(shortened(one.name or one.kind, 30) for one in ahead[:2])
        words[job.key] = f"number {place}, after {after}" if after else f"number {place}, starts now"
        ahead = [job]
    return words


def _table(table: pd.DataFrame, chosen: str | None) -> None:
    keys = table["key"].tolist()
    # rows are told apart by position: where they change, it is another table, and ticks do not move to other jobs
    at = f"jobs-{zlib.crc32(repr((keys, chosen)).encode('utf-8', 'replace'))}"
    if not keys:
        st.info("No job fits. Choose “All” and “every kind” to see the others.", icon=":material/filter_alt_off:")
        return
    ticked = [keys.index(chosen)] if chosen in keys else []
    column = st.column_config
    st.dataframe(
        table,
        key=at,
        hide_index=True,
        lazy=False,
        placeholder="",
        row_height=_ROW,
        height=_ROW * min(len(keys), 6 if chosen else 14) + _MARGIN,
        selection_mode=ROW_CLICK,
        on_select=lambda: choose(clicked(at, keys, st.session_state.get(CHOSEN))),
        selection_default={"selection": {"rows": ticked, "columns": [], "cells": []}},
        column_config={
            "state": column.TextColumn("state", width=124),
            "kind": column.TextColumn("kind", width=112),
            "name": column.TextColumn("name", width=170),
            "progress": column.ProgressColumn("progress", width=120, format="%.0f %%", min_value=0, max_value=100),
            "rate": column.NumberColumn("steps/s", width=70, format="%.3g"),
            "left": column.TextColumn("time left", width=96),
            "waits": column.TextColumn("queue, or error", width=236),
            "when": column.DatetimeColumn("changed", width=112, format="distance"),
            "runner": column.TextColumn("runner", width=64),
            "key": column.TextColumn("key", width=210),
        },
    )


def settings_popover(workspace: Workspace) -> None:
    """How many jobs run at once, and where."""
    kept, locked = read_settings(workspace.root), not may_change_jobs()
    with st.popover("Queue settings", icon=":material/settings:"), st.form("queue-settings", border=False):
        gpus = counted(len(gpu_names()), "GPU") if gpu_names() else "no GPU"
        slots = st.number_input("Jobs at once on this machine", 0, 1024, kept.slots, disabled=locked,
                                help=f"0: one per GPU, or one where there is none; this machine has {gpus}.")  # fmt: skip
        grace = st.number_input("Grace time (seconds)", 0.0, 3600.0, kept.grace, 1.0, format="%g", disabled=locked,
                                help="What a cancelled job has to save and end before it is killed.")  # fmt: skip
        runner = st.selectbox("Where jobs run", RUNNERS, RUNNERS.index(kept.runner), disabled=locked,
                              help="Unless a launch says otherwise.")  # fmt: skip
        address = st.text_input("Ray's address", kept.ray_address, placeholder="http://host:8265", disabled=locked,
                                help="Its dashboard; RMVIZ_RAY_ADDRESS when empty.")  # fmt: skip
        if st.form_submit_button("Keep", type="primary", disabled=locked):
            new: Any = {"slots": int(slots), "grace": float(grace), "runner": runner, "ray_address": address.strip()}
            settings: QueueSettings = replace(kept, **new)
            write_settings(workspace.root, settings)
            st.toast("The queue's settings are kept.")


def size(num_bytes: float) -> str:
    """`12 MiB`, `3.4 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{number(float(round(num_bytes)))} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def since(moment: float) -> str:
    """`8 s ago`, `2 h 10 min ago`; a dash for a moment that is not known."""
    return f"{duration(max(0.0, time.time() - moment))} ago" if moment > 0 else "–"
