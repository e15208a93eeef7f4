"""Training in several processes: the same result as in one, one stop for all, and no rank left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from training.test_reward_training import SIZES, tokenizer, toy_config, toy_dataset
from training.test_trl_policies import pairs as world_pairs
from training.test_trl_policies import tiny
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from rmviz.configs.trl_policies import DPOConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.errors import ConfigError
from rmviz.jobs import queue
from rmviz.jobs.records import Job, last_words, read_job
from rmviz.models.load import from_artifact
from rmviz.models.policy_files import keep_policy, load_policy
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.preferences import reply_log_probs

NUM_STEPS = 24


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = GPTNeoXConfig(**SIZES, max_position_embeddings=32, attention_dropout=0.0, hidden_dropout=0.0)
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer(encoder=False).save_pretrained(folder)
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "ws")
    toy_dataset(made, 120)
    yield made
    assert not followers(made), "a process was left behind"


def followers(space: Workspace) -> list[psutil.Process]:
    """The processes beside rank 0."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "rmviz.training.distributed" in words and str(space.root) in words:
            found.append(process)
    return found


def launched(space: Workspace, base: Path, num_processes: int, **changes: object) -> Job:
    return queue.launch("train.reward", toy_config(base, num_processes=num_processes, num_pairs=96, **changes), space)


def ended(job: Job, seconds: float = 120) -> Job:
    wait_until(lambda: not read_job(job.folder).active, seconds)
    return read_job(job.folder)


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def result(space: Workspace, job: Job) -> Artifact:
    done = ended(job)
    assert done.state == "succeeded", done.error + last_words(done, 30)
    return space.resolve(done.artifact)


def rewards(artifact: Artifact, space: Workspace) -> np.ndarray:
    texts = dataset_texts(space.resolve("toy", "dataset"), "heldout")
    return from_artifact(artifact, device="cpu").score(texts)


def test_two_processes_reach_what_one_reaches(space, base):
    found = [result(space, launched(space, base, number, name=f"rm{number}")) for number in (1, 2)]
    assert found[0].metrics["steps"] == found[1].metrics["steps"] == NUM_STEPS
    np.testing.assert_allclose(rewards(found[1], space), rewards(found[0], space), atol=1e-4)
    names = [artifact.name for artifact in space.list("reward_model")]
    assert sorted(names) == ["rm1", f"rm1@step-{NUM_STEPS // 2}", "rm2", f"rm2@step-{NUM_STEPS // 2}"]


@pytest.mark.slow
def test_dpo_in_two_processes_reaches_what_one_reaches(space):
    policy, given = tiny(), world_pairs(60)
    keep_policy(space, policy, name="lm", key="lm", config=WorldPolicyConfig(), parents=(), metrics={})
    keep_dataset(space, given, name="pairs", heldout=0.2, seed=0)
    settings = {
        "policy": "lm", "dataset": "pairs", "batch_size": 8, "learning_rate": 1e-3, "num_epochs": 2.0, "max_new_tokens": 8,
        "num_looks": 1, "num_watched": 8,
    }  # fmt: skip
    rows = [policy.encode(pair.prompt, reply) for pair in given for reply in (pair.chosen, pair.rejected)]

    def log_probs(artifact: Artifact) -> np.ndarray:
        return np.array(reply_log_probs(load_policy(artifact), rows))

    found = []
    for number in (1, 2):
        config = DPOConfig(**settings, name=f"dpo{number}", num_processes=number)
        found.append(result(space, queue.launch("train.dpo", config, space)))
    before, one, two = (log_probs(artifact) for artifact in (space.resolve("lm"), *found))
    assert np.abs(one - before).mean() > 0.1
    np.testing.assert_allclose(two, one, atol=0.01 * np.abs(one - before).mean())


@pytest.mark.slow
def test_stopped_together_and_resumed_to_the_same_end(space, base):
    wanted = rewards(result(space, launched(space, base, 2, name="unbroken", num_epochs=6.0)), space)
    job = launched(space, base, 2, name="broken", num_epochs=6.0)
    wait_until(lambda: read_job(job.folder).step > 5)
    queue.cancel(job, space)
    stopped = ended(job, 20)
    assert stopped.state == "cancelled" and 5 < stopped.step < stopped.total
    wait_until(lambda: not followers(space), 20)
    again = queue.resume(read_job(job.folder), space)
    np.testing.assert_allclose(rewards(result(space, again), space), wanted, atol=1e-5)


@pytest.mark.parametrize("victim", ["follower", pytest.param("leader", marks=pytest.mark.slow)])
def test_one_that_dies_ends_all_of_them(space, base, victim):
    job = launched(space, base, 2, num_epochs=200.0)
    wait_until(lambda: read_job(job.folder).step > 5)
    pid = followers(space)[0].pid if victim == "follower" else read_job(job.folder).pid
    os.kill(pid, signal.SIGKILL)
    failed = ended(job, 40)
    assert failed.state == "failed" and "killed" in failed.error
    if victim == "follower":
        assert "process 2 of 2" in failed.error
    wait_until(lambda: not followers(space), 10)


def test_a_batch_that_cannot_be_shared_is_refused(base):
    with pytest.raises(ConfigError, match="batch_size must be a multiple of num_processes, got 8 and 3"):
        toy_config(base, num_processes=3)


@pytest.mark.slow
def test_from_the_terminal(space, base):
    command = [
        sys.executable, "-m", "rmviz.cli", "train", "reward", "toy", str(base), "--batch-size", "8", "--num-pairs", "32",
        "--num-processes", "2", "--name", "rm", "--workspace", str(space.root),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert space.resolve("rm").metrics["steps"] == 4
