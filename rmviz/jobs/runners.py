"""Where jobs run: each runner starts the same worker command, and can tell how it ended."""

import contextlib
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

import psutil

from rmviz.errors import ConfigError
from rmviz.jobs.locks import is_held, own_host
from rmviz.jobs.records import LOG, Job
from rmviz.jobs.settings import gpu_names
from rmviz.processes import exit_words

_PLACES = {"ray": "rmviz.jobs.on_ray:RayRunner", "slurm": "rmviz.jobs.on_slurm:SlurmRunner"}


@runtime_checkable
class Runner(Protocol):
    """Starts, watches and ends the worker of a job."""

    def new_handle(self, job: Job) -> str:
        """What another machine's queue is going to call the job; empty where none is needed."""
        ...

    def start(self, job: Job) -> None:
        """Start the worker; it outlives this process.

        Raises:
            ConfigError: It cannot be started here.
        """
        ...

    def ended(self, job: Job) -> str | None:
        """None while the worker lives; else how it ended, in words, empty for a quiet end."""
        ...

    def lost(self, job: Job) -> bool:
        """Whether a job that `ended` lost its process or machine through no fault of its own, and another can be had."""
        ...

    def stop(self, job: Job) -> None:
        """Ask the worker to save and end."""
        ...

    def kill(self, job: Job) -> None:
        """End the worker now, with all that it has started."""
        ...

    def lingers(self, job: Job) -> bool:
        """Whether the worker of a job that is over has not ended."""
        ...

    def stands_still(self, job: Job) -> bool:
        """Whether the worker was stopped from outside and does not run on."""
        ...


def runner_of(name: str, root: Path) -> Runner:
    """The runner of this name for a workspace."""
    if name == "local":
        return LocalRunner(root)
    module, _, class_name = _PLACES.get(name, ":").partition(":")
    if not module:
        raise ConfigError(f"there is no runner {name!r}; there are local, {', '.join(_PLACES)}")
    return getattr(import_module(module), class_name)(root)


def worker_command(root: Path, key: str) -> list[str]:
    """The command that does a job, on whichever machine."""
    return [sys.executable, "-m", "rmviz.cli", "jobs", "work", key, "--workspace", str(root)]


class LocalRunner:
    """A process group of its own per job, on this machine."""

    def __init__(self, root: Path) -> None:
        """Run jobs of a workspace."""
        self.root = root
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def new_handle(self, job: Job) -> str:
        """Local jobs need none."""
        return ""

    def start(self, job: Job) -> None:
        """Start the worker in a session of its own; what it says goes to its log.

        Raises:
            ConfigError: It wants more GPUs than there are.
        """
        environment = dict(os.environ)
        if (num_gpus := len(gpu_names())) and job.slot >= 0:
            if job.num_processes > num_gpus:
                raise ConfigError(
                    f"num_processes is {job.num_processes}, and this machine has {num_gpus} GPUs; lower it"
                )
            gpus = [(job.slot + i) % num_gpus for i in range(job.num_processes)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        with (job.folder / LOG).open("ab") as log:
            self._children[job.key] = subprocess.Popen(
                worker_command(self.root, job.key), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=environment,
            )  # fmt: skip

    def ended(self, job: Job) -> str | None:
        """By its exit status for a child of this process, else by its lock: the kernel frees it at death."""
        if child := self._children.get(job.key):
            code = child.poll()
            if code is None:
                return None
            del self._children[job.key]
            return exit_words(code) if code else ""
        return None if is_held(job.folder) else "its process is gone: killed, out of memory, or the machine went down"

    def lost(self, job: Job) -> bool:
        """Never: a process that was killed here, perhaps for its memory, would be killed again."""
        return False

    def stop(self, job: Job) -> None:
        """SIGTERM to the whole process group."""
        self._signal(job, signal.SIGTERM)

    def kill(self, job: Job) -> None:
        """SIGKILL to the whole process group."""
        self._signal(job, signal.SIGKILL)

    def lingers(self, job: Job) -> bool:
        """Whether a child of this process has not ended."""
        child = self._children.get(job.key)
        return child is not None and child.poll() is None

    def stands_still(self, job: Job) -> bool:
        """Whether its process is stopped."""
        try:
            return job.host == own_host() and psutil.Process(job.pid).status() == psutil.STATUS_STOPPED
        except (psutil.Error, ValueError):
            return False

    def _signal(self, job: Job, number: signal.Signals) -> None:
        child = self._children.get(job.key)
        pid = child.pid if child else job.pid
        ours = child is not None or (job.host == own_host() and pid > 0 and is_held(job.folder))
        if not ours:
            return
        with contextlib.suppress(ProcessLookupError):
            if child is not None or job.detached:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
