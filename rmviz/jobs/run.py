"""Running a job in this process: once per config, with its progress on disk, and resumable."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rmviz.configs.base import parent_lists, parents, required, to_dict
from rmviz.configs.files import config_file
from rmviz.configs.policies import JUDGE, judge_named
from rmviz.errors import RunningError
from rmviz.jobs.interrupts import interruptible
from rmviz.jobs.locks import locked
from rmviz.jobs.observers import observed
from rmviz.jobs.progress import JobReport, Listener
from rmviz.jobs.records import CANCEL, CONFIG, STATE, read_job
from rmviz.jobs.settings import read_settings
from rmviz.jobs.vitals import noted_vitals
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace, writing
from rmviz.types import Report

RUNNER = "RMVIZ_RUNNER"
"""Environment: which cluster started this process, where one did."""

Task = Callable[[Any, Workspace, Report], Artifact]


def run_job(
    kind: str,
    config: Any,
    workspace: Workspace,
    task: Task,
    listener: Listener | None = None,
    *,
    key: str = "",
    detached: bool = False,
) -> Artifact:
    """What this config leads to: the artifact that is there already, or that the job now makes.

    An interrupted job goes on from its last checkpoint when it is run again. SIGTERM interrupts it as Ctrl-C does.

    Args:
        kind: The job's kind.
        config: Its config.
        workspace: Where parents are found and the artifact is left.
        task: What does the work.
        listener: Told about progress, beside the job's own folder.
        key: The job's key where it was launched before; else it follows from kind and config.
        detached: Whether this process leads a process group that does nothing but this job.

    Raises:
        RunningError: Another process is running this job now.
    """
    config = pinned(config, workspace)
    key = key or job_key(kind, config)
    if done := workspace.by_key(key):
        return _found(workspace, kind, key, done)
    folder = workspace.job_folder(key)
    with writing(workspace.root), locked(folder) as alone, interruptible():
        if not alone:
            raise RunningError(
                f"this job is running already, in another process; `rmviz jobs logs -f {key}` follows it, "
                f"`rmviz jobs cancel {key}` stops it"
            )
        if detached and read_job(folder, progress=False).state == "cancelled":
            raise KeyboardInterrupt
        write_json(folder / CONFIG, config_file(kind, config))
        (folder / CANCEL).unlink(missing_ok=True)
        report = JobReport(folder, kind, detached=detached)
        report.state("running")
        try:
            settings = read_settings(workspace.root)
            with noted_vitals(folder), observed(folder, kind, to_dict(config), settings, listener) as report.listener:
                artifact = task(config, workspace, report)
        except KeyboardInterrupt:
            if not os.environ.get(RUNNER) or (folder / CANCEL).exists():
                report.state("cancelled")  # else the cluster took the machine: its runner says so, or submits again
            raise
        except BaseException as error:
            with contextlib.suppress(
                OSError
            ):  # on a full disk the job is seen to have died, and its error is in the log
                report.state("failed", error=f"{type(error).__name__}: {error}{_advice(error, config)}")
            raise
        report.state("succeeded", artifact=artifact.id)
        shutil.rmtree(report.folder, ignore_errors=True)
        return artifact


def _found(workspace: Workspace, kind: str, key: str, done: Artifact) -> Artifact:
    """The result that is there; a job that died after leaving it, before it could say so, has succeeded."""
    folder = workspace.job_folder(key)
    if (folder / STATE).exists() and read_job(folder, progress=False).state != "succeeded":
        with locked(folder) as alone:
            if alone:
                JobReport(folder, kind).state("succeeded", artifact=done.id)
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return done


def _advice(error: BaseException, config: Any) -> str:
    """Which setting to lower when memory ran out."""
    if not (isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error)):
        return ""
    knobs = [
        name for name in ("max_tokens", "batch_size", "shard_size", "max_length", "d_sae") if hasattr(config, name)
    ]
    return f". Memory ran out; lower {' or '.join(knobs)}" if knobs else ". Memory ran out"


def pinned(config: Any, workspace: Workspace) -> Any:
    """The config with every artifact named by its id, so that it means the same tomorrow.

    Raises:
        NotFoundError: A named artifact does not exist.
    """
    external = {f.name for f in fields(config) if f.metadata.get("external")}
    left_out = {f.name for f in fields(config) if not required(f)}
    found: dict[str, str] = {}
    for name, kinds in parents(type(config)).items():
        ref = getattr(config, name)
        if not ref and name in left_out:
            continue
        if name in external and ref.startswith(JUDGE):
            found[name] = _pinned_judge(ref, workspace)
        elif name in external and not any(workspace.catalogue.find(ref=ref)):
            found[name] = _absolute(ref)
        else:
            found[name] = workspace.resolve(ref, *kinds).id
    for name, kinds in parent_lists(type(config)).items():
        refs = [part.strip() for part in getattr(config, name).split(",") if part.strip()]
        found[name] = ", ".join(workspace.resolve(ref, *kinds).id for ref in refs)
    return replace(config, **found)


def _pinned_judge(ref: str, workspace: Workspace) -> str:
    model, server = judge_named(ref)
    if server:
        return ref
    known = workspace.catalogue.find(ref=model, kind="policy")
    return f"{JUDGE}{known[0].id if known else _absolute(model)}"


def _absolute(ref: str) -> str:
    """The whole path of what is there; a hub id as it is."""
    path = Path(ref).expanduser()
    return str(path.resolve()) if path.exists() else ref


def job_key(kind: str, config: Any, again: int = 1) -> str:
    """What makes two runs the same: kind, settings (ceilings aside), the state of the files that the settings name, and which time."""
    values = to_dict(config) | {f.name: f.default for f in fields(config) if f.metadata.get("ceiling")}
    files = {name: value.removeprefix(JUDGE) for name, value in values.items() if isinstance(value, str)}
    stamps = {name: stamp(Path(value)) for name, value in files.items() if is_path(value)}
    text = json.dumps([kind, values, stamps], sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}" + (f"-{again}" if again > 1 else "")


def is_path(value: str) -> bool:
    """Whether a setting names something in the file system."""
    try:
        return os.sep in value and Path(value).expanduser().exists()
    except (OSError, ValueError):
        return False


def stamp(path: Path) -> list[Any]:
    """The state of a file, or of all files of a folder: names, sizes, times."""
    files = sorted(p for p in path.expanduser().rglob("*") if p.is_file()) if path.is_dir() else [path.expanduser()]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
