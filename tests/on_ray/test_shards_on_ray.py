"""An effects job on two nodes: equal to the local one to the byte, whatever is lost on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from on_ray.cluster import Cluster, at, scan_workspace, settle, state_of, wait_until

from rmviz.configs.effects import EffectsConfig
from rmviz.jobs import queue
from rmviz.jobs.records import LOG, Job, read_job, tail
from rmviz.store.workspace import Workspace

CONFIG = EffectsConfig(sae="sae", dataset="data", split="all", num_pairs=0, shard_size=16, num_resamples=50)
PAIRS = 120


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return scan_workspace(tmp_path_factory.mktemp("base"), num_pairs=PAIRS, width=192, longest=40).root


@pytest.fixture(scope="module")
def local(base, tmp_path_factory) -> dict[str, bytes]:
    """What the same job leaves on this machine, with as many threads as a task has."""
    root = tmp_path_factory.mktemp("local") / "space"
    shutil.copytree(base, root)
    code = (
        "import sys; from rmviz.worker import execute; from rmviz.store.workspace import Workspace\n"
        f"execute('effects', {dict(sae='sae', dataset='data', split='all', num_pairs=0, shard_size=16, num_resamples=50)!r},"
        " Workspace(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return content(Workspace(root))


def content(space: Workspace) -> dict[str, bytes]:
    artifact = space.list("effects")[0]
    return {name: artifact.path(name).read_bytes() for name in artifact.files}


@pytest.fixture
def cluster():
    made = Cluster()
    try:
        made.add_node()
        yield made
    finally:
        made.end()


@pytest.fixture
def workspace(base, cluster, tmp_path):
    shutil.copytree(base, tmp_path / "space")
    space = at(Workspace(tmp_path / "space"), cluster.address)
    yield space
    settle(space)


def shards(job: Job) -> list[str]:
    return sorted(path.name for path in (job.folder / "checkpoints").glob("shard-?????"))


def scanning(job: Job) -> None:
    def some() -> bool:
        assert read_job(job.folder).active, (read_job(job.folder).error, tail(job.folder / LOG))
        return len(shards(job)) >= 4

    wait_until(some, 90)


def finished(job: Job, space: Workspace) -> dict[str, bytes]:
    wait_until(lambda: not read_job(job.folder).active, 180)
    assert state_of(job) == "succeeded", (read_job(job.folder).error, tail(job.folder / LOG))
    return content(space)


def test_equal_to_the_local_run_when_a_node_is_lost_in_mid_scan(workspace, cluster, local):
    job = queue.launch("effects", CONFIG, workspace, runner="ray")
    scanning(job)
    cluster.nodes.pop().kill()
    assert finished(job, workspace) == local
    assert read_job(job.folder).retries == 0


def test_equal_to_the_local_run_when_a_task_is_killed(workspace, local):
    job = queue.launch("effects", CONFIG, workspace, runner="ray")
    scanning(job)
    [victim, *_] = [p for p in psutil.process_iter() if "ray::rmviz.shard" in " ".join(_command(p))]
    victim.send_signal(signal.SIGKILL)
    assert finished(job, workspace) == local


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_driver_that_is_killed_is_submitted_again_and_keeps_its_shards(workspace, local):
    job = queue.launch("effects", CONFIG, workspace, runner="ray")
    scanning(job)
    os.kill(read_job(job.folder).pid, signal.SIGKILL)
    assert finished(job, workspace) == local
    assert read_job(job.folder).retries == 1


def test_cancelled_in_mid_scan(workspace):
    job = queue.launch("effects", CONFIG, workspace, runner="ray")
    scanning(job)
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: state_of(job) == "cancelled", 5)
    time.sleep(2)
    done = len(shards(job))
    time.sleep(3)
    assert len(shards(job)) == done


def test_the_head_is_lost_and_the_job_goes_on_here(workspace, cluster, local, monkeypatch):
    monkeypatch.setenv("RMVIZ_RAY_PATIENCE", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job = queue.launch("effects", CONFIG, workspace, runner="ray")
    scanning(job)
    cluster.stop()
    wait_until(lambda: state_of(job) == "failed", 20)
    wait_until(lambda: "has not answered" in read_job(job.folder).error, 30)
    kept = {name: (job.folder / "checkpoints" / name).stat().st_ino for name in shards(job)}
    queue.resume(read_job(job.folder), workspace, runner="local")
    wait_until(lambda: len(shards(job)) > len(kept), 60)
    now = {name: (job.folder / "checkpoints" / name).stat().st_ino for name in kept}
    assert now == kept
    assert finished(job, workspace) == local
