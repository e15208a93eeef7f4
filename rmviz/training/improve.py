"""A run that improves a policy: opened from its config, its steps, and what it leaves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rmviz.errors import DataError
from rmviz.models.policy import Policy, Tokens
from rmviz.models.policy_files import keep_policy, load_policy, trainable, without_guide
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.loop import Loop, mixed
from rmviz.training.losses import nll, preference_loss
from rmviz.training.prompts import run_prompts
from rmviz.training.rewards import Scorer, opened_scorer
from rmviz.training.sources import parents_of, policy_source
from rmviz.training.watch import PolicyWatch, opened_watch
from rmviz.types import Report

T = TypeVar("T")


@dataclass
class Run:
    """What the methods share that improve a policy for a reward."""

    config: Any
    workspace: Workspace
    report: Report
    policy: Policy
    reference: Policy
    scorer: Scorer
    prompts: list[str]
    watch: PolicyWatch
    name: str

    def watched(self, step: int) -> dict[str, float]:
        """Look at the policy after `step` steps, where that is due."""
        with mixed(self.config.precision, self.policy.device):
            return self.watch.look(step)

    def draw_prompts(self, number: int, size: int) -> list[str]:
        """The prompts of a draw: all in random order, over and over."""
        rng = np.random.default_rng([self.config.seed, number])
        repeats = -(-size // len(self.prompts))
        order = np.concatenate([rng.permutation(len(self.prompts)) for _ in range(repeats)])[:size]
        return [self.prompts[int(i)] for i in order]

    def keep(self, num_steps: int, metrics: Mapping[str, Any]) -> Artifact:
        """Keep the policy with all that was seen of it."""
        self.watched(num_steps)
        return keep_policy(
            self.workspace, self.policy, name=self.name, key=self.report.key, config=self.config,
            parents=parents_of(self.config, self.workspace),
            metrics={**self.watch.summary(), "num_steps": num_steps, "seed": self.config.seed, **metrics},
            attach=self.watch.attach,
        )  # fmt: skip


def opened_run(config: Any, workspace: Workspace, report: Report, num_steps: int, method: str) -> Run:
    """Policy, reference, reward, prompts and watch of a `RewardedRun`, before its first step.

    Raises:
        DataError: The dataset has too few prompts.
        ModelError: A model cannot be loaded.
    """
    dataset = workspace.resolve(config.dataset, "dataset")
    source = policy_source(workspace, config.policy)
    options: dict[str, Any] = {"format": config.format, "max_length": config.max_length}
    policy = trainable(load_policy(source, dtype="float32", seed=config.seed, lora_rank=config.lora_rank, **options))
    reference = without_guide(load_policy(source, dtype="float32", **options))
    prompts, watched = run_prompts(
        dataset, policy, config.num_prompts, config.num_watched, config.max_new_tokens, config.seed
    )
    scorer = opened_scorer(config.reward, workspace)
    watch = opened_watch(config, policy, reference, watched, workspace, report.folder, num_steps, scorer)
    name = config.name or f"{policy.name}-{method}"
    return Run(config, workspace, report, policy, reference, scorer, prompts, watch, name)


def batches(rows: Sequence[T], batch_size: int, seed: int, number: int) -> Iterator[list[T]]:
    """Endless batches: all rows in random order, epoch after epoch; the same for the same seed and number."""
    epoch = 0
    while True:
        order = np.random.default_rng([seed, number, epoch]).permutation(len(rows))
        for start in range(0, len(rows), batch_size):
            yield [rows[int(i)] for i in order[start : start + batch_size]]
        epoch += 1


def imitation(run: Run, loop: Loop, rows: Sequence[Tokens]) -> dict[str, float]:
    """One step towards writing these replies."""
    with mixed(run.config.precision, run.policy.device):
        batch = run.policy.batch(rows)
        loss = nll(run.policy.log_probs(batch), batch.targets)
    return {"loss": loss.item(), "grad_norm": loop.update(loss)}


def contrast(
    run: Run, loop: Loop, pairs: Sequence[tuple[Tokens, Tokens]], beta: float, loss: str = "sigmoid"
) -> dict[str, float]:
    """One step towards preferring the first reply of each pair."""
    rows = [row for pair in zip(*pairs, strict=True) for row in pair]
    with mixed(run.config.precision, run.policy.device):
        gained = above_reference(run.policy, run.reference, rows)
        chosen, rejected = gained.chunk(2)
        lost = preference_loss(chosen, rejected, beta, loss)
    accuracy = float((chosen > rejected).float().mean())
    return {"loss": lost.item(), "accuracy": accuracy, "grad_norm": loop.update(lost)}


def above_reference(policy: Policy, reference: Policy, rows: Sequence[Tokens]) -> Float[Tensor, " text"]:
    """Log-probability of each reply under the policy less that under the reference, in nats."""
    batch = policy.batch(rows)
    with torch.no_grad():
        before = reference.log_probs(batch)
    return ((policy.log_probs(batch) - before) * batch.targets).sum(1)


def require_some(rows: Sequence[Any], what: str) -> None:
    """Say what is missing where nothing is left to learn from.

    Raises:
        DataError: There is nothing.
    """
    if not rows:
        raise DataError(
            f"no {what} is left to learn from: all replies to each prompt are worth the same. Draw more replies per prompt, "
            "at a higher temperature, or choose a reward that tells replies apart"
        )
