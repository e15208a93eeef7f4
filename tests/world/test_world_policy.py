"""The planted language model: pretrained in a few steps here; broken off and resumed it ends the same."""

import math
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
from rmviz.store.workspace import Workspace
from rmviz.world import data, policy
from rmviz.world.tokenizer import world_tokenizer

TINY = WorldPolicyConfig(num_steps=50, batch_size=4, d_model=16, num_blocks=1, seed=3)


class Reports:
    """A report that keeps what it is told, and can break the job off at a step."""

    key = ""

    def __init__(self, folder: Path, stop_at: int = 10**9) -> None:
        self.folder, self.stop_at, self.metrics = folder, stop_at, {}
        self.folder.mkdir(exist_ok=True, parents=True)

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        if step >= self.stop_at:
            raise KeyboardInterrupt
        self.metrics |= metrics or {}


@pytest.fixture(scope="module")
def small_evaluation():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_NUM_HELDOUT": 16, "_NUM_POEMS": 4, "MAX_NEW_TOKENS": 5}.items():
            patch.setattr(policy, name, value)
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory, small_evaluation):
    root = tmp_path_factory.mktemp("policy")
    reports = Reports(root / "job")
    return policy.run(TINY, Workspace(root / "workspace"), reports), reports


def test_the_model_learns_and_loads_as_it_was(kept) -> None:
    artifact, _ = kept
    assert artifact.metrics["loss"] < math.log(len(world_tokenizer())) - 0.5
    assert artifact.metrics["perplexity"] == pytest.approx(math.exp(artifact.metrics["loss"]))
    model = AutoModelForCausalLM.from_pretrained(artifact.folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(artifact.folder / "model")
    assert policy.heldout_loss(model, tokenizer) == pytest.approx(artifact.metrics["loss"], abs=1e-6)
    assert not {"model/pytorch_model.bin"} & set(artifact.files)


def test_a_reward_model_starts_from_its_trunk(kept) -> None:
    artifact, _ = kept
    policy_model = AutoModelForCausalLM.from_pretrained(artifact.folder / "model")
    reward_model = AutoModelForSequenceClassification.from_pretrained(artifact.folder / "model", num_labels=1)
    trunk = reward_model.base_model.state_dict()
    assert all(torch.equal(tensor, trunk[name]) for name, tensor in policy_model.base_model.state_dict().items())


@pytest.mark.parametrize("stop_at", [5, 45])
def test_resumed_equals_unbroken(kept, tmp_path, stop_at: int) -> None:
    artifact, _ = kept
    with pytest.raises(KeyboardInterrupt):
        policy.pretrained(TINY, world_tokenizer(), Reports(tmp_path, stop_at))
    model = policy.pretrained(TINY, world_tokenizer(), Reports(tmp_path))
    whole = AutoModelForCausalLM.from_pretrained(artifact.folder / "model").state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items())


def test_replies_do_not_depend_on_their_neighbours_nor_disturb_the_random_state(kept) -> None:
    artifact, _ = kept
    model = AutoModelForCausalLM.from_pretrained(artifact.folder / "model").eval()
    before = torch.get_rng_state()
    assert policy.sampled_replies(model, world_tokenizer(), ["A", "B"], seed=1) == policy.sampled_replies(
        model, world_tokenizer(), ["A", "B"], seed=1
    )
    assert torch.equal(before, torch.get_rng_state())


def test_batches_cover_a_group_once_in_both_runs() -> None:
    tokenizer = world_tokenizer()
    batches = policy.text_batches(TINY, tokenizer, 5)
    assert batches == policy.text_batches(TINY, tokenizer, 5) != policy.text_batches(TINY, tokenizer, 6)
    assert [len(batch) for batch in batches] == [TINY.batch_size] * 8
    assert all(row[-1] == tokenizer.eos_token_id for batch in batches for row in batch)


def test_one_cycle_rises_and_falls() -> None:
    rates = [policy.one_cycle(step, 100) for step in range(100)]
    assert rates.index(max(rates)) == 19
    assert max(rates) == pytest.approx(1, abs=0.01) and rates[-1] < 0.01 and min(rates) > 0


def test_world_data_is_reproducible_and_extends(tmp_path) -> None:
    pairs = list(data.world_pairs(20, seed=1))
    assert pairs == list(data.world_pairs(30, seed=1))[:20] != list(data.world_pairs(20, seed=2))
    artifact = data.run(WorldDataConfig(num_pairs=20, name="w"), Workspace(tmp_path / "workspace"), Reports(tmp_path))
    assert artifact.kind == "dataset" and artifact.name == "w"
    assert artifact.metrics["num_train"] + artifact.metrics["num_heldout"] == 20
    assert random.Random("a").random() == random.Random("a").random()
