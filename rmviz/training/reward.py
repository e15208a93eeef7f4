"""The reward training job: Bradley–Terry on preference pairs with TRL, measured on held-out pairs, resumable."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback

from rmviz.configs.base import to_dict
from rmviz.configs.models import RewardConfig, step_list
from rmviz.data.load import dataset_pairs
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.jobs.interrupts import deferred_interrupt
from rmviz.models.load import load_base
from rmviz.models.register import keep_reward_model
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.distributed import Silent, ranks
from rmviz.training.heldout import MOST_HELDOUT, SLICES, Heldout
from rmviz.training.lora import add_lora, merged
from rmviz.training.pairs import PairCollator, pair_margins, reply_weights, token_dataset
from rmviz.training.progress import Progress, last_checkpoint
from rmviz.training.sources import artifact_of
from rmviz.training.trainers import RewardArguments, RewardTrainer
from rmviz.types import Report

_PATIENCE = 7200
"""Seconds that ranks wait for one another: rank 0 measures and writes while the others stand."""

_WARMUP = 0.05
"""Share of steps in which the learning rate rises."""


def run(config: RewardConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train a reward model and keep it, with earlier checkpoints as reward models of their own.

    Metrics: `accuracy` on held-out pairs (ties count half) with its 95 % interval, `accuracy_before` (the untrained
    head), `chance`, `length_baseline` (prefer the longer reply), `num_pairs`, `num_heldout`, `num_same` (pairs left out
    because cutting made their sides equal), `num_cut` (pairs of which a text lost its start), `steps`, `seed`,
    `reward_mean` and `reward_std` over held-out texts; the held-out figures are None where the dataset has no held-out
    pair. Beside the weights lies the accuracy by slice of the held-out pairs.

    Raises:
        ConfigError: A step to keep lies beyond the last one.
        DataError: The dataset has no pairs, or too few, to train on, or margins that are no numbers.
        ModelError: The base cannot be loaded, or training diverged.
    """
    dataset = workspace.resolve(config.dataset, "dataset")
    base = artifact_of(workspace, config.base, "policy", "reward_model")
    rm, tokens, counts = _prepared(config, dataset, base, report)
    heldout = Heldout(rm, dataset_pairs(dataset, "heldout", MOST_HELDOUT, config.seed), report.folder)

    name = config.name or f"{rm.name}-{dataset.name}"
    key = report.key
    fixed = {"num_pairs": len(tokens), **counts, "seed": config.seed, **heldout.baselines}
    parents = (dataset.id, *((base.id,) if base else ()))

    def keep(step: int, *, last: bool = False) -> Artifact:
        step_key, step_name = (key, name) if last else (f"{key}/step-{step}", f"{name}@step-{step}")
        if done := workspace.by_key(step_key):
            return done
        with merged(rm) if config.lora_rank else nullcontext():
            measured = heldout.measured()
            return keep_reward_model(
                workspace, rm, name=step_name, key=step_key, config=to_dict(config), parents=parents,
                metrics=fixed | {"steps": step} | measured.figures, records={SLICES: measured.slices},
            )  # fmt: skip

    with ranks(config.num_processes, "train.reward", config, workspace.root, report.folder, f"{__name__}:follow"):
        num_steps = _train(rm, config, tokens, report, keep)
    artifact = keep(num_steps, last=True)
    measured = artifact.metrics["accuracy"]
    report(num_steps, num_steps, {} if measured is None else {"heldout_accuracy": measured})
    return artifact


def follow(config: RewardConfig, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes; rank 0 tells and keeps what comes of it."""
    dataset = workspace.resolve(config.dataset, "dataset")
    report = Silent(folder)
    rm, tokens, _ = _prepared(config, dataset, artifact_of(workspace, config.base, "policy", "reward_model"), report)
    _train(rm, config, tokens, report, lambda step: None)


def _prepared(
    config: RewardConfig, dataset: Artifact, base: Artifact | None, report: Report
) -> tuple[RewardModel, Dataset, dict[str, int]]:
    """The model to train, its pairs as tokens, and how many of them were cut, left out or drawn."""
    pairs = dataset_pairs(dataset, "train", config.num_pairs, config.seed)
    _require_enough(dataset, len(pairs), "")
    further = {"margin": pair_margins(pairs, config.margin_column)} if config.margin_column else {}
    further |= {"weight": reply_weights(pairs)} if config.weigh == "replies" else {}
    rm = load_base(base or config.base, seed=config.seed, format=config.format, max_length=config.max_length)
    _give_pad_token(rm)
    tokens, num_same, num_cut = token_dataset(
        rm, pairs, lambda done: report(0, _num_steps(config, done), {"pairs_read": float(done)}), further
    )
    _require_enough(
        dataset, len(tokens), f": {num_same} are the same on both sides in their last {rm.max_length} tokens"
    )
    counts = {"num_same": num_same, "num_cut": num_cut}
    if config.resample:
        drawn = np.random.default_rng(config.seed).integers(len(tokens), size=len(tokens))
        tokens = tokens.select(drawn)
        counts["num_distinct"] = len(np.unique(drawn))
    _check_kept_steps(config, len(tokens))
    if config.lora_rank:
        add_lora(rm, config.lora_rank, config.seed)
    return rm, tokens, counts


def _train(rm: RewardModel, config: RewardConfig, tokens: Dataset, report: Report, keep: Callable[[int], Any]) -> int:
    """Train in place, from the last checkpoint if there is one; how many steps the run has."""
    folder = report.folder / "trainer"
    checkpoint = last_checkpoint(folder)
    with deferred_interrupt() as stop:
        trainer = RewardTrainer(
            model=rm.model,
            args=_arguments(rm, config, folder, len(tokens)),
            smoothing=config.label_smoothing,
            processing_class=rm.tokenizer,
            train_dataset=tokens,
            data_collator=PairCollator(rm.pad_id),
            callbacks=[
                Progress(
                    report, stop, num_checkpoints=config.num_checkpoints, keep=keep, keep_at=step_list(config.keep_at)
                )
            ],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    rm.model.eval()
    if stop.is_set() and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    return trainer.state.max_steps


def _arguments(rm: RewardModel, config: RewardConfig, folder: Path, num_pairs: int) -> RewardArguments:
    on_cpu = rm.device.type == "cpu"
    num_steps = _num_steps(config, num_pairs)
    arguments = RewardArguments(
        output_dir=str(folder),
        num_train_epochs=config.num_epochs,
        per_device_train_batch_size=config.batch_size // config.num_processes,
        ddp_timeout=_PATIENCE,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(_WARMUP * num_steps),
        center_rewards_coefficient=config.center_rewards or None,
        max_length=None,  # the reward model has cut already; TRL would drop what is longer
        seed=config.seed,
        use_cpu=on_cpu,
        bf16=_in_bfloat16(config.precision, rm.device),
        activation_checkpointing=False,
        save_strategy="no",  # Progress asks for checkpoints, by the clock
        save_total_limit=2,
        logging_steps=min(10, max(1, round(num_steps / 100))),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:  # TRL refuses nn.DataParallel
        arguments._n_gpu = 1
    return arguments


def _in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the training arithmetic is bfloat16.

    Raises:
        ModelError: It is asked for, and the device has none.
    """
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" and not (on_gpu or device.type == "cpu"):
        raise ModelError(
            f"the device {device} has no bfloat16 arithmetic for training; set precision to float32 or auto"
        )
    return precision == "bfloat16" or (precision == "auto" and on_gpu)


def _check_kept_steps(config: RewardConfig, num_pairs: int) -> None:
    last, kept = _num_steps(config, num_pairs), step_list(config.keep_at)
    if kept and kept[-1] > last:
        raise ConfigError(f"keep_at names step {kept[-1]}, and this training has {last}; name steps up to {last}")


def _num_steps(config: RewardConfig, num_pairs: int) -> int:
    return math.ceil(math.ceil(num_pairs / config.batch_size) * config.num_epochs)


def _require_enough(dataset: Artifact, num_pairs: int, why: str) -> None:
    if not dataset.metrics.get("num_pairs"):
        raise DataError(f"the dataset {dataset.name} has texts alone; training needs pairs (chosen, rejected)")
    if num_pairs < 2:
        raise DataError(f"the dataset {dataset.name} has {num_pairs} training pairs, and at least 2 are needed{why}")


def _give_pad_token(rm: RewardModel) -> None:
    """Make the tokenizer pad with the token that the model pools by; TRL copies it into the model's config."""
    token = rm.tokenizer.convert_ids_to_tokens(rm.pad_id)
    if token is None:  # an id that no token has yet: the first unused row of the embedding
        rm.tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    else:
        rm.tokenizer.pad_token = token
    assert rm.tokenizer.pad_token_id == rm.pad_id, "the tokenizer pads with another token than the model"
