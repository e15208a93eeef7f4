"""The health of an installation and of a workspace: what is wrong, and what mends it."""

import contextlib
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from rmviz.backend.process import ADDRESS_FILE, read_address, runs
from rmviz.errors import RmvizError
from rmviz.jobs.locks import is_held, locked
from rmviz.jobs.records import CONFIG, DIED, STATE, list_jobs, read_job, set_state
from rmviz.jobs.settings import gpu_names
from rmviz.store.artifact import MANIFEST, read_manifest
from rmviz.store.workspace import KINDS, Workspace

PACKAGES = ("rmviz", "torch", "transformers", "trl", "sae-lens", "streamlit", "pandas", "pyarrow", "ray", "submitit")
LEAST_FREE = 2 * 2**30
"""Bytes of free disk below which jobs are likely to fail."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong: what it is, what to do, and what does it where that is safe."""

    what: str
    advice: str
    mend: Callable[[], None] | None = field(default=None, compare=False)


def facts(workspace: Workspace) -> dict[str, Any]:
    """Versions, devices, memory and disk."""
    folder = workspace.root
    while not folder.exists():
        folder = folder.parent
    return {
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpus": list(gpu_names()),
        "workspace": str(workspace.root),
        "disk_free": shutil.disk_usage(folder).free,
        "artifacts": len(workspace.list()),
        "jobs": len(list_jobs(workspace)),
    }


def findings(workspace: Workspace, progress: Progress | None = None) -> Iterator[Finding]:
    """Everything that is wrong in a workspace, every file of every artifact checked."""
    if not workspace.root.exists():
        return
    yield from _disk(workspace)
    yield from _artifacts(workspace, progress)
    yield from _catalogue(workspace)
    yield from _leftovers(workspace)
    yield from _jobs(workspace)
    address = read_address(workspace.root)
    if address and address.pid and not runs(address):
        yield Finding(
            what=f"the backend that {ADDRESS_FILE} names is gone",
            advice="the app starts another when it needs one",
            mend=(workspace.root / ADDRESS_FILE).unlink,
        )


def _disk(workspace: Workspace) -> Iterator[Finding]:
    free = shutil.disk_usage(workspace.root).free
    if free < LEAST_FREE:
        yield Finding(what=f"only {free / 2**20:.0f} MiB of disk are free", advice="free some space; jobs may fail")
    if not os.access(workspace.root, os.W_OK):
        yield Finding(what="the workspace is read-only", advice="results can be looked at, nothing can be made")


def _artifacts(workspace: Workspace, progress: Progress | None) -> Iterator[Finding]:
    folders = [manifest.parent for kind in KINDS for manifest in (workspace.root / kind).glob(f"*/{MANIFEST}")]
    ids = {folder.name for folder in folders}
    for number, folder in enumerate(sorted(folders), start=1):
        try:
            artifact = read_manifest(folder).verify()
        except RmvizError as error:
            yield Finding(what=str(error), advice=f"its job makes it again once {folder} is deleted")
        else:
            for parent in artifact.parents:
                if parent not in ids:
                    yield Finding(
                        what=f"{artifact.kind} {artifact.name} ({artifact.id}) was made of {parent}, which is gone",
                        advice="it can be looked at; what needs its parent (the playground, further effects) cannot be made",
                    )
        if progress:
            progress(number, len(folders))


def _catalogue(workspace: Workspace) -> Iterator[Finding]:
    file, mend = workspace.catalogue.file, lambda: _rebuilt(workspace)
    if not file.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
            listed = {row[0] for row in connection.execute("SELECT id FROM artifacts")}
    except sqlite3.DatabaseError as error:
        sound, listed = str(error), set()
    if sound != "ok":
        yield Finding(what=f"the catalogue is damaged: {sound}", advice="it is made again from the files", mend=mend)
    elif listed != {artifact.id for artifact in workspace.catalogue.on_disk()}:
        yield Finding(what="the catalogue and the files differ", advice="it is made again from the files", mend=mend)


def _leftovers(workspace: Workspace) -> Iterator[Finding]:
    """Drafts that a killed job has left; those of running jobs are none of our business."""
    if any(job.state == "running" for job in list_jobs(workspace)):
        return
    for folder in sorted((workspace.root / ".drafts").glob("*")):
        if time.time() - folder.stat().st_mtime > 60:
            yield Finding(
                what=f"a half-made result of a killed job lies in {folder}",
                advice="nothing reads it; it can be deleted",
                mend=lambda folder=folder: shutil.rmtree(folder),
            )


def _jobs(workspace: Workspace) -> Iterator[Finding]:
    known = set()
    for job in list_jobs(workspace):
        known.add(job.folder.name)
        if job.died:
            yield Finding(
                what=f"job {job.key} died without a word",
                advice=f"`rmviz jobs resume {job.key}` goes on from its last checkpoint",
                mend=lambda folder=job.folder, kind=job.kind: _marked_failed(folder, kind),
            )
        elif job.state == "running" and _stands_still(job.pid):
            yield Finding(what=f"job {job.key} stands still", advice=f"`rmviz jobs cancel {job.key}` ends it")
        elif job.active and not (job.folder / CONFIG).exists():
            yield Finding(what=f"job {job.key} has lost its settings", advice=f"delete {job.folder}")
        elif job.state == "succeeded" and job.artifact and not workspace.catalogue.find(ref=job.artifact):
            yield Finding(
                what=f"the result {job.artifact} of job {job.key} is gone", advice="launching it makes it again"
            )
    for folder in sorted((workspace.root / "jobs").glob("*")):
        if folder.is_dir() and folder.name[0] != "." and folder.name not in known and not is_held(folder):
            yield Finding(
                what=f"{folder} holds no job that can be read ({STATE} is missing or broken)",
                advice="launching the job again writes it anew; its checkpoints are kept",
            )


def _marked_failed(folder: Path, kind: str) -> None:
    with locked(folder) as alone:
        if alone and read_job(folder, progress=False).state != "succeeded":
            set_state(folder, kind, "failed", error=DIED)


def _rebuilt(workspace: Workspace) -> None:
    workspace.catalogue.rebuild()


def _stands_still(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.Error, ValueError):
        return False


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
