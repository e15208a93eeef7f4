"""The KTO job: a policy trained by TRL on replies that are wanted or unwanted, each by itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from rmviz.configs.trl_policies import KTOConfig
from rmviz.models.policy import Policy, TokenBatch, Tokens
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.policy_job import Method, Opened, Rows, epoch_steps, followed, num_full, ordered, trained
from rmviz.training.preferences import heldout_pairs, implied, training_pairs
from rmviz.training.trainers import KTOArguments, KTOTrainer
from rmviz.types import Report


def run(config: KTOConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train a policy on both sides of the pairs, apart, and keep it; see `trained` for what is common to all methods.

    Metrics: as for DPO. Source: Ethayarajh et al. 2024 (arXiv:2402.01306).
    """
    return trained(METHOD, config, workspace, report, f"{__name__}:follow")


def follow(config: KTOConfig, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes."""
    followed(METHOD, config, workspace, folder)


def _rows(run: Opened) -> Rows:
    config: KTOConfig = run.config
    pairs, num_same = training_pairs(run.policy, run.dataset, config.num_prompts, config.seed)
    rows = [side for pair in pairs for side in pair]
    num_steps = epoch_steps(len(rows), config)
    table = Dataset.from_dict(
        {
            "ids": [row.ids for row in rows],
            "start": [row.start for row in rows],
            "label": [place % 2 == 0 for place in range(len(rows))],
        }
    )
    facts = {"num_pairs": len(pairs), "num_same": num_same, "num_full": num_full(run.policy, rows)}
    return Rows(table.select(ordered(len(rows), num_steps, config.batch_size, config.seed)), num_steps, facts)


def _trainer(run: Opened, rows: Rows, arguments: dict[str, Any], tokenizer: Any, callbacks: list[Any]) -> KTOTrainer:
    config: KTOConfig = run.config
    return KTOTrainer(
        model=run.policy.model,
        ref_model=run.reference.model,
        args=KTOArguments(
            **arguments,
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            max_length=None,
        ),
        processing_class=tokenizer,
        train_dataset=rows.dataset,
        data_collator=KTOCollator(run.policy),
        callbacks=callbacks,
    )


class KTOCollator:
    """Batches of wanted and unwanted texts, and each prompt with the reply of its neighbour, which estimates the KL."""

    def __init__(self, policy: Policy) -> None:
        """Read as this policy does."""
        self.policy = policy

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """`label` of shape (text,); ids and masks, twice, of shape (text, position)."""
        texts = [Tokens(tuple(row["ids"]), row["start"]) for row in rows]
        swapped = [self._joined(one, other) for one, other in zip(texts, [texts[-1], *texts[:-1]], strict=True)]
        label = torch.tensor([bool(row["label"]) for row in rows], device=self.policy.device)
        return {**_named(self.policy.batch(texts)), **_named(self.policy.batch(swapped), "KL_"), "label": label}

    def _joined(self, one: Tokens, other: Tokens) -> Tokens:
        given = one.ids[: one.start][-max(1, self.policy.max_length - len(other.reply)) :]
        return Tokens((*given, *other.reply), len(given))


def _named(batch: TokenBatch, prefix: str = "") -> dict[str, Tensor]:
    values = {"input_ids": batch.ids, "attention_mask": batch.mask, "completion_mask": batch.reply.long()}
    return {f"{prefix}{name}": value for name, value in values.items()}


def _measured(run: Opened) -> dict[str, float]:
    return implied(run.policy, run.reference, heldout_pairs(run.policy, run.dataset, run.config.seed), run.config.beta)


SHOWN = {
    "loss": "loss",
    "kl": "kl_estimate",
    "rewards/margins": "margin",
    "rewards/chosen": "implied_chosen",
    "rewards/rejected": "implied_rejected",
}
METHOD = Method(kind="train.kto", rows=_rows, trainer=_trainer, shown=SHOWN, measured=_measured)
