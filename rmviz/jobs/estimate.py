"""What a job will need, before it is launched: time, memory, disk; and whether it can fit at all."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from rmviz.configs.base import to_dict
from rmviz.configs.files import config_file
from rmviz.errors import RmvizError
from rmviz.jobs.records import METRICS, Job, list_jobs
from rmviz.jobs.settings import gpu_names
from rmviz.store.workspace import Workspace

PROBE_SECONDS = 25.0
_BASE = 700 * 2**20
"""Bytes of Python, torch and transformers before a model is loaded."""

_AMOUNTS = ("num_tokens", "num_steps", "num_pairs", "num_texts")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job needs; None where nothing is known."""

    seconds: float | None = None
    memory: int | None = None
    """Bytes at the peak."""

    disk: int | None = None
    """Bytes that its folder and its result take."""

    basis: str = ""
    """Where the figures come from, in one sentence."""

    refusals: tuple[str, ...] = ()
    """Why it clearly cannot fit; empty where it may."""


def estimated(kind: str, config: Any, workspace: Workspace) -> Estimate:
    """What follows from the sizes of files and from earlier jobs of this kind; takes milliseconds.

    Weights count as float32: training holds them four times (gradient and Adam's two moments), reading once.
    """
    weights = _weights(config, workspace)
    d_sae, d_in = int(getattr(config, "d_sae", 0)), 4096 if weights > 2**32 else 1024
    sae = 2 * d_sae * d_in * 4
    memory = _BASE + (4 * weights if kind.startswith("train.") else weights) + 4 * sae
    copies = int(getattr(config, "num_checkpoints", 0)) + 3 if kind.startswith("train.") else 0
    disk = copies * weights + 3 * sae
    seconds, basis = _earlier(kind, config, workspace)
    words = basis or "no job of this kind has ended here yet, so its time is not known; a probe measures it"
    found = Estimate(seconds=seconds, memory=memory, disk=disk, basis=words)
    return replace(found, refusals=_refusals(found, workspace.root))


def probe(kind: str, config: Any, workspace: Workspace) -> Estimate:
    """The same, measured: the job's own work for a few seconds in a process of its own, which leaves nothing behind.

    Raises:
        RmvizError: The job cannot even begin; the reason is the job's own.
    """
    begun = estimated(kind, config, workspace)
    if begun.refusals:
        return begun
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config_file(kind, config)), encoding="utf-8")
        command = [sys.executable, "-m", "rmviz.cli", "jobs", "probe", str(file), "--workspace", str(workspace.root)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PROBE_SECONDS + 20,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return replace(begun, basis=f"the job told no progress within {PROBE_SECONDS + 20:.0f} s; {begun.basis}")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["the probe ended without a word"]
        raise RmvizError(last[0].removeprefix("Error: "))
    seen = json.loads(done.stdout)
    found = replace(
        begun,
        seconds=seen["seconds"] if seen["seconds"] is not None else begun.seconds,
        memory=int(seen["memory"]),
        disk=max(begun.disk or 0, int(seen["disk"])),
        basis="measured on the first seconds of the job itself" if seen["seconds"] is not None else begun.basis,
    )
    return replace(found, refusals=_refusals(found, workspace.root))


def _refusals(found: Estimate, root: Path) -> tuple[str, ...]:
    reasons = []
    memory, folder = psutil.virtual_memory().total, root
    while not folder.exists():
        folder = folder.parent
    if found.memory and found.memory > memory and not gpu_names():
        reasons.append(f"it needs about {_size(found.memory)} of memory, and this machine has {_size(memory)}")
    free = shutil.disk_usage(folder).free
    if found.disk and found.disk > free:
        reasons.append(f"it needs about {_size(found.disk)} of disk, and {_size(free)} are free at {folder}")
    return tuple(reasons)


def _weights(config: Any, workspace: Workspace) -> int:
    """Bytes of the weights that a job loads, from the files it names."""
    names = [str(value) for value in to_dict(config).values() if isinstance(value, str) and value]
    total = 0
    for name in names:
        for artifact in workspace.catalogue.find(ref=name):
            chain = [artifact, *(found for ref in artifact.parents for found in workspace.catalogue.find(ref=ref))]
            sizes = [_of_files(one.files, one.config) for one in chain if one.kind in ("reward_model", "policy")]
            total = max([total, *sizes])
    return max([total, *(_of_folder(name) for name in names)])


def _of_files(files: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    own = sum(int(size) for name, (size, _) in files.items() if name.endswith(".safetensors"))
    return own or _of_folder(str(config.get("source", "")))


def _of_folder(name: str) -> int:
    try:
        return sum(file.stat().st_size for file in Path(name).expanduser().glob("*.safetensors")) if name else 0
    except (OSError, ValueError, RuntimeError):
        return 0


def _earlier(kind: str, config: Any, workspace: Workspace) -> tuple[float | None, str]:
    """Time of the latest job of this kind, scaled by how much there is to do."""
    wanted = to_dict(config)
    for job in list_jobs(workspace):
        if job.kind == kind and job.state == "succeeded" and (seconds := _took(job)) is not None:
            scale = 1.0
            for name in _AMOUNTS:
                if wanted.get(name) and job.config.get(name):
                    scale = float(wanted[name]) / float(job.config[name])
                    break
            return seconds * scale, f"from {job.key}, which took {seconds:.0f} s"
    return None, ""


def _took(job: Job) -> float | None:
    try:
        with (job.folder / METRICS).open(encoding="utf-8") as file:
            return job.changed - float(json.loads(file.readline())["time"])
    except (OSError, ValueError, KeyError):
        return None


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"
