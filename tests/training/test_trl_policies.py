"""Policies through TRL's trainers: their losses by hand, runs taken up again to the same end, and clear words for bad data."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import logsigmoid

from rmviz.configs.trl_policies import DPOConfig, KTOConfig, RLOOConfig, SFTConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training import dpo, kto, policy_job, rloo, sft
from rmviz.training.policy_job import Opened, ordered
from rmviz.training.preferences import reply_log_probs
from rmviz.types import Pair, Text
from rmviz.worker import execute
from rmviz.world.policy import language_model
from rmviz.world.tasks import task_named, task_pair
from rmviz.world.tokenizer import world_tokenizer

KINDS = {
    "sft": ("train.sft", {"num_epochs": 1.5}),
    "dpo": ("train.dpo", {"num_epochs": 1.5, "loss_type": "ipo"}),
    "kto": ("train.kto", {"num_epochs": 0.8}),
    "rloo": ("train.rloo", {"num_steps": 9, "reward": "truth:world"}),
    "grpo": ("train.rloo", {"num_steps": 9, "reward": "truth:world", "method": "grpo"}),
    "low-rank": ("train.rloo", {"num_steps": 9, "reward": "truth:world", "lora_rank": 2}),
}
METHODS = {"sft": sft.METHOD, "dpo": dpo.METHOD, "kto": kto.METHOD, "rloo": rloo.METHOD}
CONFIGS = {"sft": SFTConfig, "dpo": DPOConfig, "kto": KTOConfig, "rloo": RLOOConfig}


def tiny(seed: int = 1) -> Policy:
    tokenizer = world_tokenizer()
    config = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=seed)
    return Policy(
        language_model(config, len(tokenizer)).eval(), tokenizer, format="transcript", max_length=64, name="tiny"
    )


def pairs(number: int) -> list[Pair]:
    task = task_named("world")
    return [task_pair(task, place, 0, 1.0) for place in range(number)]


@pytest.fixture
def space(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of a workspace with a small policy and pairs, which is made once."""
    first = tmp_path_factory.getbasetemp() / "policies-and-pairs"
    if not first.exists():
        made = Workspace(first)
        config = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1)
        keep_policy(made, tiny(), name="lm", key="lm", config=config, parents=(), metrics={})
        keep_dataset(made, pairs(60), name="pairs", heldout=0.2, seed=0)
    shutil.copytree(first, tmp_path / "ws")
    return Workspace(tmp_path / "ws")


def settings(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "policy": "lm", "dataset": "pairs", "name": "trained", "batch_size": 8, "learning_rate": 3e-3, "max_new_tokens": 8,
        "num_looks": 1, "num_watched": 8, "gold": "truth:world",
    }  # fmt: skip
    return values | changes


def weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    return load_file(artifact.folder / "model" / "model.safetensors")


def run_of(name: str, policy: Policy, reference: Policy, space: Workspace, **changes: Any) -> Opened:
    more = {"reward": "truth:world"} if name == "rloo" else {}
    config = CONFIGS[name](**settings(**more, **changes))
    opened = policy_job.opened(config, space)
    return replace(opened, policy=policy, reference=reference)


def trainer_of(name: str, run: Opened, folder: Path) -> tuple[Any, Any]:
    """The trainer, and its first batch."""
    rows = METHODS[name].rows(run)
    arguments = policy_job._arguments(run, rows, folder)
    trainer = METHODS[name].trainer(run, rows, arguments, policy_job._padding_tokenizer(run.policy), [])
    return trainer, next(iter(trainer.get_train_dataloader()))


def apart(space: Workspace) -> tuple[Policy, Policy]:
    """A policy and a reference that differ."""
    policy, reference = tiny(1), tiny(2)
    policy.model.requires_grad_(True)
    return policy, reference


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": lambda d: -logsigmoid(0.3 * d),
    "ipo": lambda d: (d - 1 / 0.6) ** 2,
    "hinge": lambda d: (1 - 0.3 * d).clamp(min=0),
    "robust": lambda d: (-logsigmoid(0.3 * d) * 0.9 + logsigmoid(-0.3 * d) * 0.1) / 0.8,
}


def first_pairs(run: Opened) -> list[tuple[Any, Any]]:
    found, _ = dpo.training_pairs(run.policy, run.dataset, 0, run.config.seed)
    return [found[place] for place in ordered(len(found), 1, 8, run.config.seed)]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_pairs_is_the_papers(space: Workspace, tmp_path: Path, loss: str) -> None:
    policy, reference = apart(space)
    run = run_of("dpo", policy, reference, space, beta=0.3, label_smoothing=0.1 * (loss == "robust"), loss_type=loss)
    some = first_pairs(run)
    sides = list(zip(*some, strict=True))
    log_ratios = [torch.tensor(reply_log_probs(policy, side) - reply_log_probs(reference, side)) for side in sides]
    counts = [torch.tensor([len(row.reply) for row in side]) for side in sides]
    if loss == "ipo":  # means over tokens, as its authors have it
        log_ratios = [ratios / count for ratios, count in zip(log_ratios, counts, strict=True)]
    trainer, batch = trainer_of("dpo", run, tmp_path / "t")
    found = trainer.compute_loss(trainer.model, batch).item()
    assert found == pytest.approx(LOSSES[loss](log_ratios[0] - log_ratios[1]).mean().item(), rel=1e-4)


def test_the_language_models_own_loss_on_chosen_replies_is_added_by_its_weight(
    space: Workspace, tmp_path: Path
) -> None:
    policy, reference = apart(space)
    found = {}
    for weight in (0.0, 0.7):
        run = run_of("dpo", policy, reference, space, sft_weight=weight)
        trainer, batch = trainer_of("dpo", run, tmp_path / f"t{weight}")
        found[weight] = trainer.compute_loss(trainer.model, batch).item()
    chosen = [side for side, _ in first_pairs(run)]
    nats = -reply_log_probs(policy, chosen).sum() / sum(len(row.reply) for row in chosen)
    assert found[0.7] - found[0.0] == pytest.approx(0.7 * nats, rel=1e-4)


def test_the_loss_of_single_replies_is_the_papers(space: Workspace, tmp_path: Path) -> None:
    policy, reference = apart(space)
    run = run_of("kto", policy, reference, space, beta=0.3, desirable_weight=2.0)
    both, _ = dpo.training_pairs(policy, run.dataset, 0, 0)
    sides = [(side, wanted) for pair in both for side, wanted in zip(pair, (True, False), strict=True)]
    some = [sides[place] for place in ordered(len(sides), 1, 8, 0)]
    texts = [side for side, _ in some]
    swapped = [kto.KTOCollator(policy)._joined(texts[i], texts[i - 1]) for i in range(len(texts))]
    log_ratios, kl = (reply_log_probs(policy, rows) - reply_log_probs(reference, rows) for rows in (texts, swapped))
    z = max(0.0, kl.mean())
    losses = [
        2 * (1 - sigmoid(0.3 * (ratio - z))) if wanted else 1 - sigmoid(0.3 * (z - ratio))
        for ratio, (_, wanted) in zip(log_ratios, some, strict=True)
    ]
    trainer, batch = trainer_of("kto", run, tmp_path / "t")
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(np.mean(losses), rel=1e-4)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_of_fine_tuning_is_that_of_the_replies_tokens(space: Workspace, tmp_path: Path) -> None:
    policy = tiny()
    run = run_of("sft", policy, tiny(), space)
    trainer, batch = trainer_of("sft", run, tmp_path / "t")
    rows = sft._encoded(run, "train", 0)
    some = [rows[place] for place in ordered(len(rows), 1, 8, 0)]
    nats = -reply_log_probs(policy, some).sum() / sum(len(row.reply) for row in some)
    assert trainer.compute_loss(trainer.model, dict(batch)).item() == pytest.approx(nats, rel=1e-4)
    collate = sft._Collator(policy, learn_prompts=True)
    every = collate([{"ids": row.ids, "start": row.start} for row in some])["labels"]
    assert (every != -100).sum() == sum(len(row.ids) - 1 for row in some)


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_was_broken_off_ends_as_an_unbroken_one(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    kind, changes = KINDS[name]
    whole = execute(kind, settings(**changes), space)
    asked_to_stop = name in ("dpo", "rloo")  # the others are broken off without a word
    told: list[int] = []

    def listen(kind: str, step: int, *more: Any) -> None:
        told.append(step)
        if step == 6 and len(told) < 100:
            told.extend([0] * 100)
            raise KeyboardInterrupt if asked_to_stop else RuntimeError("killed")

    with pytest.raises(KeyboardInterrupt if asked_to_stop else RuntimeError):
        execute(kind, settings(**changes, name="broken"), space, listen)
    told = [0] * 100
    again = execute(kind, settings(**changes, name="broken"), space, listen)
    assert min(step for step in told if step) >= 5, "it began anew"
    one, other, start = weights(whole), weights(again), weights(space.resolve("lm", "policy"))
    assert one.keys() == other.keys() == start.keys()
    assert max(float((one[key] - other[key]).abs().max()) for key in one) <= 1e-6
    assert max(float((one[key] - start[key]).abs().max()) for key in one) > 1e-3
    for file in ("looks.parquet", "samples.parquet"):
        assert pd.read_parquet(whole.path(file)).equals(pd.read_parquet(again.path(file)))
    figures = {key: value for key, value in whole.metrics.items() if key != "seconds"}
    assert {key: again.metrics[key] for key in figures} == pytest.approx(figures, abs=1e-6)
    assert set(whole.parents) == {space.resolve("lm", "policy").id, space.resolve("pairs", "dataset").id}
    assert load_policy(again).sample(["Tell Anna about space."], seed=0, max_new_tokens=4)


def test_what_is_told_and_kept_agrees(space: Workspace) -> None:
    told: list[dict[str, float]] = []
    artifact = execute(
        "train.dpo", settings(num_epochs=4.0, num_looks=2), space, lambda *values: told.append(dict(values[4]))
    )
    metrics, last = artifact.metrics, told[-1]
    assert {"loss", "accuracy", "margin", "gold", "kl", "entropy", "heldout_margin"} <= last.keys()
    assert metrics["heldout_margin"] == last["heldout_margin"]
    looks = pd.read_parquet(artifact.path("looks.parquet"))
    assert looks["step"].tolist() == [0, 12, 23]
    assert looks["kl"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert looks["kl"].iloc[-1] == metrics["kl"] == last["kl"] > 0
    reference, policy = load_policy(space.resolve("lm", "policy")), load_policy(artifact)
    held = dpo.heldout_pairs(policy, space.resolve("pairs", "dataset"), 0)
    chosen, rejected = (
        0.1 * (reply_log_probs(policy, side) - reply_log_probs(reference, side)) for side in zip(*held, strict=True)
    )
    assert metrics["heldout_margin"] == pytest.approx((chosen - rejected).mean(), abs=1e-5)
    losses = [figures["loss"] for figures in told if "loss" in figures]
    assert losses[-1] < 0.5 < losses[0]


class EarlyLetters:
    """Pays for words that begin early in the alphabet."""

    name = "early letters"

    def score(self, texts: Any) -> np.ndarray:
        return np.array([np.mean([word[0] < "j" for word in text.reply.split()] or [0]) for text in texts], dtype=float)


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_policy_learns_what_it_is_paid_for_and_kl_holds_it(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(policy_job, "opened_scorer", lambda ref, space: EarlyLetters())
    options = settings(num_steps=15, learning_rate=5e-2, method=method, reward="truth:world", gold="", batch_size=64)
    free = execute("train.rloo", options | {"beta": 0.0}, space).metrics
    assert free["reward"] > 0.8 > 0.65 > free["reward_before"]
    if method == "rloo":
        held = execute("train.rloo", options | {"beta": 3.0, "name": "held"}, space).metrics
        assert held["kl"] < free["kl"] / 10


def test_data_and_settings_that_cannot_train_are_refused(space: Workspace) -> None:
    one = pairs(1)
    same = [replace(pair, pair_id=f"s{place}", rejected=pair.chosen) for place, pair in enumerate(pairs(6))]
    keep_dataset(space, one, name="one", heldout=0.0, seed=0)
    keep_dataset(space, same, name="ties", heldout=0.0, seed=0)
    texts = [Text(text_id=str(place), prompt=pair.prompt, reply=pair.chosen) for place, pair in enumerate(pairs(6))]
    keep_dataset(space, texts, name="texts", heldout=0.0, seed=0)
    reward = {"reward": "truth:world"}
    for kind, dataset, more, reason in (
        ("train.dpo", "one", {}, "has 1 prompts to train on, and at least 2"),
        ("train.rloo", "one", reward, "has 1 prompts to train on, and at least 2"),
        ("train.dpo", "ties", {}, "0 training pairs, and at least 2 are needed: 6 are ties"),
        ("train.kto", "texts", {}, "has texts alone"),
        ("train.rloo", "pairs", reward | {"max_new_tokens": 64}, "leave no room for a prompt"),
    ):
        with pytest.raises(DataError, match=reason):
            execute(kind, settings(dataset=dataset, **more), space)
    with pytest.raises(ConfigError, match="multiple of num_generations"):
        RLOOConfig(**settings(**reward, num_generations=3))
    with pytest.raises(ConfigError, match="exo_pair needs label_smoothing"):
        DPOConfig(**settings(loss_type="exo_pair"))
    with pytest.raises(ConfigError, match="sigmoid takes no label_smoothing"):
        DPOConfig(**settings(label_smoothing=0.1))
    assert execute("train.sft", settings(dataset="texts"), space).metrics["num_texts"] == 6


class Nothing:
    name = "broken gold"

    def score(self, texts: Any) -> np.ndarray:
        return np.full(len(texts), np.nan)


def test_what_is_no_number_stops_the_run_with_the_reason(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    for kind, more in (("train.dpo", {}), ("train.sft", {}), ("train.rloo", {"reward": "truth:world", "num_steps": 9})):
        with pytest.raises(ModelError, match=r"(not a number any more at step|diverged).*ower learning_rate"):
            execute(kind, settings(**more, learning_rate=1e30), space)
    for file in space.root.glob("jobs/*/checkpoints/trainer/*/weights.safetensors"):
        assert all(bool(one.isfinite().all()) for one in load_file(file).values()), file
    monkeypatch.setattr(policy_job, "opened_scorer", lambda ref, space: Nothing())
    with pytest.raises(ModelError, match=r"broken gold gives .* no number"):
        execute("train.dpo", settings(), space)
    assert len(space.list("policy")) == 1
