"""Jobs on a Slurm cluster, through submitit: the same worker command; the workspace is on a disk that all nodes share.

A handle is the cluster's name and a folder in the job's folder, made before anything is submitted; submitit leaves the
cluster's job id in it. A supervisor that died in between leaves a folder without an id: what it may have submitted finds
nothing to run and ends, so the job is submitted again without running twice.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import psutil

from rmviz.configs.needs import needs_of
from rmviz.errors import ConfigError
from rmviz.jobs.records import LOG, Job
from rmviz.jobs.run import RUNNER
from rmviz.jobs.runners import worker_command

CLUSTER, OPTIONS = "RMVIZ_SLURM_CLUSTER", "RMVIZ_SLURM_OPTIONS"
"""Environment: `slurm` or submitit's `local`; parameters of submitit's AutoExecutor as JSON."""

_DAY = 24 * 60
_EVERY, _RECENT = 10.0, 60.0
_LIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "RESIZING", "SUSPENDED", "STOPPED", "UNKNOWN")
_LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT")


class SlurmRunner:
    """One submission per attempt."""

    def __init__(self, root: Path) -> None:
        """Run jobs of a workspace."""
        self.root = root
        self._clusters: dict[str, _Cluster] = {"slurm": _Slurm(), "local": _Local()}

    def new_handle(self, job: Job) -> str:
        """Cluster and folder of the next attempt."""
        return f"{os.environ.get(CLUSTER) or 'slurm'}/{secrets.token_hex(4)}"

    def start(self, job: Job) -> None:
        """Submit the worker; what it says goes to the job's log.

        Raises:
            ConfigError: submitit is not installed, this is no machine of a Slurm cluster, or Slurm refuses.
        """
        if find_spec("submitit") is None:
            raise ConfigError("the slurm runner needs submitit on this machine: pip install 'rmviz[slurm]'")
        from submitit import AutoExecutor

        name, folder = self._place(job)
        options = _options(job)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            executor = AutoExecutor(folder, cluster=name)
            executor.update_parameters(**options)
            executor.submit(become_worker, worker_command(self.root, job.key), str(job.folder / LOG))
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError, subprocess.SubprocessError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
            raise ConfigError(f"{name} did not take the job ({CLUSTER}, {OPTIONS}): {reason}") from error

    def ended(self, job: Job) -> str | None:
        """As Slurm's accounting says, looked at every ten seconds."""
        if not job.handle:
            return "its Slurm job is not known any more"
        state = self._state(job)
        if state in _LIVE:
            return None
        name = self._place(job)[0]
        return "" if state == "COMPLETED" else f"it never reached {name}" if not state else f"{name} says {state}"

    def lost(self, job: Job) -> bool:
        """Whether its node failed, its time ran out, another took its place, or it was never submitted."""
        return bool(job.handle) and self._state(job) in ("", *_LOST)

    def stop(self, job: Job) -> None:
        """`scancel`: SIGTERM, and SIGKILL from Slurm after its KillWait (30 s)."""
        self._tell(job, kill=False)

    def kill(self, job: Job) -> None:
        """Slurm kills it itself."""
        self._tell(job, kill=True)

    def lingers(self, job: Job) -> bool:
        """Whether a job that said a moment ago how it ended still has its place."""
        recent = time.time() - job.changed < _RECENT
        return bool(job.handle) and recent and self._state(job) in _LIVE[:-1]

    def stands_still(self, job: Job) -> bool:
        """Not seen from here."""
        return False

    def _place(self, job: Job) -> tuple[str, Path]:
        name, _, attempt = job.handle.partition("/")
        return name, job.folder / "slurm" / attempt

    def _id(self, folder: Path) -> str:
        """The cluster's id of an attempt; empty where it was not submitted."""
        found = next(folder.glob("*_submitted.pkl"), None)
        return found.name.removesuffix("_submitted.pkl") if found else ""

    def _state(self, job: Job) -> str:
        """In Slurm's words; empty for a job that was never submitted."""
        name, folder = self._place(job)
        if not (job_id := self._id(folder)):
            return ""
        return self._clusters[name].state(job_id, folder, impatient=job.cancelling) if name in self._clusters else ""

    def _tell(self, job: Job, *, kill: bool) -> None:
        name, folder = self._place(job)
        if name in self._clusters and (job_id := self._id(folder)):
            self._clusters[name].end(job_id, folder, kill=kill)


@runtime_checkable
class _Cluster(Protocol):
    def state(self, job_id: str, folder: Path, *, impatient: bool) -> str: ...

    def end(self, job_id: str, folder: Path, *, kill: bool) -> None: ...


class _Slurm:
    """Slurm itself, by `sacct` and `scancel`."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    def state(self, job_id: str, folder: Path, *, impatient: bool) -> str:
        from submitit.slurm.slurm import SlurmJob

        now = time.monotonic()
        stale = now - self._asked.get(job_id, float("-inf")) > (2.0 if impatient else _EVERY)
        if stale:
            self._asked[job_id] = now
        words = SlurmJob.watcher.get_state(job_id, mode="force" if stale else "cache")
        return words.split()[0].rstrip("+") if words else "UNKNOWN"

    def end(self, job_id: str, folder: Path, *, kill: bool) -> None:
        now = time.monotonic()
        if now - self._ended.get(job_id, float("-inf")) > _EVERY:
            self._ended[job_id] = now
            subprocess.run(["scancel", job_id], check=False, timeout=30)


class _Local:
    """submitit's stand-in for a cluster: a process on this machine that starts the worker and passes signals on."""

    def state(self, job_id: str, folder: Path, *, impatient: bool) -> str:
        return "RUNNING" if self._controller(job_id, folder) else "ENDED"

    def end(self, job_id: str, folder: Path, *, kill: bool) -> None:
        if controller := self._controller(job_id, folder):
            family = [*controller.children(recursive=True), controller] if kill else [controller]
            for process in family:
                try:
                    process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
                except psutil.NoSuchProcess:
                    continue

    def _controller(self, job_id: str, folder: Path) -> psutil.Process | None:
        try:
            process = psutil.Process(int(job_id))
            ours = process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline()
        except (psutil.Error, ValueError):
            return None
        return process if ours else None


def become_worker(command: Sequence[str], log: str) -> None:
    """Turn this process, which submitit started, into the worker: signals reach it, its end is the job's.

    SIGUSR2, submitit's warning before the time limit, is ignored: the worker saves at the SIGTERM that follows.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    os.environ[RUNNER] = "slurm"
    sys.stdout.flush()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.execv(command[0], list(command))


def _options(job: Job) -> dict[str, Any]:
    """Parameters for submitit: a day, a CPU per thread, and what the environment says.

    Raises:
        ConfigError: The environment's are no JSON object.
    """
    given = os.environ.get(OPTIONS) or "{}"
    try:
        chosen = json.loads(given)
    except ValueError:
        chosen = None
    if not isinstance(chosen, dict):
        raise ConfigError(f'{OPTIONS} must be a JSON object such as {{"slurm_partition": "gpu"}}, got {given[:200]!r}')
    if not needs_of(job.kind).model:
        chosen.pop("gpus_per_node", None)
    elif job.num_processes > 1 and "gpus_per_node" in chosen:
        chosen["gpus_per_node"] = job.num_processes
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1) * job.num_processes
    return {"timeout_min": _DAY, "cpus_per_task": threads, "name": job.key, "stderr_to_stdout": True} | chosen
