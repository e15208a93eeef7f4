"""Running a job in this process: once per config, with its progress on disk, and resumable."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rmviz.configs.base import parents, to_dict
from rmviz.errors import ConfigError
from rmviz.jobs.progress import JobReport, Listener
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace, writing
from rmviz.types import Report

Task = Callable[[Any, Workspace, Report], Artifact]
_log = logging.getLogger(__name__)


def run_job(kind: str, config: Any, workspace: Workspace, task: Task, listener: Listener | None = None) -> Artifact:
    """What this config leads to: the artifact that is there already, or that the job now makes.

    An interrupted job goes on from its last checkpoint when it is run again.

    Raises:
        ConfigError: Another process is running this job now.
    """
    config = pinned(config, workspace)
    key = job_key(kind, config)
    if done := workspace.by_key(key):
        return done
    folder = workspace.job_folder(key)
    with writing(workspace.root), _locked(folder):
        write_json(folder / "config.json", {"kind": kind, **to_dict(config)})
        report = JobReport(folder, kind, listener)
        report.state("running")
        try:
            artifact = task(config, workspace, report)
        except KeyboardInterrupt:
            report.state("cancelled")
            raise
        except BaseException as error:
            report.state("failed", error=f"{type(error).__name__}: {error}")
            raise
        report.state("succeeded", artifact=artifact.id)
        shutil.rmtree(report.folder, ignore_errors=True)
        return artifact


def pinned(config: Any, workspace: Workspace) -> Any:
    """The config with every artifact named by its id, so that it means the same tomorrow.

    Raises:
        NotFoundError: A named artifact does not exist.
    """
    external = {f.name for f in fields(config) if f.metadata.get("external")}
    found: dict[str, str] = {}
    for name, kinds in parents(type(config)).items():
        ref = getattr(config, name)
        if name in external and not any(workspace.catalogue.find(ref=ref)):
            found[name] = str(Path(ref).expanduser().resolve()) if Path(ref).expanduser().exists() else ref
        else:
            found[name] = workspace.resolve(ref, *kinds).id
    return replace(config, **found)


def job_key(kind: str, config: Any) -> str:
    """What makes two runs the same: kind, settings, and the state of the files that the settings name."""
    values = to_dict(config)
    stamps = {name: _stamp(Path(value)) for name, value in values.items() if isinstance(value, str) and _is_path(value)}
    text = json.dumps([kind, values, stamps], sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _is_path(value: str) -> bool:
    try:
        return os.sep in value and Path(value).expanduser().exists()
    except (OSError, ValueError):
        return False


def _stamp(path: Path) -> list[Any]:
    files = sorted(p for p in path.expanduser().rglob("*") if p.is_file()) if path.is_dir() else [path.expanduser()]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"this job is running already, in another process (see {folder}); wait for it, or stop it"
            ) from error
        yield


def job_states(workspace: Workspace) -> list[Mapping[str, Any]]:
    """State of every job of the workspace, newest first."""
    states = []
    for file in (workspace.root / "jobs").glob("*/state.json"):
        try:
            states.append(json.loads(file.read_text(encoding="utf-8")) | {"key": file.parent.name})
        except (OSError, ValueError):
            _log.warning("unreadable job state %s", file)
    return sorted(states, key=lambda state: -state.get("time", time.time()))
