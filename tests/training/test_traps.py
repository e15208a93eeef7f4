"""The traps of this stack, each held shut by a test (TRL 1.16, transformers 5, peft 0.21)."""

import logging

import numpy as np
import pytest
import torch
from training.test_reward_training import (
    bases,
    tokenizer,
    toy_config,
    toy_dataset,
    toy_pairs,
    workspace,
)

from rmviz.configs.models import RewardConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.jobs.run import run_job
from rmviz.models.load import from_artifact, load_base
from rmviz.store.workspace import Workspace
from rmviz.training import reward, trainers
from rmviz.training.figures import pair_accuracy
from rmviz.training.lora import add_lora, merged
from rmviz.training.pairs import token_dataset
from rmviz.training.progress import last_checkpoint
from rmviz.training.trainers import RewardArguments

__all__ = ["bases", "workspace"]  # fixtures


def trained(workspace, base, listener=None, **changes):
    return run_job("train.reward", toy_config(base, **changes), workspace, reward.run, listener)


def scores(artifact, dataset):
    return from_artifact(artifact, device="cpu").score(dataset_texts(dataset))


def stop_at(number):
    def listen(kind, step, total, *rest):
        if step == number:
            raise KeyboardInterrupt

    return listen


def test_1_arguments_fit_a_machine_without_a_gpu(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="use_cpu"):
        RewardArguments(output_dir=str(tmp_path), bf16=True)
    rm = load_base(bases["bert"], seed=0, device="cpu")
    for precision, bf16 in (("auto", False), ("float32", False), ("bfloat16", True)):
        config = RewardConfig(dataset="toy", base="b", precision=precision)
        arguments = reward._arguments(rm, config, tmp_path, 8)
        assert (arguments.use_cpu, arguments.bf16) == (True, bf16)


def test_3_a_tokenizer_without_eos_trains_and_gets_none(workspace, bases):
    assert tokenizer(encoder=True).eos_token is None
    dataset = toy_dataset(workspace, 40)
    artifact = trained(workspace, bases["bert"], num_epochs=0.5)
    rm = from_artifact(artifact, device="cpu")
    ids = rm.encode(dataset_texts(dataset))[0].ids
    assert ids.count(rm.tokenizer.sep_token_id) == 2 and rm.tokenizer.eos_token is None
    assert artifact.metrics["num_pairs"] == dataset.metrics["num_train"]


def test_4_long_pairs_are_cut_and_counted_never_dropped(workspace, bases):
    pairs = toy_pairs(12)
    keep_dataset(workspace, pairs, name="toy", heldout=0.0, seed=0)
    rm = load_base(bases["gpt_neox"], seed=0, max_length=8, device="cpu")
    rows, num_same, num_cut = token_dataset(rm, pairs)
    longer = sum(max(one.num_cut for one in rm.encode(pair.texts)) > 0 for pair in pairs)
    assert len(rows) + num_same == 12 and num_cut == longer > 0
    assert max(len(ids) for row in rows for ids in (row["chosen_ids"], row["rejected_ids"])) == 8
    metrics = trained(workspace, bases["gpt_neox"], max_length=8, num_epochs=0.5).metrics
    assert (metrics["num_pairs"], metrics["num_cut"]) == (len(rows), num_cut)


def test_5_a_tie_counts_half_and_a_pair_of_equal_sides_trains_nothing(bases):
    assert pair_accuracy(np.zeros(4), np.zeros(4)) == 0.5
    rm = load_base(bases["gpt_neox"], seed=0, device="cpu")
    same = [pair.__class__(**{**vars(pair), "rejected": pair.chosen}) for pair in toy_pairs(3)]
    rows, num_same, _ = token_dataset(rm, [*toy_pairs(2), *same])
    assert (len(rows), num_same) == (2, 3)


def test_7_the_head_of_a_low_rank_training_is_trained_kept_and_merged(workspace, bases):
    dataset = toy_dataset(workspace)
    for family in ("gpt_neox", "bert"):
        untrained = load_base(bases[family], seed=0, device="cpu")
        artifact = trained(workspace, bases[family], lora_rank=4, name=family)
        rm = from_artifact(artifact, device="cpu")
        assert artifact.metrics["accuracy"] > 0.85 > artifact.metrics["accuracy_before"]
        assert not [name for name, _ in rm.model.named_parameters() if "lora" in name]
        first, now = dict(untrained.model.named_parameters()), dict(rm.model.named_parameters())
        assert first.keys() == now.keys()
        changed = {name for name in now if not torch.equal(now[name], first[name])}
        assert any(name.startswith(("score", "classifier")) for name in changed)
        assert any(name.endswith("weight") and ".0." in name for name in changed)
        assert not [name for name in changed if "embed" in name or "norm" in name.lower()]
        rewards = rm.score(dataset_texts(dataset, "heldout"))
        assert pair_accuracy(rewards[::2], rewards[1::2]) == pytest.approx(artifact.metrics["accuracy"], abs=1e-9)


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_7_merged_scores_are_those_of_the_updates(bases, family):
    rm = load_base(bases[family], seed=0, device="cpu")
    texts = [text for pair in toy_pairs(20) for text in pair.texts]
    before = rm.score(texts)
    add_lora(rm, 3, seed=1)
    np.testing.assert_array_equal(rm.score(texts), before)  # B starts at 0
    with torch.no_grad():
        for name, weights in rm.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=1.0)
    updated = rm.score(texts)
    with merged(rm):
        plain = rm.score(texts)
    assert np.abs(updated - before).max() > 1e-3
    np.testing.assert_allclose(plain, updated, atol=1e-5)
    np.testing.assert_array_equal(rm.score(texts), updated)


@pytest.mark.parametrize(("family", "changes"), [("gpt_neox", {}), ("bert", {}), ("gpt_neox", {"lora_rank": 2})])
def test_9_an_interrupted_training_ends_in_the_same_bits(tmp_path, bases, family, changes):
    found = []
    for interrupted in (False, True):
        space = Workspace(tmp_path / f"{interrupted}")
        dataset = toy_dataset(space, 40)
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                trained(space, bases[family], stop_at(5), **changes)
            (folder,) = space.root.glob("jobs/*/checkpoints/trainer")
            assert last_checkpoint(folder) is not None
        found.append(scores(trained(space, bases[family], **changes), dataset))
    np.testing.assert_array_equal(*found)


def test_10_a_language_model_becomes_a_reward_model_without_a_word(bases, capfd, caplog):
    with caplog.at_level(logging.INFO):
        load_base(bases["gpt_neox"], seed=0, device="cpu")
    said = "".join(capfd.readouterr()) + caplog.text
    assert "embed_out" not in said and "score" not in said and "MISSING" not in said


def test_11_training_tells_nobody(workspace, bases, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "CI"):
        monkeypatch.delenv(name, raising=False)
    toy_dataset(workspace, 20)
    told = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **facts: told.append(facts))
    trained(workspace, bases["bert"], num_epochs=0.2)
    assert told == []
    monkeypatch.delattr(trainers._Plain, "_send_telemetry")
    trained(workspace, bases["bert"], num_epochs=0.3)
    assert len(told) == 1, "TRL has another way of telling now"
