"""What is known of a job, from the files in its folder: they are the only truth about jobs."""

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rmviz.errors import NotFoundError
from rmviz.jobs.locks import is_held, own_host
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
CONFIG, LAUNCH, STATE, METRICS, LOG, CANCEL, VITALS = (
    "config.json", "launch.json", "state.json", "metrics.jsonl", "log.txt", "cancel", "vitals.jsonl",
)  # fmt: skip
DIED = "its process ended without a word: killed, out of memory, or the machine went down. Resume goes on from the last checkpoint"
_TAIL = 65_536
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job at one moment."""

    key: str
    kind: str
    state: State
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    changed: float = 0.0
    """When the state last changed, seconds since the epoch."""

    submitted: float = 0.0
    order: float = 0.0
    """Place in the queue: the smallest starts first."""

    runner: str = "local"
    handle: str = ""
    """What another machine's queue calls it."""

    retries: int = 0
    """How often it was submitted again because its process or machine was lost."""

    slot: int = -1
    """Which of this machine's places it was given; the number of its GPU."""

    error: str = ""
    artifact: str = ""
    """Id of the artifact that it left."""

    pid: int = 0
    host: str = ""
    detached: bool = False
    """Whether it has a process group of its own."""

    step: int = 0
    total: int = 0
    rate: float = 0.0
    """Steps per second."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    reported: float = 0.0
    """When it last told its progress, seconds since the epoch."""

    cancelling: bool = False
    died: bool = False
    """It says that it runs, and nobody does so: its end has not been written down yet."""

    @property
    def name(self) -> str:
        """What its result is called, as far as the config says."""
        return str(self.config.get("name") or self.config.get("source") or "")

    @property
    def num_processes(self) -> int:
        """Processes that share its work, each with a GPU of its own where there are GPUs."""
        return int(self.config.get("num_processes", 1))

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("queued", "running")

    @property
    def elsewhere(self) -> bool:
        """Whether another machine that shares the workspace runs it by itself: nobody here can tell how it does."""
        return self.state == "running" and self.runner == "local" and self.host != own_host()

    @property
    def share(self) -> float:
        """Progress from 0 to 1."""
        return 1.0 if self.state == "succeeded" else min(self.step / self.total, 1.0) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate."""
        return (self.total - self.step) / self.rate if self.state == "running" and self.rate > 0 else None


_ended: dict[Path, tuple[int, Job]] = {}


def read_job(folder: Path, *, progress: bool = True) -> Job:
    """The job in a folder; a local one that says it runs while nobody holds its lock has died (others: their runner knows).

    Raises:
        NotFoundError: There is no job in the folder.
    """
    state = _json(folder / STATE)
    if not state:
        raise NotFoundError(f"there is no job in {folder}")
    values = _json(folder / CONFIG)
    launch = _json(folder / LAUNCH)
    kind = str(values.pop("kind", state.get("kind", "")))
    values.pop("version", None)
    job = Job(
        key=folder.name,
        kind=kind,
        state=state.get("state", "failed"),
        folder=folder,
        config=values,
        changed=float(state.get("time", 0.0)),
        submitted=float(launch.get("submitted", state.get("time", 0.0))),
        order=float(launch.get("order", 0.0)),
        runner=str(launch.get("runner", "local")),
        handle=str(launch.get("handle", "")),
        retries=int(launch.get("retries", 0)),
        slot=int(launch.get("slot", -1)),
        error=str(state.get("error", "")),
        artifact=str(state.get("artifact", "")),
        pid=int(state.get("pid", 0)),
        host=str(state.get("host") or own_host()),
        detached=bool(state.get("detached", False)),
        cancelling=(folder / CANCEL).exists(),
    )
    if job.state == "running" and job.runner == "local" and job.host == own_host() and not is_held(folder):
        again = _json(folder / STATE)  # it may have ended between the two looks
        if again == state:
            job = replace(job, state="failed", error=DIED, died=True)
        elif again:
            return read_job(folder, progress=progress)
    return with_progress(job) if progress else job


def with_progress(job: Job) -> Job:
    """A job with the last line of its metrics."""
    last: dict[str, Any] = {}
    for line in reversed(tail(job.folder / METRICS, 8192).splitlines()):
        try:
            last = json.loads(line)
            break
        except ValueError:
            continue  # the last line is being written, or the first is cut
    known = ("time", "step", "total", "rate")
    return replace(
        job,
        step=int(last.get("step", 0)),
        total=int(last.get("total", 0)),
        rate=float(last.get("rate", 0.0)),
        reported=float(last.get("time", 0.0)),
        metrics={name: value for name, value in last.items() if name not in known},
    )


def list_jobs(workspace: Workspace, *, progress: bool = False) -> list[Job]:
    """Every job of the workspace, the latest change first; unreadable ones are left out (`rmviz doctor` names them)."""
    jobs = []
    for folder in _folders(workspace.root / "jobs"):
        try:
            job = _finished_or_read(folder)
        except (OSError, ValueError, TypeError, LookupError):
            _log.info("unreadable job state in %s", folder)
            continue
        jobs.append(with_progress(job) if progress and job.active else job)
    return sorted(jobs, key=lambda job: (job.state != "running", job.state != "queued", -job.changed))


def _folders(root: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []


def _finished_or_read(folder: Path) -> Job:
    """A job; one that has ended is read again only when its state has changed, so that thousands cost little."""
    stamp = (folder / STATE).stat().st_mtime_ns
    known = _ended.get(folder)
    if known and known[0] == stamp:
        return known[1]
    job = read_job(folder)
    if not job.active and not job.died:
        _ended[folder] = (stamp, job)
    return job


def queue_of(jobs: list[Job]) -> list[Job]:
    """The jobs that wait, in the order in which they will start."""
    return sorted((job for job in jobs if job.state == "queued"), key=lambda job: (job.order, job.submitted, job.key))


def in_places(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that take places of this machine: of those that run in one process, the one that it was started for.

    A recipe and the step that it does now are two jobs in one process, and take one place between them.
    """
    leading: dict[object, Job] = {}
    for job in jobs:
        if job.state == "running":
            process = (job.host, job.pid) if job.pid else job.key
            leading[process] = max(leading.get(process, job), job, key=lambda one: (one.detached, one.num_processes))
    return [job for job in leading.values() if job.runner == "local"]


def find_job(workspace: Workspace, ref: str) -> Job:
    """The job with this key, or the latest one whose key begins so or whose result has this name.

    Raises:
        NotFoundError: There is none; the latest keys are listed.
    """
    jobs = list_jobs(workspace)
    for match in (
        lambda job: job.key == ref,
        lambda job: bool(ref) and job.key.startswith(ref),
        lambda job: bool(ref) and job.name == ref,
    ):
        found = [job for job in jobs if match(job)]
        if found:
            return with_progress(max(found, key=lambda job: job.changed))
    hint = f"the latest are {', '.join(job.key for job in jobs[:6])}" if jobs else "there is none yet"
    raise NotFoundError(f"no job called {ref[:200]!r} in {workspace.root}; {hint}")


def tail(path: Path, num_bytes: int = _TAIL) -> str:
    """The end of a text file, whole lines as far as possible; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - num_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text if size <= num_bytes else text.partition("\n")[2]


def last_words(job: Job, lines: int = 8) -> str:
    """The last lines of a job's log."""
    return "\n".join(tail(job.folder / LOG, 8192).strip().splitlines()[-lines:])


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError):
        return {}


def keep_launch(job: Job) -> None:
    """Write down where and when a job runs; the caller holds its lock."""
    values = {name: getattr(job, name) for name in ("submitted", "order", "runner", "handle", "retries", "slot")}
    write_json(job.folder / LAUNCH, values)


def set_state(folder: Path, kind: str, state: State, **details: str) -> None:
    """Write down a job's state; the caller holds its lock."""
    values = {"kind": kind, "state": state, "time": time.time(), "host": own_host(), **details}
    write_json(folder / STATE, values)
