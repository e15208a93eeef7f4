"""Jobs on a Ray cluster: the same worker command, through Ray's Jobs API. The workspace is on a disk that all machines share.

Ray kills a job 3 s after a stop unless told otherwise, retries nothing, and its jobs die with its head: the environment
of each job gives it 30 s, a job whose process or machine was lost is submitted again by the supervisor, and what the
job's folder says counts more than what Ray says.
"""

import os
import secrets
import shlex
import time
from pathlib import Path

from rmviz.configs.needs import needs_of
from rmviz.jobs.ray_head import NOT_TAKEN, Known, RayHead
from rmviz.jobs.records import LOG, VITALS, Job
from rmviz.jobs.run import RUNNER
from rmviz.jobs.runners import worker_command
from rmviz.jobs.settings import read_settings
from rmviz.jobs.shards import CPUS, GPUS, WHERE

STOP_WAIT = 30
"""Seconds that Ray gives a stopped job to save and end."""

PATIENCE = 30.0
"""Seconds without an answer from the head after which its jobs count as lost; RMVIZ_RAY_PATIENCE sets another number."""

_RECENT = 60.0
_OWN_ERRORS = (NOT_TAKEN, "RUNTIME_ENV_SETUP_FAILURE", "JOB_ENTRYPOINT_COMMAND_START_ERROR")


class RayRunner:
    """A submission per attempt; its id is the job's handle, so another supervisor finds it again."""

    def __init__(self, root: Path) -> None:
        """Run jobs of a workspace; its settings, or RMVIZ_RAY_ADDRESS, say where Ray is."""
        self.root = root
        self._heads: dict[str, RayHead] = {}

    def new_handle(self, job: Job) -> str:
        """Where the next attempt is submitted, and under which id."""
        return f"{read_settings(self.root).address}#{job.key}-{secrets.token_hex(4)}"

    def start(self, job: Job) -> None:
        """Submit the worker; what it says goes to the job's log.

        Raises:
            ConfigError: Ray is not installed, not there, or refuses; within 5 seconds.
        """
        head, submission_id = self._place(job)
        head.check()
        threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        needs = needs_of(job.kind)
        gpus = float(job.num_processes) if needs.model and head.gpus() else 0.0
        environment = {name: value for name, value in os.environ.items() if name.startswith("RMVIZ_")} | {
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT),
            "OMP_NUM_THREADS": str(threads),
            RUNNER: "ray",
            WHERE: "ray",
            CPUS: str(threads),
            GPUS: str(gpus),
        }
        head.submit(
            submission_id,
            f"exec {shlex.join(worker_command(self.root, job.key))} >> {shlex.quote(str(job.folder / LOG))} 2>&1",
            runtime_env={"env_vars": environment},
            entrypoint_num_cpus=0 if needs.sharded else threads * job.num_processes,
            entrypoint_num_gpus=0 if needs.sharded else gpus,
            metadata={"rmviz_job": job.key},
        )

    def ended(self, job: Job) -> str | None:
        """As Ray says; where its head is silent for long, and the job's folder too, the job is lost."""
        if not job.handle:
            return "its Ray job is not known any more"
        known, ago = self._known(job)
        if known is not None and known.over:
            return _words(known)
        if ago <= _patience() or _age(job.folder / VITALS) <= _patience():
            return None
        return f"Ray at {self._place(job)[0].address} has not answered for {ago:.0f} s"

    def lost(self, job: Job) -> bool:
        """Whether its process, its machine or Ray's memory of it went, while Ray is there to take it again."""
        known, _ = self._known(job)
        if known is None or not known.over or known.error_type in _OWN_ERRORS:
            return False
        if known.status == "UNKNOWN":
            return True
        if known.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR":
            return known.exit_code is None or not 0 <= known.exit_code < 128
        return known.status == "FAILED"

    def stop(self, job: Job) -> None:
        """SIGTERM, through Ray."""
        if job.handle:
            head, submission_id = self._place(job)
            head.stop(submission_id)

    def kill(self, job: Job) -> None:
        """Ray kills it itself, 30 s after the stop."""
        self.stop(job)

    def lingers(self, job: Job) -> bool:
        """Whether Ray still runs a job that said a moment ago how it ended."""
        if not job.handle:
            return False
        head, submission_id = self._place(job)
        old = time.time() - job.changed > _RECENT
        if old and not head.watches(submission_id):
            return False
        known, ago = self._known(job)
        over = ago > _patience() or (known is not None and known.over)
        if over and old:
            head.forget(submission_id)
        return not over

    def stands_still(self, job: Job) -> bool:
        """Not seen from here."""
        return False

    def _known(self, job: Job) -> tuple[Known | None, float]:
        head, submission_id = self._place(job)
        head.watch(submission_id)
        return head.known(submission_id)

    def _place(self, job: Job) -> tuple[RayHead, str]:
        """The cluster that a job was given to, whatever the settings say now, and its id there."""
        address, _, submission_id = job.handle.rpartition("#")
        if address not in self._heads:
            self._heads[address] = RayHead(address)
        return self._heads[address], submission_id


def _patience() -> float:
    return float(os.environ.get("RMVIZ_RAY_PATIENCE") or PATIENCE)


def _words(known: Known) -> str:
    """How a Ray job ended."""
    if known.status == "SUCCEEDED":
        return ""
    if known.status == "UNKNOWN":
        return "Ray does not know this job: its head was started anew"
    reason = " ".join(known.message.partition(", last available logs")[0].split())[:300]
    return f"Ray says {known.status.lower()}: {reason}" if reason else f"Ray says {known.status.lower()}"


def _age(path: Path) -> float:
    """Seconds since a file was written; infinite where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
