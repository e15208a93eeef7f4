"""Addresses where nobody is: said within five seconds, in the supervisor as a user meets it."""

import socket
import sys
import time

import pytest
from on_ray.cluster import at, free_port, settle, state_of, wait_until

from rmviz.configs.world import WorldDataConfig
from rmviz.jobs import queue
from rmviz.jobs.ray_head import RayHead
from rmviz.jobs.records import read_job
from rmviz.store.workspace import Workspace


@pytest.fixture
def silent():
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def failed_within(space: Workspace, seconds: float) -> str:
    job = queue.launch("world.data", WorldDataConfig(num_pairs=50), space, runner="ray")
    wait_until(lambda: state_of(job) == "failed", seconds)
    settle(space)
    return read_job(job.folder).error


def test_nobody_listens(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    error = failed_within(at(Workspace(tmp_path / "s"), address), 5)
    assert f"no Ray cluster answers at http://{address}" in error and "--ray-address" in error


def test_somebody_listens_and_says_nothing(tmp_path, silent):
    error = failed_within(at(Workspace(tmp_path / "s"), silent), 5)
    assert f"no Ray cluster answers at {silent}" in error


def test_an_address_is_needed(tmp_path, monkeypatch):
    monkeypatch.delenv("RMVIZ_RAY_ADDRESS", raising=False)
    assert "RMVIZ_RAY_ADDRESS" in failed_within(at(Workspace(tmp_path / "s"), ""), 5)


def test_an_address_of_another_kind_is_refused(tmp_path):
    assert "looks like http://host:8265" in failed_within(at(Workspace(tmp_path / "s"), "ray://head:10001"), 5)


def test_the_answer_of_a_silent_head_is_waited_for_in_the_background(silent):
    head = RayHead(silent)
    start = time.monotonic()
    head.watch("one")
    head.stop("one")
    known, ago = head.known("one")
    assert known is None and ago < 1 and time.monotonic() - start < 0.1
    time.sleep(1)
    assert head.known("one")[1] >= 1


def test_without_ray_the_runner_says_what_to_install(tmp_path, monkeypatch):
    from rmviz.errors import ConfigError

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("rmviz.jobs.ray_head.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'rmviz\[ray\]'"):
        RayHead("http://127.0.0.1:1").check()
