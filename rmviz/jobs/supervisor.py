"""The process that starts queued jobs, ends cancelled ones and notices dead ones; one per workspace, while there is work.

It holds nothing that the files do not say: killed and started again, it goes on. Jobs do not depend on it.
"""

import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from rmviz.errors import RmvizError
from rmviz.jobs.locks import is_held, locked
from rmviz.jobs.records import CANCEL, DIED, LOG, Job, in_places, keep_launch, list_jobs, queue_of, read_job, set_state
from rmviz.jobs.runners import Runner, runner_of
from rmviz.jobs.settings import QueueSettings, gpu_names, read_settings
from rmviz.store.workspace import Workspace, writing

FOLDER = "jobs/.supervisor"
TICK = 0.25
_IDLE_TICKS = 8
_LINGER, _STILL = 10.0, 8.0
MOST_RETRIES = 3
"""How often a job is submitted again whose process or machine was lost."""

_log = logging.getLogger(__name__)
_children: "list[subprocess.Popen[bytes]]" = []


def kick(root: Path) -> None:
    """See that a supervisor runs for a workspace, if there is work for one."""
    _children[:] = [child for child in _children if child.poll() is None]  # collects the ended ones
    if is_held(root / FOLDER):
        return
    with writing(root):
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        with (root / FOLDER / LOG).open("ab") as log:
            command = [sys.executable, "-m", "rmviz.jobs.supervisor", str(root)]
            _children.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            )


def wake(root: Path) -> None:
    """Start a supervisor where jobs wait and none looks after them: after a reboot, say."""
    if any(job.active or job.died for job in _own_jobs(Workspace(root))):
        kick(root)


def _own_jobs(workspace: Workspace) -> list[Job]:
    return [job for job in list_jobs(workspace) if not job.elsewhere]


def supervise(root: Path) -> None:
    """Look after a workspace's jobs until there is none left; returns at once where another process does so."""
    while True:
        with locked(root / FOLDER, wait=0.2) as alone:
            if not alone:
                return
            Supervisor(Workspace(root)).run()
        if not any(job.active for job in _own_jobs(Workspace(root))):  # one may have come as the lock was let go
            return


class Supervisor:
    """One look after another at all jobs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        """Look after a workspace's jobs."""
        self.workspace = workspace
        self.settings: QueueSettings = read_settings(workspace.root)
        self._runners: dict[str, Runner] = {}
        self._starting: dict[str, Job] = {}
        self._asked: dict[str, float] = {}
        self._stopped: dict[str, float] = {}

    def run(self) -> None:
        """Tick until nothing waits or runs."""
        idle = 0
        while idle < _IDLE_TICKS:
            try:
                idle = 0 if self.tick() else idle + 1
            except OSError:
                _log.exception("a look at the jobs failed")
                idle += 1
            time.sleep(TICK)

    def tick(self) -> bool:
        """One look; whether anything waits or runs."""
        self.settings = read_settings(self.workspace.root)
        jobs = _own_jobs(self.workspace)
        for job in jobs:
            if job.died:
                self._end(job, self._last_words(job))
            elif job.state == "running" or job.key in self._starting or (job.state == "queued" and job.handle):
                self._watch(job)
            elif not job.active:
                self._bury(job)
        jobs = _own_jobs(self.workspace)
        room = True  # where the first has none, a later one that needs less does not overtake it
        for job in queue_of(jobs):
            if job.key not in self._starting and not job.handle and (room or job.runner != "local"):
                room = self._start_if_room(job, jobs) and room
        return any(job.active for job in jobs) or bool(self._starting or self._asked)

    def _last_words(self, job: Job) -> str:
        """How a dead job's process ended, as far as its runner knows."""
        words = self._runner(job).ended(job)
        return f"{words}. Resume goes on from the last checkpoint" if words else DIED

    def _watch(self, job: Job) -> None:
        """Notice that a job has ended or stands still; end it if that was asked for."""
        runner = self._runner(job)
        ended = runner.ended(job)
        if ended is not None:
            self._end(job, f"{ended or 'its process ended too soon'}. Resume goes on from the last checkpoint")
            return
        if job.state == "running":
            self._starting.pop(job.key, None)
        now = time.monotonic()
        if job.cancelling:
            first = self._asked.setdefault(job.key, now)
            if first == now:
                runner.stop(job)
            elif now - first > self.settings.grace:
                runner.kill(job)
        elif runner.stands_still(job):
            if now - self._stopped.setdefault(job.key, now) > _STILL:
                runner.kill(job)
        else:
            self._stopped.pop(job.key, None)

    def _bury(self, job: Job) -> None:
        """A process that has left its result, or its error, and does not end is ended: some hang at exit."""
        if job.runner in self._runners and self._runners[job.runner].lingers(job):
            if time.monotonic() - self._asked.setdefault(job.key, time.monotonic()) > _LINGER:
                self._runners[job.runner].kill(job)
        else:
            self._asked.pop(job.key, None)

    def _end(self, job: Job, words: str) -> None:
        """Write down the end of a job that could not do so itself."""
        still = self._stopped.pop(job.key, None)
        self._asked.pop(job.key, None)
        self._starting.pop(job.key, None)
        with locked(job.folder, wait=0.2) as alone:
            if not alone:
                return
            known = read_job(job.folder, progress=False)
            if known.active:
                if (job.folder / CANCEL).exists():
                    set_state(job.folder, job.kind, "cancelled")
                elif known.retries < MOST_RETRIES and self._runner(known).lost(known):
                    self._again(known, words)
                    return
                elif still is not None:
                    set_state(job.folder, job.kind, "failed", error="its process stood still (SIGSTOP) and was ended")
                else:
                    set_state(job.folder, job.kind, "failed", error=words)
            (job.folder / CANCEL).unlink(missing_ok=True)
            if known.handle:
                keep_launch(replace(known, handle=""))

    def _again(self, job: Job, words: str) -> None:
        """Put a job that was lost back into its place in the queue; the caller holds its lock."""
        with (job.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{words}; submitted again, {job.retries + 1} of {MOST_RETRIES}\n")
        set_state(job.folder, job.kind, "queued")
        keep_launch(replace(job, handle="", retries=job.retries + 1))

    def _start_if_room(self, job: Job, jobs: list[Job]) -> bool:
        """Whether there was room; what could not be started has failed."""
        runner = self._runner(job)
        slot = self._free_slot(job, jobs) if job.runner == "local" else -1
        if slot is None:
            return False
        job = replace(job, slot=slot, handle=runner.new_handle(job))
        with locked(job.folder) as alone:
            if not alone or read_job(job.folder, progress=False).state != "queued":
                return True
            keep_launch(job)
        try:
            runner.start(job)
        except (RmvizError, OSError) as error:
            with locked(job.folder):
                set_state(job.folder, job.kind, "failed", error=str(error))
                keep_launch(replace(job, handle=""))
            return True
        self._starting[job.key] = job
        return True

    def _free_slot(self, job: Job, jobs: list[Job]) -> int | None:
        """The first of the places side by side that a job takes on this machine; None while there are none."""
        num_slots = self.settings.num_slots
        busy = [one for one in self._starting.values() if one.runner == "local"]
        busy += in_places(one for one in jobs if one.key not in self._starting)
        taken = {slot for one in busy for slot in range(one.slot, one.slot + _width(one, num_slots))}
        width = _width(job, num_slots)
        if sum(_width(one, num_slots) for one in busy) + width > num_slots:
            return None
        fits = (slot for slot in range(num_slots - width + 1) if taken.isdisjoint(range(slot, slot + width)))
        return next(fits, None)

    def _runner(self, job: Job) -> Runner:
        if job.runner not in self._runners:
            self._runners[job.runner] = runner_of(job.runner, self.workspace.root)
        return self._runners[job.runner]


def _width(job: Job, num_slots: int) -> int:
    """Places of this machine that a job takes: one per GPU that it asks for."""
    return min(job.num_processes if gpu_names() else 1, num_slots)


def main() -> None:
    """`python -m rmviz.jobs.supervisor WORKSPACE`."""
    logging.basicConfig(
        level=os.environ.get("RMVIZ_LOG", "INFO").upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    supervise(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
