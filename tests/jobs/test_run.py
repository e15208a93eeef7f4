import errno
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from rmviz.configs.effects import FeaturesConfig
from rmviz.configs.files import config_file, read_config
from rmviz.configs.world import WorldDataConfig
from rmviz.errors import ArtifactError, ConfigError, NotFoundError
from rmviz.jobs.progress import CheckpointClock, JobReport, TerminalProgress, progress_line
from rmviz.jobs.records import list_jobs
from rmviz.jobs.run import job_key, pinned, run_job
from rmviz.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def counting_task(fail_at: int = -1):
    """A task of ten units that goes on from its checkpoint, and notes each unit it does."""
    done: list[int] = []

    def task(config, workspace, report):
        checkpoint = report.folder / "count"
        start = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for unit in range(start, 10):
            if unit == fail_at and not (report.folder / "failed").exists():
                (report.folder / "failed").touch()
                raise KeyboardInterrupt
            done.append(unit)
            checkpoint.write_text(str(unit + 1))
            report(unit + 1, 10, {"loss": 1 / (unit + 1), "bad": float("nan")})
        with workspace.create("dataset", name="d", key=report.key) as draft:
            (draft.folder / "x").write_text("x")
        return draft.kept

    return task, done


def test_the_same_config_is_done_once(workspace):
    task, done = counting_task()
    first = run_job("world.data", WorldDataConfig(), workspace, task)
    assert run_job("world.data", WorldDataConfig(), workspace, task) == first
    assert done == list(range(10))
    assert run_job("world.data", WorldDataConfig(seed=1), workspace, task) != first


def test_an_interrupted_job_goes_on(workspace):
    task, done = counting_task(fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        run_job("world.data", WorldDataConfig(), workspace, task)
    assert list_jobs(workspace)[0].state == "cancelled"
    artifact = run_job("world.data", WorldDataConfig(), workspace, task)
    assert done == list(range(10))
    job = list_jobs(workspace)[0]
    assert (job.state, job.artifact) == ("succeeded", artifact.id)
    assert not (job.folder / "checkpoints").exists()


def test_metrics_are_lines_without_nan(workspace):
    task, _ = counting_task()
    run_job("world.data", WorldDataConfig(), workspace, task)
    folder = workspace.job_folder(job_key("world.data", WorldDataConfig()))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert all("bad" not in line and line["total"] == 10 for line in lines)


def test_a_failure_is_kept_with_its_reason(workspace):
    def task(config, workspace, report):
        raise ConfigError("no luck")

    with pytest.raises(ConfigError):
        run_job("world.data", WorldDataConfig(), workspace, task)
    assert list_jobs(workspace)[0].error == "ConfigError: no luck"


def test_two_at_once_is_one(workspace):
    def task(config, workspace, report):
        with pytest.raises(ConfigError, match="running already"):
            run_job("world.data", WorldDataConfig(), workspace, task)
        return counting_task()[0](config, workspace, report)

    run_job("world.data", WorldDataConfig(), workspace, task)


def test_parents_are_pinned_to_ids(workspace):
    with workspace.create("effects", name="e") as draft:
        pass
    assert pinned(FeaturesConfig(effects="e"), workspace).effects == draft.kept.id
    with pytest.raises(NotFoundError):
        pinned(FeaturesConfig(effects="other"), workspace)


def test_progress_tells_rate_and_time_left():
    line = progress_line("effects", 30, 120, 1.5, {"loss": 0.25})
    assert "25%" in line and "1.5/s" in line and "1 min 00 s left" in line and "loss 0.25" in line
    assert "done" in progress_line("effects", 5, 5, 2.0, {})


def test_terminal_progress_prints_plain_lines_without_a_terminal(tmp_path):
    with (tmp_path / "out").open("w") as stream:
        progress = TerminalProgress(stream, every=0)
        progress("a", 1, 2, 1.0, {})
        progress("a", 2, 2, 1.0, {})
    written = (tmp_path / "out").read_text()
    assert written.count("\n") == 2 and "\x1b" not in written


def test_memory_that_ran_out_names_the_settings_to_lower(workspace, tmp_path):
    def task(config, workspace, report):
        raise MemoryError

    from rmviz.configs.models import RewardConfig

    with workspace.create("dataset", name="d"):
        pass
    config = RewardConfig(dataset="d", base=str(tmp_path))
    with pytest.raises(MemoryError):
        run_job("train.reward", config, workspace, task)
    assert "lower batch_size or max_length" in list_jobs(workspace)[0].error


def test_a_full_disk_ends_the_job_with_a_sentence_and_it_goes_on_later(workspace, monkeypatch):
    task, done = counting_task()
    real = JobReport.__call__

    def full(self, step, total, metrics=None):
        if step == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, step, total, metrics)

    monkeypatch.setattr(JobReport, "__call__", full)
    monkeypatch.setattr(JobReport, "state", lambda self, state, **_: full(self, 4 if state == "failed" else 0, 1))
    with pytest.raises(ArtifactError, match="the disk is full"):
        run_job("world.data", WorldDataConfig(), workspace, task)
    monkeypatch.undo()
    run_job("world.data", WorldDataConfig(), workspace, task)
    assert done == list(range(10)) and list_jobs(workspace)[0].state == "succeeded"


def test_sigterm_cancels_as_ctrl_c_does(workspace):
    def task(config, workspace, report):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        run_job("world.data", WorldDataConfig(), workspace, task)
    assert list_jobs(workspace)[0].state == "cancelled"


def test_a_job_that_left_its_result_and_died_has_succeeded(workspace):
    """Killed between keeping the artifact and saying so."""

    def task(config, workspace, report):
        with workspace.create("dataset", name="d", key=report.key):
            pass
        raise SystemExit

    with pytest.raises(SystemExit):
        run_job("world.data", WorldDataConfig(), workspace, task)
    assert list_jobs(workspace)[0].state == "failed"
    artifact = run_job("world.data", WorldDataConfig(), workspace, task)
    assert (list_jobs(workspace)[0].state, list_jobs(workspace)[0].artifact) == ("succeeded", artifact.id)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "is JSON"),
        ("[]", "names a job kind"),
        ('{"kind": "effects.fast"}', "no job kind"),
        ('{"kind": "world.data", "version": 99}', "newer rmviz"),
        ('{"kind": "world.data", "num_pears": 3}', "unknown setting num_pears"),
        ('{"kind": "world.data", "num_pairs": 1}', "at least 10"),
        ('{"kind": "world.data", "num_pairs": "many"}', "must be int"),
        ('{"kind": "effects"}', "needs sae, dataset"),
    ],
)
def test_a_wrong_config_file_is_a_sentence(text, words):
    with pytest.raises(ConfigError, match=words):
        read_config(text)


def test_a_config_file_gives_back_its_config():
    config = WorldDataConfig(num_pairs=77, seed=3)
    assert read_config(json.dumps(config_file("world.data", config))) == ("world.data", config)


def test_checkpoints_cost_no_more_than_one_percent(monkeypatch):
    monkeypatch.delenv("RMVIZ_CHECKPOINT_SECONDS", raising=False)
    now = [0.0]
    monkeypatch.setattr("rmviz.jobs.progress.time.monotonic", lambda: now[0])
    clock, saved = CheckpointClock(), []
    for _ in range(20_000):
        now[0] += 0.1
        if clock.due():
            with clock.saving():
                now[0] += 2.0
            saved.append(now[0])
    assert saved[0] == pytest.approx(32, abs=0.2)
    assert np.diff(saved) == pytest.approx(202, abs=0.2), "200 s of work for 2 s of saving"
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "5")
    clock = CheckpointClock()
    clock.took(60.0)
    now[0] += 5.0
    assert clock.due()
