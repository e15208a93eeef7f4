"""The Slurm runner on submitit's local executor: success, own errors, cancel, loss, another supervisor."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec

import psutil
import pytest
from on_slurm.fake_slurm import install
from supervised import end_supervisor, supervisors

from rmviz.configs.data import DataConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.errors import ConfigError
from rmviz.jobs import queue
from rmviz.jobs.locks import is_held
from rmviz.jobs.on_slurm import CLUSTER, OPTIONS, SlurmRunner
from rmviz.jobs.records import LOG, STATE, Job, list_jobs, read_job, tail
from rmviz.jobs.settings import QueueSettings, write_settings
from rmviz.jobs.supervisor import FOLDER
from rmviz.store.workspace import Workspace

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slurm,
    pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed: pip install 'rmviz[slurm]'"),
]
LONG = WorldDataConfig(num_pairs=400_000)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv(CLUSTER, "local")
    monkeypatch.delenv(OPTIONS, raising=False)
    space = Workspace(tmp_path / "space")
    yield space
    for job in list_jobs(space):
        if job.active:
            queue.cancel(job, space)
    wait_until(lambda: not any(job.active for job in list_jobs(space)))
    end_supervisor(space)


def wait_until(true, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def running(job: Job) -> bool:
    now = read_job(job.folder)
    assert not now.error, now.error
    return now.state == "running" and now.step > 0


def processes(*words: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if set(words) <= set(p.info["cmdline"] or [])]


def test_a_job_succeeds_with_log_and_progress_in_its_folder(workspace):
    job = queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace, runner="slurm")
    wait_until(lambda: read_job(job.folder).state == "succeeded")
    done = read_job(job.folder)
    assert workspace.resolve(done.artifact).key == job.key and done.share == 1
    assert "50/50" in tail(job.folder / LOG)
    wait_until(lambda: not is_held(workspace.root / FOLDER))


def test_cancel_lets_the_worker_save_and_end(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: read_job(job.folder).state == "cancelled", 5)
    wait_until(lambda: not processes(job.key), 5)


def test_a_worker_that_does_not_listen_is_killed(workspace):
    write_settings(workspace.root, QueueSettings(grace=0.5))
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGSTOP)
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: read_job(job.folder).state == "cancelled", 10)


def test_an_own_error_is_told(workspace, tmp_path):
    job = queue.launch("data.add", DataConfig(source=str(tmp_path / "no.jsonl")), workspace, runner="slurm")
    wait_until(lambda: read_job(job.folder).state == "failed")
    assert "no.jsonl" in read_job(job.folder).error


def test_a_killed_worker_is_noticed(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGKILL)
    wait_until(lambda: read_job(job.folder).state == "failed", 10)
    assert "Resume" in read_job(job.folder).error


def test_a_worker_that_the_cluster_ends_does_not_say_cancelled(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGTERM)
    wait_until(lambda: read_job(job.folder).state == "failed", 10)
    assert "local says ENDED" in read_job(job.folder).error


def test_another_supervisor_finds_the_job_again(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    [supervisor] = supervisors(workspace)
    supervisor.kill()
    wait_until(lambda: not is_held(workspace.root / FOLDER))
    before = read_job(job.folder)
    queue.kick(workspace.root)
    time.sleep(2)
    now = read_job(job.folder)
    assert now.state == "running" and (now.handle, now.pid) == (before.handle, before.pid)
    queue.cancel(now, workspace)
    wait_until(lambda: read_job(job.folder).state == "cancelled", 5)


def test_a_supervisor_that_died_while_submitting_leads_to_one_run(workspace):
    """It dies after the cluster took the job and before its id was written down."""
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    [supervisor] = supervisors(workspace)
    supervisor.kill()
    os.kill(read_job(job.folder).pid, signal.SIGKILL)
    wait_until(lambda: not is_held(job.folder))
    queue_again = """
import os, sys
from pathlib import Path
from dataclasses import replace
from rmviz.jobs.on_slurm import SlurmRunner
from rmviz.jobs.records import keep_launch, read_job, set_state
from submitit.core.utils import JobPaths
JobPaths.move_temporary_file = lambda *_, **__: os._exit(9)
root, folder = Path(sys.argv[1]), Path(sys.argv[2])
runner, job = SlurmRunner(root), read_job(folder)
set_state(folder, job.kind, "queued")
job = replace(job, handle=runner.new_handle(job), retries=0)
keep_launch(job)
runner.start(job)
"""
    done = subprocess.run([sys.executable, "-c", queue_again, str(workspace.root), str(job.folder)])
    assert done.returncode == 9
    lost = read_job(job.folder)
    attempt = str(job.folder / "slurm" / lost.handle.partition("/")[2])
    assert processes("submitit.local._local", attempt)
    queue.kick(workspace.root)
    wait_until(lambda: running(job))
    assert read_job(job.folder).handle != lost.handle and read_job(job.folder).retries == 1
    assert len(processes("rmviz.cli", job.key)) == 1
    for process in processes("submitit.local._local", attempt):  # it would wait a minute for what it is to run
        for one in [*process.children(recursive=True), process]:
            one.kill()


def test_without_slurm_the_job_fails_with_a_sentence(workspace, monkeypatch):
    monkeypatch.setenv(CLUSTER, "slurm")
    monkeypatch.setenv("PATH", "/nowhere")
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: read_job(job.folder).state == "failed", 10)
    assert "srun" in read_job(job.folder).error and CLUSTER in read_job(job.folder).error


def test_slurm_itself_takes_watches_and_cancels_a_job(workspace, monkeypatch, tmp_path):
    install(tmp_path / "bin")
    monkeypatch.setenv(CLUSTER, "slurm")
    monkeypatch.setenv(OPTIONS, '{"slurm_partition": "gpu", "timeout_min": 60}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    short = queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace, runner="slurm")
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: read_job(short.folder).state == "succeeded" and running(job))
    [script] = (job.folder / "slurm").glob("*/*_submission.sh")
    assert "--partition=gpu" in script.read_text() and "--time=60" in script.read_text()
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: read_job(job.folder).state == "cancelled", 5)


def test_a_node_that_slurm_lost_is_made_up_for(workspace, monkeypatch, tmp_path):
    install(tmp_path / "bin")
    monkeypatch.setenv(CLUSTER, "slurm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    job = queue.launch("world.data", LONG, workspace, runner="slurm")
    wait_until(lambda: running(job))
    (tmp_path / "bin" / "101.state").write_text("NODE_FAIL")
    os.kill(read_job(job.folder).pid, signal.SIGKILL)
    wait_until(lambda: running(job) and read_job(job.folder).retries == 1)
    assert "slurm says NODE_FAIL" in tail(job.folder / LOG)


def test_options_are_submitits_and_are_checked(workspace, monkeypatch):
    folder = workspace.job_folder("effects-x")
    folder.mkdir(parents=True)
    (folder / STATE).write_text('{"state": "queued", "kind": "effects"}')
    runner = SlurmRunner(workspace.root)
    job = replace(read_job(folder), handle="local/x")
    for wrong in ("[1]", "not json", '{"gpus": 1}', '{"timeout_min": "long"}'):
        monkeypatch.setenv(OPTIONS, wrong)
        with pytest.raises(ConfigError, match=OPTIONS):
            runner.start(job)


def test_a_lost_node_and_a_lack_of_time_are_tried_again(workspace, monkeypatch):
    said = {"state": "RUNNING"}
    monkeypatch.setattr(SlurmRunner, "_state", lambda self, job: said["state"])
    folder = workspace.job_folder("world.data-x")
    folder.mkdir(parents=True)
    (folder / STATE).write_text('{"state": "running", "kind": "world.data"}')
    runner, job = SlurmRunner(workspace.root), replace(read_job(folder, progress=False), handle="slurm/x")
    assert runner.ended(job) is None
    for state, lost in (("NODE_FAIL", True), ("TIMEOUT", True), ("OUT_OF_MEMORY", False), ("FAILED", False)):
        said["state"] = state
        assert runner.ended(job) == f"slurm says {state}" and runner.lost(job) is lost
    said["state"] = "COMPLETED"
    assert runner.ended(job) == "" and not runner.lost(job)
    (folder / STATE).unlink()
