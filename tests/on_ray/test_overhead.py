"""What sharding on Ray costs against the local run on as many cores, from launch to result, all starts included."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from on_ray.cluster import Cluster, scan_workspace, settle, state_of, wait_until

from rmviz.configs.effects import EffectsConfig
from rmviz.jobs import queue
from rmviz.jobs.records import read_job
from rmviz.jobs.settings import QueueSettings, write_settings
from rmviz.store.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CONFIG = EffectsConfig(sae="sae", dataset="data", split="all", num_resamples=50)
NUM_PAIRS = int(os.environ.get("RMVIZ_BENCH_PAIRS", "1000"))


def seconds(root: Path, folder: Path, runner: str, address: str = "", halves: int = 1) -> float:
    """From launch to the last result; in halves: as many jobs side by side, which share the pairs."""
    shutil.copytree(root, folder)
    space = Workspace(folder)
    write_settings(folder, QueueSettings(ray_address=address, slots=halves))
    configs = [replace(CONFIG, num_pairs=NUM_PAIRS // halves, seed=seed) for seed in range(halves)]
    start = time.monotonic()
    jobs = [queue.launch("effects", config, space, runner=runner) for config in configs]
    wait_until(lambda: not any(read_job(job.folder).active for job in jobs), 900)
    took = time.monotonic() - start
    assert {state_of(job) for job in jobs} == {"succeeded"}
    settle(space)
    return took


def test_the_overhead_of_sharding_is_under_a_tenth(tmp_path, monkeypatch):
    root = scan_workspace(tmp_path / "base", num_pairs=NUM_PAIRS, width=192, longest=40).root
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures: dict[str, float] = {"texts": 2 * NUM_PAIRS, "load": psutil.getloadavg()[0]}
    figures["local_1_core_s"] = seconds(root, tmp_path / "local1", "local")
    cluster = Cluster()
    try:
        figures["ray_1_node_s"] = seconds(root, tmp_path / "ray1", "ray", cluster.address)
        cluster.add_node()
        figures["ray_2_nodes_s"] = seconds(root, tmp_path / "ray2", "ray", cluster.address)
    finally:
        cluster.end()
    figures["local_2_cores_s"] = seconds(root, tmp_path / "local2", "local", halves=2)
    figures["overhead_1"] = figures["ray_1_node_s"] / figures["local_1_core_s"] - 1
    figures["overhead_2"] = figures["ray_2_nodes_s"] / figures["local_2_cores_s"] - 1
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in figures.items()}) + "\n")
    assert max(figures["overhead_1"], figures["overhead_2"]) < 0.1
