"""The DPO job: a policy trained on preference pairs by TRL, against itself as it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor

from rmviz.configs.trl_policies import DPOConfig
from rmviz.models.policy import Policy, Tokens
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.policy_job import Method, Opened, Rows, epoch_steps, followed, num_full, ordered, trained
from rmviz.training.preferences import heldout_pairs, implied, training_pairs
from rmviz.training.trainers import DPOArguments, DPOTrainer
from rmviz.types import Report

SHOWN = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "implied_chosen",
    "rewards/rejected": "implied_rejected",
}
"""Figures of the implied reward, as told."""


def run(config: DPOConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train a policy on pairs and keep it; see `trained` for what is common to all methods.

    Metrics: `num_pairs`, `num_same` (ties, left out), `num_full` (texts at max_length), `heldout_accuracy` and
    `heldout_margin` of the implied reward; a policy that is its own reference has .5 and 0.
    """
    return trained(METHOD, config, workspace, report, f"{__name__}:follow")


def follow(config: DPOConfig, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes."""
    followed(METHOD, config, workspace, folder)


def _rows(run: Opened) -> Rows:
    config: DPOConfig = run.config
    pairs, num_same = training_pairs(run.policy, run.dataset, config.num_prompts, config.seed)
    num_steps = epoch_steps(len(pairs), config)
    order = ordered(len(pairs), num_steps, config.batch_size, config.seed)
    table = Dataset.from_dict(
        {
            "chosen": [chosen.ids for chosen, _ in pairs],
            "chosen_start": [chosen.start for chosen, _ in pairs],
            "rejected": [rejected.ids for _, rejected in pairs],
            "rejected_start": [rejected.start for _, rejected in pairs],
        }
    )
    facts = {
        "num_pairs": len(pairs),
        "num_same": num_same,
        "num_full": num_full(run.policy, [side for pair in pairs for side in pair]),
    }
    return Rows(table.select(order), num_steps, facts)


def _trainer(run: Opened, rows: Rows, arguments: dict[str, Any], tokenizer: Any, callbacks: list[Any]) -> DPOTrainer:
    config: DPOConfig = run.config
    return DPOTrainer(
        model=run.policy.model,
        ref_model=run.reference.model,
        args=DPOArguments(
            **arguments,
            beta=config.beta,
            loss_type=[config.loss_type, *(["sft"] if config.sft_weight else [])],
            loss_weights=[1.0, config.sft_weight] if config.sft_weight else None,
            label_smoothing=config.label_smoothing,
            max_length=None,
        ),
        processing_class=tokenizer,
        train_dataset=rows.dataset,
        data_collator=_Collator(run.policy),
        callbacks=callbacks,
    )


class _Collator:
    """Batches for TRL's loss: the chosen texts, then the rejected ones."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        texts = [Tokens(tuple(row[side]), row[f"{side}_start"]) for side in ("chosen", "rejected") for row in rows]
        batch = self.policy.batch(texts)
        return {"input_ids": batch.ids, "attention_mask": batch.mask, "completion_mask": batch.reply.long()}


def _measured(run: Opened) -> dict[str, float]:
    return implied(run.policy, run.reference, heldout_pairs(run.policy, run.dataset, run.config.seed), run.config.beta)


METHOD = Method(kind="train.dpo", rows=_rows, trainer=_trainer, shown=SHOWN, measured=_measured)
