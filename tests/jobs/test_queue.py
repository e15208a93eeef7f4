"""The queue with real worker processes: launch, double launch, cancel, death, resume, order."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from supervised import end_supervisor, supervisors

from rmviz.configs.data import DataConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.errors import ConfigError, NotFoundError
from rmviz.jobs import queue
from rmviz.jobs.locks import is_held, locked
from rmviz.jobs.records import (
    CONFIG,
    LOG,
    METRICS,
    STATE,
    Job,
    find_job,
    in_places,
    list_jobs,
    queue_of,
    read_job,
    tail,
)
from rmviz.jobs.runners import LocalRunner
from rmviz.jobs.settings import QueueSettings, write_settings
from rmviz.jobs.supervisor import FOLDER, Supervisor
from rmviz.store.workspace import Workspace

pytestmark = pytest.mark.alone


def long(seed: int = 0) -> WorldDataConfig:
    """Minutes of work, so that a test can break it off."""
    return WorldDataConfig(num_pairs=400_000, seed=seed)


@pytest.fixture
def workspace(tmp_path: Path):
    space = Workspace(tmp_path / "space")
    yield space
    for job in list_jobs(space):
        if job.active:
            queue.cancel(job, space)
    wait_until(lambda: not any(job.active for job in list_jobs(space)), 45)
    end_supervisor(space)


def wait_until(true, seconds: float = 45.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def state_of(job) -> str:
    return read_job(job.folder).state


def running(job) -> bool:
    return state_of(job) == "running" and read_job(job.folder).step > 0


def test_a_launched_job_runs_detached_and_leaves_its_artifact_and_no_process(workspace):
    job = queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace)
    assert job.state == "queued"
    wait_until(lambda: state_of(job) == "succeeded")
    done = read_job(job.folder)
    assert workspace.resolve(done.artifact).key == job.key and done.share == 1
    assert "50/50" in tail(job.folder / LOG)
    assert queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace).artifact == done.artifact
    assert len(list_jobs(workspace)) == 1
    wait_until(lambda: not supervisors(workspace) and not is_held(workspace.root / FOLDER))


def test_again_makes_a_second_equal_result(workspace):
    jobs = [queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace, again=True) for _ in range(2)]
    assert jobs[0].key != jobs[1].key
    wait_until(lambda: all(state_of(job) == "succeeded" for job in jobs))
    first, second = (workspace.by_key(job.key) for job in jobs)
    assert first.id != second.id and first.files == second.files


def test_fifty_launches_at_once_are_one_run(workspace):
    config = long()
    with ThreadPoolExecutor(50) as pool:
        jobs = list(pool.map(lambda _: queue.launch("world.data", config, workspace), range(50)))
    assert len({job.key for job in jobs}) == 1
    wait_until(lambda: running(jobs[0]))
    workers = [p for p in psutil.process_iter(["cmdline"]) if jobs[0].key in (p.info["cmdline"] or [])]
    assert len(workers) == 1
    assert queue.launch("world.data", config, workspace).state == "running"


def test_one_runs_the_others_wait_in_their_order(workspace):
    jobs = [queue.launch("world.data", long(seed), workspace) for seed in range(4)]
    wait_until(lambda: running(jobs[0]))
    waiting = queue_of(list_jobs(workspace))
    assert [job.key for job in waiting] == [job.key for job in jobs[1:]]
    queue.move(jobs[3], workspace, -2)
    queue.cancel(jobs[1], workspace)
    assert [job.key for job in queue_of(list_jobs(workspace))] == [jobs[3].key, jobs[2].key]
    with pytest.raises(ConfigError, match="does not wait"):
        queue.move(jobs[0], workspace, 1)
    start = time.monotonic()
    queue.cancel(jobs[0], workspace)
    wait_until(lambda: state_of(jobs[0]) == "cancelled", 5)
    assert time.monotonic() - start < 5
    wait_until(lambda: running(jobs[3]))
    assert state_of(jobs[2]) == "queued"


def test_more_slots_run_more_at_once(workspace):
    write_settings(workspace.root, QueueSettings(slots=2))
    jobs = [queue.launch("world.data", long(seed), workspace) for seed in range(3)]
    wait_until(lambda: running(jobs[0]) and running(jobs[1]))
    assert state_of(jobs[2]) == "queued"


def test_a_killed_worker_is_noticed_and_resumed(workspace):
    job = queue.launch("world.data", long(), workspace)
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGKILL)
    wait_until(lambda: state_of(job) == "failed", 20)
    wait_until(lambda: "killed" in read_job(job.folder).error, 10)
    assert "Resume" in read_job(job.folder).error
    queue.resume(read_job(job.folder), workspace)
    wait_until(lambda: running(job))


def test_a_worker_that_stands_still_is_ended_and_says_so(workspace):
    job = queue.launch("world.data", long(), workspace)
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGSTOP)
    wait_until(lambda: "SIGSTOP" in read_job(job.folder).error, 30)
    assert state_of(job) == "failed"


def test_a_worker_that_ignores_the_request_is_killed_after_the_grace_time(workspace):
    write_settings(workspace.root, QueueSettings(grace=0.5))
    job = queue.launch("world.data", long(), workspace)
    wait_until(lambda: running(job))
    os.kill(read_job(job.folder).pid, signal.SIGSTOP)  # a stopped process does not hear SIGTERM
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: state_of(job) == "cancelled", 5)


def test_jobs_outlive_the_app_that_launched_them(workspace):
    code = """
import sys, time
from rmviz.configs.world import WorldDataConfig
from rmviz.jobs import queue
from rmviz.store.workspace import Workspace
print(queue.launch("world.data", WorldDataConfig(num_pairs=300), Workspace(sys.argv[1])).key, flush=True)
time.sleep(60)
"""
    app = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    assert app.stdout
    key = app.stdout.readline().strip()
    app.kill()
    app.wait()
    app.stdout.close()
    wait_until(lambda: read_job(workspace.job_folder(key)).state == "succeeded")


def test_jobs_outlive_their_supervisor(workspace):
    jobs = [queue.launch("world.data", long(seed), workspace) for seed in range(2)]
    wait_until(lambda: running(jobs[0]))
    [supervisor] = supervisors(workspace)
    supervisor.kill()
    wait_until(lambda: not is_held(workspace.root / FOLDER))
    assert running(jobs[0])
    queue.cancel(read_job(jobs[0].folder), workspace)  # starts another supervisor, which adopts the running job
    wait_until(lambda: state_of(jobs[0]) == "cancelled", 8)
    wait_until(lambda: running(jobs[1]))


def test_death_is_seen_without_any_supervisor(workspace):
    folder = workspace.job_folder("world.data-dead")
    with locked(folder):
        (folder / CONFIG).write_text(json.dumps({"kind": "world.data"}))
        (folder / STATE).write_text(
            json.dumps({"state": "running", "kind": "world.data", "host": os.uname().nodename, "pid": 1})
        )
        assert read_job(folder).state == "running"
    assert read_job(folder).state == "failed" and "Resume" in read_job(folder).error


def test_a_zombie_does_not_run(tmp_path):
    code = """
import sys, time
from pathlib import Path
from rmviz.jobs.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"held\n" and is_held(tmp_path)
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not is_held(tmp_path)
    child.wait()
    child.stdout.close()


def test_retry_begins_anew(workspace):
    job = queue.launch("world.data", long(), workspace)
    wait_until(lambda: running(job))
    with pytest.raises(ConfigError, match="cancel it first"):
        queue.retry(read_job(job.folder), workspace)
    queue.cancel(job, workspace)
    wait_until(lambda: state_of(job) == "cancelled")
    (job.folder / "checkpoints").mkdir(exist_ok=True)
    (job.folder / "checkpoints" / "old").touch()
    queue.retry(read_job(job.folder), workspace)
    assert not (job.folder / "checkpoints" / "old").exists()


def test_a_failed_job_says_why(workspace, tmp_path):
    job = queue.launch("data.add", DataConfig(source=str(tmp_path / "no.jsonl")), workspace)
    wait_until(lambda: state_of(job) == "failed")
    error = read_job(job.folder).error
    assert "no.jsonl" in error and "Traceback" not in tail(job.folder / LOG)


def test_nothing_is_launched_on_parents_that_are_not_there(workspace):
    from rmviz.configs.effects import FeaturesConfig

    with pytest.raises(NotFoundError, match="no effects called"):
        queue.launch("features", FeaturesConfig(effects="effects-gone"), workspace)
    assert list_jobs(workspace) == []


def test_the_catalogue_may_vanish_while_jobs_run(workspace):
    job = queue.launch("world.data", WorldDataConfig(num_pairs=3000), workspace)
    for _ in range(20):
        for file in workspace.root.glob("catalogue.sqlite*"):
            file.unlink(missing_ok=True)
        time.sleep(0.1)
    (workspace.root / "catalogue.sqlite").write_bytes(b"not a database" * 100)
    wait_until(lambda: state_of(job) == "succeeded", 30)
    assert workspace.by_key(job.key).id == read_job(job.folder).artifact


def test_finding_a_job_by_key_prefix_and_name(workspace):
    job = queue.launch("world.data", WorldDataConfig(num_pairs=50, name="mine"), workspace)
    assert {find_job(workspace, ref).key for ref in (job.key, job.key[:14], "mine")} == {job.key}
    with pytest.raises(NotFoundError, match="no job called"):
        find_job(workspace, "other")
    wait_until(lambda: state_of(job) == "succeeded")


def test_a_long_log_and_many_metrics_are_read_from_their_ends(workspace):
    folder = workspace.job_folder("world.data-long")
    folder.mkdir(parents=True)
    (folder / STATE).write_text(json.dumps({"state": "succeeded", "kind": "world.data"}))
    with (folder / LOG).open("wb") as file:
        file.truncate(100 * 2**20)
        file.seek(0, 2)
        file.write(b"\nlast line\n")
    (folder / METRICS).write_text("".join(json.dumps({"step": i, "total": 5000}) + "\n" for i in range(5000)))
    start = time.process_time()
    assert tail(folder / LOG).endswith("last line\n") and read_job(folder).step == 4999
    assert time.process_time() - start < 0.1


def test_a_thousand_ended_jobs_are_listed_fast(workspace):
    for number in range(1000):
        folder = workspace.job_folder(f"world.data-{number:04d}")
        folder.mkdir(parents=True)
        (folder / STATE).write_text(json.dumps({"state": "succeeded", "kind": "world.data", "time": number}))
    assert len(list_jobs(workspace)) == 1000
    start = time.process_time()
    list_jobs(workspace)
    assert time.process_time() - start < 0.1


def test_readers_never_keep_a_launch_from_its_lock(workspace):
    folder = workspace.job_folder("x-y")
    folder.mkdir(parents=True)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_held(folder)

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(50):
            with locked(folder) as alone:
                assert alone
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_a_job_of_several_gpus_takes_as_many_places_and_is_not_overtaken(tmp_path, monkeypatch):
    monkeypatch.setattr("rmviz.jobs.supervisor.gpu_names", lambda: ("a", "b", "c", "d"))
    supervisor = Supervisor(Workspace(tmp_path))
    supervisor.settings = QueueSettings(slots=4)

    def job(key: str, wanted: int, state: str = "queued", slot: int = -1) -> Job:
        return Job(
            key=key, kind="train.reward", state=state, folder=tmp_path, slot=slot, config={"num_processes": wanted}
        )

    running = [job("x", 2, "running", 1)]
    assert supervisor._free_slot(job("one", 1), running) == 0
    assert supervisor._free_slot(job("two", 2), running) is None  # 0 and 3 are free, and not side by side
    assert supervisor._free_slot(job("two", 2), [job("x", 2, "running", 0)]) == 2
    assert supervisor._free_slot(job("all", 9), []) == 0 and supervisor._free_slot(job("all", 9), running) is None
    started = []
    monkeypatch.setattr(supervisor, "_start_if_room", lambda job, jobs: started.append(job.key) or job.key != "two")
    waiting = [replace(job(key, 1), order=i) for i, key in enumerate(("one", "two", "three"))]
    monkeypatch.setattr("rmviz.jobs.supervisor._own_jobs", lambda workspace: waiting)
    supervisor.tick()
    assert started == ["one", "two"]


def test_jobs_of_one_process_take_the_place_of_the_one_it_was_started_for(tmp_path, monkeypatch):
    monkeypatch.setattr("rmviz.jobs.supervisor.gpu_names", lambda: ("a", "b", "c", "d"))
    supervisor = Supervisor(Workspace(tmp_path))
    supervisor.settings = QueueSettings(slots=4)

    def job(key: str, pid: int, slot: int, *, wanted: int = 1, runner: str = "local") -> Job:
        return Job(
            key=key, kind="recipe", state="running", folder=tmp_path, pid=pid, slot=slot, runner=runner, detached=slot >= 0,
            config={"num_processes": wanted},
        )  # fmt: skip

    recipe, step, other = job("recipe", 7, 1), job("step", 7, -1, wanted=3), job("other", 8, 0)
    on_ray, its_step = job("on ray", 9, 0, runner="ray"), job("its step", 9, -1)
    for jobs in ([recipe, step], [step, recipe], [on_ray, step, its_step, recipe]):
        assert in_places(jobs) == [recipe]
        waiting = replace(other, key="waiting", state="queued", config={"num_processes": 2})
        assert supervisor._free_slot(waiting, jobs) == 2
    assert in_places([step, recipe, other, replace(other, key="queued", pid=10, state="queued")]) == [recipe, other]
    assert in_places([job("by hand", 7, -1), step]) == [step]


def test_each_process_gets_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("rmviz.jobs.runners.gpu_names", lambda: ("a", "b"))
    monkeypatch.setattr(
        "rmviz.jobs.runners.worker_command", lambda root, key: ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    )
    runner = LocalRunner(tmp_path)
    wanted = Job(key="x", kind="train.reward", state="queued", folder=tmp_path, slot=0, config={"num_processes": 2})
    runner.start(wanted)
    wait_until(lambda: runner.ended(wanted) is not None)
    assert (tmp_path / LOG).read_text() == "0,1\n"
    with pytest.raises(ConfigError, match="num_processes is 3, and this machine has 2 GPUs"):
        runner.start(replace(wanted, config={"num_processes": 3}))
