"""Estimates against sizes that are known, and against the job itself."""

import json
import shutil
import time
from pathlib import Path

import psutil
import pytest

from rmviz.configs.effects import FeaturesConfig
from rmviz.configs.models import RewardConfig
from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
from rmviz.errors import RmvizError
from rmviz.jobs.estimate import estimated, probe
from rmviz.jobs.rehearsal import rehearse
from rmviz.jobs.run import run_job
from rmviz.store.workspace import Workspace
from rmviz.worker import task_of

pytestmark = pytest.mark.alone


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "space")


def big_model(folder: Path, size: int) -> str:
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(size)  # a hole: it takes no disk
    return str(folder)


def test_training_holds_the_weights_four_times(workspace, tmp_path):
    sizes = [2**20, 2**28]
    found = [
        estimated("train.reward", RewardConfig(dataset="d", base=big_model(tmp_path / f"m{size}", size)), workspace)
        for size in sizes
    ]
    memory = [one.memory or 0 for one in found]
    assert memory[1] - memory[0] == 4 * (sizes[1] - sizes[0])
    assert found[1].disk == 5 * sizes[1] and found[0].refusals == ()


def test_what_cannot_fit_is_refused_with_both_figures(workspace, tmp_path):
    base = big_model(tmp_path / "m", psutil.virtual_memory().total)
    refusals = estimated("train.reward", RewardConfig(dataset="d", base=base), workspace).refusals
    assert "of memory, and this machine has" in refusals[0]
    if shutil.disk_usage(tmp_path).free < 5 * psutil.virtual_memory().total:
        assert "are free" in refusals[1]


def test_time_follows_from_an_earlier_job_and_its_size(workspace):
    config = WorldDataConfig(num_pairs=500)
    assert estimated("world.data", config, workspace).seconds is None
    run_job("world.data", config, workspace, task_of("world.data"))
    once = estimated("world.data", config, workspace).seconds
    assert once is not None and once > 0
    twice = estimated("world.data", WorldDataConfig(num_pairs=1000), workspace)
    assert twice.seconds == pytest.approx(2 * once) and "which took" in twice.basis


def test_a_rehearsal_measures_and_leaves_nothing(workspace):
    seconds = 0.5
    seen = rehearse(WorldDataConfig(num_pairs=3000), workspace, task_of("world.data"), seconds)
    start = time.monotonic()
    run_job("world.data", WorldDataConfig(num_pairs=300), workspace, task_of("world.data"))
    assert 1 / 5 < seen["seconds"] / (10 * (time.monotonic() - start)) < 5  # other work may come or go in between
    assert [artifact.kind for artifact in workspace.list()] == ["dataset"]


def test_a_job_shorter_than_its_rehearsal_leaves_nothing_either(workspace):
    rehearse(WorldDataConfig(num_pairs=20), workspace, task_of("world.data"))
    assert workspace.list() == [] and not (workspace.root / "jobs").exists()


@pytest.mark.parametrize("kind, config", [("features", FeaturesConfig(effects="gone"))])
def test_a_probe_of_what_cannot_begin_tells_the_jobs_own_reason(workspace, kind, config):
    with pytest.raises(RmvizError, match="no effects called 'gone'"):
        probe(kind, config, workspace)


def test_a_probe_runs_in_a_process_of_its_own(workspace):
    config = WorldPolicyConfig(num_steps=5000, batch_size=2, d_model=8, num_blocks=1)
    found = probe("world.policy", config, workspace)
    assert found.seconds and (found.memory or 0) > 100 * 2**20 and "measured" in found.basis
    assert json.dumps(found.refusals) == "[]" and workspace.list() == []
