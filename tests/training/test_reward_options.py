"""Margins, weights, flipped labels, bootstraps and kept steps of reward training."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training.test_reward_training import bases, toy_config, toy_dataset, toy_pairs, workspace
from trl.trainer.reward_trainer import RewardTrainer as TRLRewardTrainer

from rmviz.configs.models import RewardConfig, step_list
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_pairs, dataset_texts
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.jobs.run import run_job
from rmviz.models.load import from_artifact, load_base
from rmviz.training import reward
from rmviz.training.distributed import Silent
from rmviz.training.pairs import PairCollator, pair_margins, reply_weights, token_dataset
from rmviz.training.preference_loss import bradley_terry_loss
from rmviz.training.trainers import RewardTrainer
from rmviz.types import Pair

__all__ = ["bases", "workspace"]  # fixtures


def trained(workspace, base, **changes):
    return run_job("train.reward", toy_config(base, **changes), workspace, reward.run)


def test_the_loss_by_hand():
    difference, margin, weight = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0]), torch.tensor([1.5, 0.5])
    nats = [math.log1p(math.exp(-1.5)), math.log1p(math.exp(1.0))]
    flipped = [math.log1p(math.exp(1.5)), math.log1p(math.exp(-1.0))]
    assert bradley_terry_loss(difference, margin).item() == pytest.approx(sum(nats) / 2)
    wanted = sum(w * (0.9 * a + 0.1 * b) for w, a, b in zip((1.5, 0.5), nats, flipped, strict=True)) / 2
    assert bradley_terry_loss(difference, margin, weight, 0.1).item() == pytest.approx(wanted)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_smoothed_labels_ask_for_a_margin_of_their_log_odds(smoothing):
    difference = torch.tensor([math.log((1 - smoothing) / smoothing)], requires_grad=True)
    bradley_terry_loss(difference, smoothing=smoothing).backward()
    assert difference.grad is not None and difference.grad.abs().item() < 1e-6


def trainers(rm, config, folder, tokens):
    common = dict(
        model=rm.model, args=reward._arguments(rm, config, folder, len(tokens)), processing_class=rm.tokenizer,
        train_dataset=tokens, data_collator=PairCollator(rm.pad_id),
    )  # fmt: skip
    return TRLRewardTrainer(**common), RewardTrainer(**common, smoothing=config.label_smoothing)


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_the_trainers_loss_is_trls_and_with_smoothing_that_by_hand(bases, tmp_path, family, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rm = load_base(bases[family], seed=0, device="cpu")
    with torch.no_grad():
        rm.model.get_parameter("score.weight" if family == "gpt_neox" else "classifier.weight").mul_(300)
    reward._give_pad_token(rm)
    pairs = toy_pairs(6)
    margins = [0.5 * n for n in range(6)]
    config = RewardConfig(dataset="d", base="b", label_smoothing=0.2, center_rewards=0.1)
    for further in ({}, {"margin": margins}):
        tokens, _, _ = token_dataset(rm, pairs, further=further)
        trl, smooth = trainers(rm, config, tmp_path, tokens)
        _, ours = trainers(rm, replace(config, label_smoothing=0.0), tmp_path, tokens)
        batch = PairCollator(rm.pad_id)(list(tokens))
        rm.model.eval()
        wanted, outputs = trl.compute_loss(rm.model, dict(batch), return_outputs=True)
        assert ours.compute_loss(rm.model, dict(batch)).item() == pytest.approx(wanted.item(), rel=1e-6)
        chosen, rejected = outputs.logits.squeeze(-1).double().chunk(2)
        assert (chosen - rejected).abs().max() > 1e-3
        beyond = chosen - rejected - torch.tensor(further.get("margin", [0.0] * 6))
        by_hand = -(0.8 * torch.nn.functional.logsigmoid(beyond) + 0.2 * torch.nn.functional.logsigmoid(-beyond))
        by_hand = by_hand.mean() + 0.1 * ((chosen + rejected) ** 2).mean()
        assert smooth.compute_loss(rm.model, dict(batch)).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_margins_are_read_from_a_column_and_missing_ones_are_0():
    first, second, third = toy_pairs(3)
    pairs = [replace(first, extra={"gap": 2}), second, replace(third, extra={"gap": 0.5, "other": "x"})]
    assert pair_margins(pairs, "gap") == [2.0, 0.0, 0.5]
    with pytest.raises(DataError, match=r"no pair has a column 'far' .* gap, other"):
        pair_margins(pairs, "far")
    for wrong in ("much", True, math.nan):
        with pytest.raises(DataError, match="margins must be numbers, and 'gap' of pair 1 is"):
            pair_margins([first, replace(second, extra={"gap": wrong})], "gap")


def test_replies_of_a_long_ranking_weigh_as_those_of_a_short_one():
    def ranking(prompt, replies):
        return [Pair(pair_id=f"{prompt}{a}{b}", prompt=prompt, chosen=replies[a], rejected=replies[b])
                for a in range(len(replies)) for b in range(a + 1, len(replies))]  # fmt: skip

    pairs = [*ranking("four", "abcd"), *ranking("two", "xy")]
    weights = dict(zip([pair.pair_id for pair in pairs], reply_weights(pairs), strict=True))
    assert sum(weights.values()) == pytest.approx(len(pairs))
    assert weights["four01"] * 3 == pytest.approx(weights["two01"])
    of_reply = {
        reply: sum(weights[p.pair_id] for p in pairs if p.prompt == prompt and reply in (p.chosen, p.rejected))
        for prompt, reply in (("four", "a"), ("four", "d"), ("two", "x"))
    }
    assert len({round(total, 9) for total in of_reply.values()}) == 1


def prepared(workspace, config):
    """The pairs as a training with this config reads them, and the counts that it tells."""
    silent = Silent(workspace.root)
    _, tokens, counts = reward._prepared(config, workspace.resolve("toy"), None, silent)
    return tokens, counts


def test_margins_and_weights_travel_with_their_pairs(workspace, bases):
    pairs = [replace(pair, extra={"gap": float(n)}) for n, pair in enumerate(toy_pairs(8))]
    keep_dataset(workspace, pairs, name="toy", heldout=0.0, seed=0)
    config = toy_config(bases["gpt_neox"], margin_column="gap", weigh="replies", resample=True)
    tokens, _ = prepared(workspace, config)
    plain, _, _ = token_dataset(load_base(bases["gpt_neox"], seed=0), pairs)
    place = {tuple(row["chosen_ids"] + row["rejected_ids"]): float(n) for n, row in enumerate(plain)}
    assert [row["margin"] for row in tokens] == [
        place[tuple(row["chosen_ids"] + row["rejected_ids"])] for row in tokens
    ]
    assert PairCollator(0)(list(tokens))["weight"].shape == (8,)


def test_smoothed_labels_narrow_the_margins(workspace, bases):
    keep_dataset(workspace, toy_pairs(48), name="toy", heldout=0.0, seed=0)
    margins = []
    for smoothing in (0.0, 0.3):
        options = dict(name=f"{smoothing}", num_checkpoints=1, num_epochs=3.0, label_smoothing=smoothing)
        artifact = trained(workspace, bases["gpt_neox"], **options)
        rewards = from_artifact(artifact, device="cpu").score(dataset_texts(workspace.resolve("toy")))
        margins.append(float((rewards[::2] - rewards[1::2]).mean()))
    assert 0 < margins[1] < 0.8 * margins[0]


def test_a_bootstrap_draws_with_replacement_by_the_seed(workspace, bases):
    toy_dataset(workspace, 60)
    config = toy_config(bases["gpt_neox"], resample=True)
    rows = []
    for seed in (0, 0, 1):
        tokens, counts = prepared(workspace, replace(config, seed=seed))
        rows.append([tuple(row["chosen_ids"]) for row in tokens])
    plain, _, _ = token_dataset(load_base(bases["gpt_neox"], seed=0), dataset_pairs(workspace.resolve("toy"), "train"))
    assert rows[0] == rows[1] != rows[2] and len(rows[0]) == len(plain)
    assert set(rows[0]) < {tuple(row["chosen_ids"]) for row in plain}
    assert 0.5 < counts["num_distinct"] / len(plain) < 0.75  # 1 − 1/e = .63


def test_chosen_steps_are_kept_beside_the_even_ones(workspace, bases):
    toy_dataset(workspace, 40)
    last = trained(workspace, bases["gpt_neox"], keep_at="2, 5 3").metrics["steps"]
    steps = sorted(artifact.metrics["steps"] for artifact in workspace.list("reward_model"))
    assert steps == sorted({2, 3, 5, last // 2, last})
    with pytest.raises(ConfigError, match=rf"keep_at names step 999, and this training has {last}"):
        trained(workspace, bases["gpt_neox"], keep_at="999", name="other")


@pytest.mark.parametrize("wrong", ["0", "-3", "1.5", "ten", "1e3"])
def test_steps_are_whole_numbers(wrong):
    assert step_list("50, 10 10") == (10, 50) and step_list("") == ()
    with pytest.raises(ConfigError, match="keep_at must be steps"):
        RewardConfig(dataset="d", base="b", keep_at=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 0.5, 2.0, math.nan])
def test_smoothing_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="label_smoothing must be a share of labels from 0 to below"):
        RewardConfig(dataset="d", base="b", label_smoothing=wrong)


def test_a_device_without_bfloat16_says_so():
    with pytest.raises(ModelError, match="no bfloat16 arithmetic for training; set precision"):
        reward._in_bfloat16("bfloat16", torch.device("mps"))


def test_bfloat16_trains_on_the_cpu_and_keeps_float32(workspace, bases):
    toy_dataset(workspace)
    artifact = trained(workspace, bases["gpt_neox"], precision="bfloat16", num_checkpoints=1)
    assert artifact.metrics["accuracy"] > 0.85 and artifact.metrics["dtype"] == "float32"


def test_accuracy_by_slice_is_kept_with_the_model(workspace, bases):
    pairs = [replace(pair, extra={"kind": "ab"[n % 2]}) for n, pair in enumerate(toy_pairs(80))]
    dataset = keep_dataset(workspace, pairs, name="toy", heldout=0.3, seed=0)
    artifact = trained(workspace, bases["gpt_neox"], num_checkpoints=1)
    found = artifact.read_json("slices.json")
    heldout = dataset_pairs(dataset, "heldout")
    rewards = from_artifact(artifact, device="cpu").score(dataset_texts(dataset, "heldout"))
    right = rewards[::2] > rewards[1::2]
    assert found["n"] == len(heldout)
    for row in found["slices"]:
        assert row["low"] <= row["accuracy"] <= row["high"] and row["n"] > 0
        if row["column"] == "kind":
            inside = np.array([pair.extra["kind"] == row["value"] for pair in heldout])
            assert row["n"] == inside.sum() and row["accuracy"] == pytest.approx(right[inside].mean())
    assert {row["value"] for row in found["slices"] if row["column"] == "kind"} == {"a", "b"}
    assert artifact.metrics["accuracy_low"] < artifact.metrics["accuracy"] <= artifact.metrics["accuracy_high"]
