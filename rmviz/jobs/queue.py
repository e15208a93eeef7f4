"""Launching, cancelling and resuming jobs. Every change of a job's state is made by whoever holds the job's lock."""

import shutil
import time
from dataclasses import replace
from typing import Any

from rmviz.configs.files import config_file
from rmviz.errors import ConfigError, NotFoundError
from rmviz.jobs.locks import locked
from rmviz.jobs.records import (
    CANCEL,
    CONFIG,
    LAUNCH,
    LOG,
    METRICS,
    STATE,
    VITALS,
    Job,
    keep_launch,
    list_jobs,
    queue_of,
    read_job,
    set_state,
)
from rmviz.jobs.run import job_key, pinned
from rmviz.jobs.settings import RUNNERS, read_settings
from rmviz.jobs.supervisor import kick
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace, writing


def launch(kind: str, config: Any, workspace: Workspace, *, runner: str = "", again: bool = False) -> Job:
    """Queue a job; the one that is there already where the same config waits, runs or is done.

    Args:
        kind: The job's kind.
        config: Its config.
        workspace: Whose queue.
        runner: `local`, `ray` or `slurm`; the workspace's setting when empty.
        again: Make another run of a config that is there already.

    Raises:
        ConfigError: There is no such runner.
        NotFoundError: A named artifact does not exist.
        ArtifactError: The workspace cannot be written.
    """
    runner = runner or read_settings(workspace.root).runner
    if runner not in RUNNERS:
        raise ConfigError(f"runner must be one of {', '.join(RUNNERS)}, got {runner!r}")
    config = pinned(config, workspace)
    key = _next_key(workspace, kind, config) if again else job_key(kind, config)
    folder = workspace.job_folder(key)
    with writing(workspace.root), locked(folder) as alone:
        present = _present(folder)
        done = workspace.by_key(key)
        if done and (present is None or present.state != "succeeded") and alone:
            write_json(folder / CONFIG, config_file(kind, config))
            set_state(folder, kind, "succeeded", artifact=done.id)
        elif not done and alone and (present is None or present.state not in ("queued",)):
            write_json(folder / CONFIG, config_file(kind, config))
            _queue(folder, kind, runner)
    kick(workspace.root)
    return read_job(folder)


def resume(job: Job, workspace: Workspace, *, runner: str = "") -> Job:
    """Queue a job that did not end well; it goes on from its last checkpoint.

    Raises:
        ConfigError: It succeeded, so there is nothing to go on with.
    """
    read_job(job.folder, progress=False)
    if job.state == "succeeded" and workspace.by_key(job.key):
        raise ConfigError(f"{job.key} has succeeded: there is nothing left to do (launch it again for a second run)")
    with writing(workspace.root), locked(job.folder) as alone:
        if alone and read_job(job.folder, progress=False).state != "queued":
            _queue(job.folder, job.kind, runner or job.runner)
    kick(workspace.root)
    return read_job(job.folder)


def retry(job: Job, workspace: Workspace, *, runner: str = "") -> Job:
    """Queue a job that did not end well from its beginning: its checkpoints, metrics and log are dropped.

    Raises:
        ConfigError: It waits, runs, or has succeeded.
    """
    if job.active:
        raise ConfigError(f"{job.key} is {job.state}; cancel it first")
    with writing(workspace.root), locked(job.folder) as alone:
        if alone and not workspace.by_key(job.key):
            shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
            for name in (METRICS, LOG, VITALS):
                (job.folder / name).unlink(missing_ok=True)
    return resume(read_job(job.folder), workspace, runner=runner)


def cancel(job: Job, workspace: Workspace) -> Job:
    """Take a job out of the queue, or ask it to save and end; it is killed when it does not within the grace time."""
    with writing(workspace.root):
        if not read_job(job.folder, progress=False).active:
            return read_job(job.folder)
        (job.folder / CANCEL).touch()
        with locked(job.folder, wait=0.05) as alone:
            if alone and read_job(job.folder, progress=False).state == "queued":
                set_state(job.folder, job.kind, "cancelled")
                (job.folder / CANCEL).unlink(missing_ok=True)
    kick(workspace.root)
    return read_job(job.folder)


def move(job: Job, workspace: Workspace, places: int) -> Job:
    """Move a waiting job forward (negative) or back in the queue.

    Raises:
        ConfigError: It does not wait.
    """
    waiting = queue_of(list_jobs(workspace))
    here = next((i for i, one in enumerate(waiting) if one.key == job.key), None)
    if here is None:
        raise ConfigError(f"{job.key} does not wait in the queue: it is {read_job(job.folder).state}")
    others = [one for one in waiting if one.key != job.key]
    others.insert(max(0, min(len(others), here + places)), waiting[here])
    with writing(workspace.root):
        for place, one in enumerate(others):
            with locked(one.folder) as alone:
                if alone:
                    keep_launch(replace(one, order=float(place) - len(others)))
    return read_job(job.folder)


def _queue(folder: Any, kind: str, runner: str) -> None:
    now = time.time()
    write_json(folder / LAUNCH, {"submitted": now, "order": now, "runner": runner})
    (folder / CANCEL).unlink(missing_ok=True)
    set_state(folder, kind, "queued")


def _present(folder: Any) -> Job | None:
    try:
        return read_job(folder, progress=False)
    except NotFoundError:
        return None


def _next_key(workspace: Workspace, kind: str, config: Any) -> str:
    """The first key of this config that nothing was made under yet."""
    for again in range(1, 10_000):
        key = job_key(kind, config, again)
        if not (workspace.job_folder(key) / STATE).exists() and not workspace.by_key(key):
            return key
    raise ConfigError("this config was run 10,000 times; that is enough")
