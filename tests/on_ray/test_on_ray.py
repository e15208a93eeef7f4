"""The Ray runner on a real head: success, cancel, own errors, lost workers, a head started anew."""

import os
import signal
import time
from dataclasses import replace

import psutil
from on_ray.cluster import state_of, wait_until

from rmviz.configs.data import DataConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.jobs import queue
from rmviz.jobs.records import LOG, read_job, set_state, tail
from rmviz.jobs.runners import runner_of

LONG = WorldDataConfig(num_pairs=400_000)


def running(job) -> bool:
    now = read_job(job.folder)
    assert now.died or not now.error, now.error
    return now.state == "running" and now.step > 0


def test_a_job_succeeds_with_log_and_progress_in_its_folder(workspace):
    job = queue.launch("world.data", WorldDataConfig(num_pairs=50), workspace, runner="ray")
    wait_until(lambda: state_of(job) == "succeeded")
    done = read_job(job.folder)
    assert workspace.resolve(done.artifact).key == job.key and done.share == 1
    assert "50/50" in tail(job.folder / LOG)
    assert done.runner == "ray" and job.key in done.handle


def test_cancel_is_shown_within_five_seconds(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="ray")
    wait_until(lambda: running(job))
    queue.cancel(read_job(job.folder), workspace)
    wait_until(lambda: state_of(job) == "cancelled", 5)


def test_an_own_error_is_told_and_not_tried_again(workspace, tmp_path):
    job = queue.launch("data.add", DataConfig(source=str(tmp_path / "no.jsonl")), workspace, runner="ray")
    wait_until(lambda: state_of(job) == "failed")
    time.sleep(3)
    now = read_job(job.folder)
    assert now.state == "failed" and "no.jsonl" in now.error and now.retries == 0


def test_a_lost_worker_is_submitted_again_at_most_three_times(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="ray")
    for _ in range(4):
        wait_until(lambda: running(job))
        os.kill(pid := read_job(job.folder).pid, signal.SIGKILL)
        wait_until(lambda: read_job(job.folder).pid != pid or "Ray says failed" in read_job(job.folder).error)
    wait_until(lambda: "Ray says failed" in read_job(job.folder).error)
    assert "submitted again, 3 of 3" in tail(job.folder / LOG)


def test_a_submission_that_its_supervisor_did_not_live_to_see_is_found_again(workspace):
    job = queue.launch("world.data", LONG, workspace, runner="ray")
    wait_until(lambda: running(job))
    [supervisor] = [
        p
        for p in psutil.process_iter(["cmdline"])
        if {"rmviz.jobs.supervisor", str(workspace.root)} <= set(p.info["cmdline"] or [])
    ]
    supervisor.kill()
    before = read_job(job.folder)
    set_state(job.folder, job.kind, "queued")  # as it was between submitting and starting
    queue.kick(workspace.root)
    time.sleep(4)
    assert read_job(job.folder).handle == before.handle
    assert len(workers(job)) == 1


def test_two_submissions_of_one_job_are_one_run(cluster, workspace):
    cluster.add_node()  # so that the second does not wait for the CPU of the first
    job = queue.launch("world.data", LONG, workspace, runner="ray")
    wait_until(lambda: running(job))
    first = read_job(job.folder)
    runner = runner_of("ray", workspace.root)
    runner.start(second := replace(first, handle=runner.new_handle(first)))
    wait_until(lambda: runner.ended(second) is not None)
    assert running(job) and [p.pid for p in workers(job)] == [first.pid]
    assert "running already" in tail(job.folder / LOG)


def workers(job) -> list[psutil.Process]:
    words = {job.key, str(job.folder.parents[1])}
    return [p for p in psutil.process_iter(["cmdline"]) if words <= set(p.info["cmdline"] or [])]


def test_the_head_that_is_started_anew_gets_its_jobs_again(cluster, workspace):
    job = queue.launch("world.data", LONG, workspace, runner="ray")
    wait_until(lambda: running(job))
    cluster.stop()
    cluster.start_head()
    wait_until(lambda: running(job) and read_job(job.folder).retries == 1)
