"""The traps of TRL 1.16 on transformers 5.23 that policies could fall into, one test each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from training.test_reward_training import SIZES
from training.test_trl_policies import pairs, run_of, settings, space, tiny, trainer_of, weights
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, PreTrainedTokenizerFast

from rmviz.data.keep import keep_dataset
from rmviz.models.load import from_artifact
from rmviz.models.policy import Policy
from rmviz.models.policy_files import load_policy
from rmviz.models.register import keep_reward_model
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training import dpo, policy_job, rloo
from rmviz.training.preferences import training_pairs
from rmviz.training.trainers import DPOArguments
from rmviz.types import Pair, Text
from rmviz.worker import execute

__all__ = ["space"]
PROMPTS = ["Tell Anna about space.", "Write a happy haiku for Ben."]


def reward_model(space: Workspace, folder: Path) -> Artifact:
    """One that splits text into words of its own, ends texts with EOS, and knows nothing of the policy's tokens."""
    known = sorted({word for pair in pairs(60) for word in f"{pair.prompt} {pair.chosen} {pair.rejected}".split()})
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<u>", "<e>", *known])}, unk_token="<u>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<u>", eos_token="<e>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = SIZES | {"vocab_size": len(known) + 2, "initializer_range": 0.5, "num_labels": 1}
    config = GPTNeoXConfig(**sizes, max_position_embeddings=64, pad_token_id=0)
    GPTNeoXForSequenceClassification(config).save_pretrained(folder)
    return keep_reward_model(space, folder, name="rm", key="rm", append_eos=True)


def test_1_a_machine_without_a_gpu_is_said_to_the_trainer(space: Workspace, tmp_path: Path) -> None:
    run = run_of("dpo", tiny(), tiny(), space)
    arguments = policy_job._arguments(run, dpo.METHOD.rows(run), tmp_path)
    made = DPOArguments(**arguments)
    assert made.use_cpu == (run.policy.device.type == "cpu")
    assert made.bf16 == (run.policy.device.type == "cuda" and torch.cuda.is_bf16_supported())
    assert made.report_to == []
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="bf16"):
            DPOArguments(output_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["dpo", "kto", "rloo"])
def test_2_a_model_that_lies_nowhere_on_disk_has_its_reference(space: Workspace, tmp_path: Path, name: str) -> None:
    policy, reference = tiny(1), tiny(2)
    policy.model.requires_grad_(True)
    assert not policy.model.config._name_or_path
    trainer, _ = trainer_of(name, run_of(name, policy, reference, space), tmp_path)
    assert trainer.ref_model is reference.model
    assert trainer.model is policy.model


def test_3_the_head_of_an_untied_gpt_neox_is_trained_and_comes_back(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the head has learnt is in the checkpoint that a run is taken up from."""
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    policy = load_policy(space.resolve("lm", "policy"))
    assert policy.model.config.model_type == "gpt_neox" and not policy.model.config.tie_word_embeddings
    told: list[int] = []

    def stop_late(kind: str, step: int, total: int, *more: Any) -> None:
        told.append(step)
        if step == total - 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        execute("train.sft", settings(learning_rate=3e-2), space, stop_late)
    again = execute("train.sft", settings(learning_rate=3e-2), space)
    heads = [
        next(value for key, value in weights(one).items() if "embed_out" in key or "lm_head" in key)
        for one in (again, space.resolve("lm", "policy"))
    ]
    assert (heads[0] - heads[1]).abs().max() > 0.05, "the head began anew"
    assert again.metrics["heldout_loss"] < again.metrics["heldout_loss_before"] - 0.5


def test_4_long_pairs_are_cut_and_not_dropped_and_end_where_their_replies_do(space: Workspace, tmp_path: Path) -> None:
    words = " lamp" * 100
    long = [
        Pair(pair_id=str(n), prompt=f"Tell Anna{words} {n}.", chosen=f"{n}{words}", rejected="No.") for n in range(9)
    ]
    keep_dataset(space, long, name="long", heldout=0.0, seed=0)
    policy = tiny()
    found, same = training_pairs(policy, space.resolve("long", "dataset"), 0, 0)
    assert (len(found), same) == (9, 0)
    for chosen, rejected in found:
        assert len(chosen.ids) == len(rejected.ids) == policy.max_length
        assert policy.eos_id not in chosen.ids and chosen.start == policy.max_length // 2
        assert rejected.ids.count(policy.eos_id) == 1 and rejected.ids[-1] == policy.eos_id
    trainer, batch = trainer_of("dpo", run_of("dpo", policy, tiny(2), space, dataset="long"), tmp_path)
    assert len(trainer.train_dataset) == 8
    assert batch["input_ids"].shape == (16, policy.max_length)
    artifact = execute("train.rloo", settings(dataset="long", reward="truth:world", num_steps=2), space)
    assert artifact.metrics["num_prompts"] == 9


def test_8_wanted_and_unwanted_replies_are_mixed_and_swapped_with_neighbours(space: Workspace, tmp_path: Path) -> None:
    run = run_of("kto", tiny(), tiny(2), space, num_epochs=3.0)
    trainer, batch = trainer_of("kto", run, tmp_path)
    shares = [one["label"].float().mean().item() for one in trainer.get_train_dataloader()]
    assert np.mean([0 < share < 1 for share in shares]) > 0.9
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
    own, swapped = batch["completion_mask"].sum(1), batch["KL_completion_mask"].sum(1)
    assert swapped.tolist() == own.roll(1).tolist()


def test_9_the_reference_is_the_first_policy_also_after_a_resume(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    seen: list[torch.Tensor] = []
    fit = policy_job._fit

    def noted(method: Any, run: Any, *more: Any) -> None:
        fit(method, run, *more)
        seen.append(run.reference.model.state_dict()[head].clone())

    def stop(kind: str, step: int, *more: Any) -> None:
        if step == 4:
            raise KeyboardInterrupt

    first = load_policy(space.resolve("lm", "policy"))
    head = next(name for name in first.model.state_dict() if "embed_out" in name or "lm_head" in name)
    monkeypatch.setattr(policy_job, "_fit", noted)
    with pytest.raises(KeyboardInterrupt):
        execute("train.dpo", settings(), space, stop)
    artifact = execute("train.dpo", settings(), space)
    assert torch.equal(seen[-1], first.model.state_dict()[head])
    assert not torch.equal(load_policy(artifact).model.state_dict()[head], seen[-1])


def test_12_replies_are_paid_as_the_inspector_scores_them(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By RewardModel.score on words, whatever tokens either model has; TRL's own scorer would pay something else."""
    artifact = reward_model(space, tmp_path / "rm")
    calls: list[tuple[list[str], list[str], np.ndarray]] = []
    pay = rloo.paid

    def noted(scorer: Any, prompts: list[str], replies: list[str]) -> np.ndarray:
        rewards = pay(scorer, prompts, replies)
        calls.append((list(prompts), list(replies), rewards))
        return rewards

    monkeypatch.setattr(rloo, "paid", noted)
    told: list[dict[str, float]] = []
    execute(
        "train.rloo", settings(reward="rm", gold="", num_steps=2), space, lambda *values: told.append(dict(values[4]))
    )
    assert len(calls) == 2
    rm = from_artifact(artifact, device="cpu")
    for prompts, replies, rewards in calls:
        texts = [Text(text_id=str(n), prompt=prompts[n], reply=replies[n]) for n in range(len(prompts))]
        assert rewards == pytest.approx(rm.score(texts).astype(float), abs=1e-6)
        assert all("<" not in reply and not reply.startswith(" ") for reply in replies)
        glued = [
            rm.tokenizer(p + r, add_special_tokens=False, return_tensors="pt")
            for p, r in zip(prompts, replies, strict=True)
        ]
        with torch.inference_mode():
            builtin = [float(rm.model(input_ids=one["input_ids"]).logits[0, 0]) for one in glued]
        assert np.abs(np.array(builtin) - rewards).max() > 1e-3
    assert told[-1]["train_reward"] == pytest.approx(calls[-1][2].mean(), abs=1e-5)


CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"


@pytest.mark.parametrize("format", ["plain", "transcript", "chat"])
def test_12_the_trainer_reads_prompts_as_the_policy_does(space: Workspace, tmp_path: Path, format: str) -> None:
    policy = tiny()
    policy.tokenizer.chat_template = CHAT
    policy = Policy(policy.model, policy.tokenizer, format=format, max_length=64, name="tiny")
    policy.model.requires_grad_(True)
    run = replace(run_of("rloo", policy, tiny(2), space), prompts=[*PROMPTS, "lamp " * 200])
    trainer, batch = trainer_of("rloo", run, tmp_path)
    prompts = [row["prompt"] for row in batch]
    read, _, more = trainer._tokenize_prompts(prompts)
    assert [tuple(ids) for ids in read] == policy.contexts(prompts, 8) and not more
    written = trainer._generate_single_turn(read, None, {})
    for prompt, ids in zip(prompts, written, strict=True):
        text = policy.text_of(prompt, ids)
        assert policy.eos_id not in ids[:-1]
        if ids[-1] == policy.eos_id and text:  # as text and back, it is what was drawn
            assert policy.encode(prompt, text).reply == tuple(ids)
    found = trainer._prepare_inputs(batch)
    for place, ids in enumerate(found["prompt_ids"]):
        assert tuple(ids[found["prompt_mask"][place] == 1].tolist()) in policy.contexts(run.prompts, 8)


def test_13_and_14_reward_and_gold_are_told_and_the_loss_is_not(space: Workspace, tmp_path: Path) -> None:
    reward_model(space, tmp_path / "rm")
    told: list[dict[str, float]] = []
    options = settings(reward="rm", num_steps=3)
    both = execute("train.rloo", options, space, lambda *values: told.append(dict(values[4])))
    assert {"train_reward", "train_gold", "train_kl", "train_entropy", "train_cut"} <= told[-1].keys()
    assert "loss" not in told[-1]
    assert {"reward", "gold", "reward_before", "gold_before"} <= both.metrics.keys()
    alone = execute("train.rloo", options | {"gold": "", "name": "alone"}, space)
    one, other = weights(both), weights(alone)
    assert all(torch.equal(one[name], other[name]) for name in one), "gold was trained on"
    assert set(both.parents) - set(alone.parents) == set()
    assert space.resolve("rm", "reward_model").id in both.parents
