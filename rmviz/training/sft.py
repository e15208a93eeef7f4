"""The SFT job: a policy fine-tuned by TRL on replies that are good."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from rmviz.configs.trl_policies import SFTConfig
from rmviz.data.load import Split, dataset_texts
from rmviz.models.policy import Policy, Tokens
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.policy_job import Method, Opened, Rows, epoch_steps, followed, num_full, ordered, trained
from rmviz.training.preferences import MOST_HELDOUT, reply_log_probs
from rmviz.training.trainers import SFTArguments, SFTTrainer
from rmviz.types import Report

_UNLEARNT = -100
"""The label of a token that the loss leaves out."""


def run(config: SFTConfig, workspace: Workspace, report: Report) -> Artifact:
    """Fine-tune a policy on chosen replies, or texts, and keep it; see `trained` for what is common to all methods.

    Metrics: `num_texts`, `num_full` (texts at max_length), `heldout_loss` (nats per token of a held-out reply) and
    `heldout_loss_before`.
    """
    return trained(METHOD, config, workspace, report, f"{__name__}:follow")


def follow(config: SFTConfig, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes."""
    followed(METHOD, config, workspace, folder)


def _encoded(run: Opened, split: Split, num_rows: int) -> list[Tokens]:
    texts = dataset_texts(run.dataset, split, num_rows, run.config.seed)
    return [run.policy.encode(text.prompt, text.reply) for text in texts if text.side != "rejected"]


def _rows(run: Opened) -> Rows:
    config: SFTConfig = run.config
    rows = _encoded(run, "train", config.num_prompts)
    num_steps = epoch_steps(len(rows), config)
    table = Dataset.from_dict({"ids": [row.ids for row in rows], "start": [row.start for row in rows]})
    facts = {"num_texts": len(rows), "num_full": num_full(run.policy, rows)}
    return Rows(table.select(ordered(len(rows), num_steps, config.batch_size, config.seed)), num_steps, facts)


def _trainer(run: Opened, rows: Rows, arguments: dict[str, Any], tokenizer: Any, callbacks: list[Any]) -> SFTTrainer:
    return SFTTrainer(
        model=run.policy.model,
        args=SFTArguments(**arguments, max_length=None),
        processing_class=tokenizer,
        train_dataset=rows.dataset,
        data_collator=_Collator(run.policy, learn_prompts=run.config.learn_prompts),
        callbacks=callbacks,
    )


class _Collator:
    """Batches whose labels are the tokens to learn."""

    def __init__(self, policy: Policy, *, learn_prompts: bool) -> None:
        self.policy, self.learn_prompts = policy, learn_prompts

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = self.policy.batch([Tokens(tuple(row["ids"]), row["start"]) for row in rows])
        learnt = batch.mask.bool() if self.learn_prompts else batch.reply.clone()
        learnt[:, 0] = False  # nothing comes before it
        labels = torch.where(learnt, batch.ids, _UNLEARNT)
        return {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": labels}


def _measured(run: Opened) -> dict[str, float]:
    rows = _encoded(run, "heldout", MOST_HELDOUT)
    if not rows:
        return {}
    num_tokens = sum(len(row.ids) - max(row.start, 1) for row in rows)
    after, before = (-float(reply_log_probs(one, rows).sum()) / num_tokens for one in (run.policy, run.reference))
    return {"heldout_loss": after, "heldout_loss_before": before}


SHOWN = {"loss": "loss", "mean_token_accuracy": "token_accuracy"}
METHOD = Method(kind="train.sft", rows=_rows, trainer=_trainer, shown=SHOWN, measured=_measured)
