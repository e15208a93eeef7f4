"""What all jobs share that train a policy with one of TRL's trainers: opened, trained, watched, kept, taken up again."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback

from rmviz.configs.trl_policies import EpochRun, TrainerRun
from rmviz.errors import ModelError
from rmviz.jobs.interrupts import deferred_interrupt
from rmviz.models.policy import Policy, Tokens
from rmviz.models.policy_files import keep_policy, load_policy, trainable, without_guide
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.distributed import Silent, ranks
from rmviz.training.loop import in_bfloat16
from rmviz.training.progress import PolicyProgress, last_checkpoint
from rmviz.training.prompts import run_prompts
from rmviz.training.rewards import Scorer, opened_scorer
from rmviz.training.sources import parents_of, policy_source
from rmviz.training.trainers import unpatched
from rmviz.training.watch import PolicyWatch, finite, opened_watch
from rmviz.types import Report

_log = logging.getLogger(__name__)
_PATIENCE = 7200
"""Seconds that ranks wait for one another: rank 0 looks and writes while the others stand."""

_WARMUP = 0.05
"""Share of steps in which the learning rate rises."""


@dataclass(frozen=True)
class Opened:
    """What a run has opened."""

    config: Any
    workspace: Workspace
    dataset: Artifact
    policy: Policy
    reference: Policy
    """The policy as it was; it stays so, also when a run is taken up again."""

    prompts: Sequence[str]
    """To train on."""

    watched: Sequence[str]
    """Held-out prompts that are answered at each look."""

    scorer: Scorer | None
    """What pays the replies, where the method has a reward."""

    gold: Scorer | None
    """What is watched beside it."""


@dataclass(frozen=True)
class Rows:
    """What a run reads, in the order in which it reads it."""

    dataset: Dataset
    num_steps: int
    facts: Mapping[str, float] = field(default_factory=dict)
    """Figures for the result: how many rows there are, and how many were left out."""


Maker = Callable[[Opened, Rows, dict[str, Any], PreTrainedTokenizerBase, list[TrainerCallback]], Any]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What one method adds."""

    kind: str
    """The job's kind."""

    rows: Callable[[Opened], Rows]
    trainer: Maker
    """Makes the trainer of: what is open, the rows, arguments that all trainers share, a tokenizer that pads, callbacks."""

    shown: Mapping[str, str]
    """Figures to tell: the trainer's name of each, and what it is called here."""

    measured: Callable[[Opened], Mapping[str, float]] = lambda run: {}
    """Figures of the trained policy on held-out data."""


def trained(method: Method, config: Any, workspace: Workspace, report: Report, follow: str) -> Artifact:
    """Train a policy and keep it; an interrupted run goes on from its last checkpoint and ends the same.

    Metrics: those of the last look, and of the first as `…_before` (see `PolicyWatch`), the method's own, `steps` and `seed`.

    Args:
        method: What is done.
        config: A `TrainerRun`.
        workspace: Where parents are found and the policy is kept.
        report: Where progress is told.
        follow: `module:function` that other processes of the run call.

    Raises:
        DataError: The dataset has too little to train on.
        ModelError: A model cannot be loaded, training diverged, or a reward is not a number.
    """
    run = opened(config, workspace)
    rows = method.rows(run)
    with ranks(config.num_processes, method.kind, config, workspace.root, report.folder, follow):
        watch = opened_watch(
            config,
            run.policy,
            run.reference,
            run.watched,
            workspace,
            report.folder,
            rows.num_steps,
            run.scorer,
            run.gold,
        )
        _fit(method, run, rows, report, watch)
    measured = method.measured(run)
    report(rows.num_steps, rows.num_steps, finite(measured))
    return keep_policy(
        workspace, run.policy, name=config.name or f"{run.policy.name}-{method.kind.removeprefix('train.')}",
        key=report.key, config=config, parents=parents_of(config, workspace),
        metrics={**watch.summary(), **measured, **rows.facts, "steps": rows.num_steps, "seed": config.seed},
        attach=watch.attach,
    )  # fmt: skip


def followed(method: Method, config: Any, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes; rank 0 looks, tells and keeps what comes of it."""
    run = opened(config, workspace)
    _fit(method, run, method.rows(run), Silent(folder), None)


def opened(config: TrainerRun, workspace: Workspace) -> Opened:
    """The models and prompts that a config names."""
    dataset = workspace.resolve(config.dataset, "dataset")
    source = policy_source(workspace, config.policy)
    options: dict[str, Any] = {"format": config.format, "max_length": config.max_length, "dtype": "float32"}
    reference = without_guide(load_policy(source, **options))
    prompts, watched = run_prompts(
        dataset, reference, config.num_prompts, config.num_watched, config.max_new_tokens, config.seed
    )
    policy = trainable(load_policy(source, seed=config.seed, lora_rank=config.lora_rank, **options))
    reward = getattr(config, "reward", "")
    scorer, gold = (opened_scorer(ref, workspace) if ref else None for ref in (reward, config.gold))
    for one in (policy, reference):
        _without_dropout(one)
    return Opened(config, workspace, dataset, policy, reference, prompts, watched, scorer, gold)


def _without_dropout(policy: Policy) -> None:
    """What is learnt from is what the policy writes with."""
    for module in policy.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            vars(module)["attention_dropout"] = 0.0


def ordered(num_rows: int, num_steps: int, batch_size: int, seed: int) -> list[int]:
    """Row numbers in the order in which they are read, in whole batches: all rows shuffled, again for each pass.

    A run that is taken up again finds its place by counting alone.
    """
    rng, found = np.random.default_rng(seed), list[int]()
    while len(found) < num_steps * batch_size:
        found += rng.permutation(num_rows).tolist()
    return found[: num_steps * batch_size]


def epoch_steps(num_rows: int, config: EpochRun) -> int:
    """Steps of a run that passes over its rows."""
    return max(1, round(num_rows * config.num_epochs / config.batch_size))


def num_full(policy: Policy, rows: Sequence[Tokens]) -> int:
    """How many texts fill all the tokens that the policy reads; those that were longer have been cut."""
    full = sum(len(row.ids) == policy.max_length for row in rows)
    if full:
        _log.warning(
            "%d of %d texts fill all %d tokens of max_length; longer ones lost the start of their prompt, or the end of their "
            "reply", full, len(rows), policy.max_length,
        )  # fmt: skip
    return full


def _fit(method: Method, run: Opened, rows: Rows, report: Report, watch: PolicyWatch | None) -> None:
    """Train in place, from the last checkpoint if there is one."""
    folder = report.folder / "trainer"
    checkpoint = last_checkpoint(folder)
    with deferred_interrupt() as stop:
        progress = PolicyProgress(report, stop, watch=watch, shown={"learning_rate": "learning_rate", **method.shown})
        trainer = method.trainer(run, rows, _arguments(run, rows, folder), _padding_tokenizer(run.policy), [progress])
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    unpatched(run.policy.model)
    unpatched(run.reference.model)
    run.policy.model.eval()
    if stop.is_set() and trainer.state.global_step < rows.num_steps:
        raise KeyboardInterrupt
    if not all(bool(weights.isfinite().all()) for weights in run.policy.model.parameters()):
        raise ModelError("the weights are not numbers any more: training diverged; lower learning_rate")


def _arguments(run: Opened, rows: Rows, folder: Path) -> dict[str, Any]:
    """What all trainers are told alike."""
    config, device = run.config, run.policy.device
    return {
        "output_dir": str(folder),
        "max_steps": rows.num_steps,
        "per_device_train_batch_size": config.batch_size // config.num_processes,
        "train_sampling_strategy": "sequential",  # the rows are in order already
        "ddp_timeout": _PATIENCE,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": math.ceil(_WARMUP * rows.num_steps),
        "seed": config.seed,
        "use_cpu": device.type == "cpu",
        "bf16": in_bfloat16(config.precision, device),
        "activation_checkpointing": False,
        "save_strategy": "no",  # Progress asks for checkpoints, by the clock
        "save_total_limit": 2,
        "logging_steps": 1,  # so that a loss that is no number is seen before it is saved
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _padding_tokenizer(policy: Policy) -> Any:
    """A copy of the tokenizer that pads with the policy's token: trainers want one, and write it into the model's config."""
    tokenizer = deepcopy(policy.tokenizer)
    token = tokenizer.convert_ids_to_tokens(policy.pad_id)
    if token is None:  # an id that no token has yet: the first unused row of the embedding
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    else:
        tokenizer.pad_token = token
    return tokenizer
