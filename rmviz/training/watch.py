"""What a policy has become while it is trained: rewards, distance, diversity, its replies, and the features that drift."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from rmviz.models.policy import Policy, Reply, Tokens
from rmviz.store.artifact import write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.training.diversity import distinct_n, self_bleu
from rmviz.training.drift import FeatureReader
from rmviz.training.figures import even_steps
from rmviz.training.judge import Judge
from rmviz.training.looks import FIRINGS, LOOKS, SAMPLES
from rmviz.training.rewards import Scorer, opened_scorer, paid, unjudged

_ROWS = 16
"""Replies whose whole distributions are held at once."""


class PolicyWatch:
    """Looks at a policy at chosen steps; a look that was taken by an earlier try is not taken again.

    All looks answer the same prompts with the same seed. A look has the mean of each scorer (`reward`, `gold`), `kl` from
    the reference and `entropy` (nats per token), `kl_reply` (nats per reply), `length` (tokens), `ended` (share),
    `distinct_1`, `distinct_2` and `self_bleu`; of a judge also the share of replies that it gave no score (and that are paid 0),
    `reward_unjudged`, `gold_unjudged`.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        prompts: Sequence[str],
        scorers: Mapping[str, Scorer],
        folder: Path,
        *,
        num_steps: int,
        num_looks: int,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        reader: FeatureReader | None = None,
    ) -> None:
        """Watch one run.

        Args:
            policy: What is trained.
            reference: What it was.
            prompts: Answered at each look.
            scorers: What pays them; `reward` and `gold` by custom.
            folder: Where looks are kept until the run has ended.
            num_steps: Steps of the run.
            num_looks: Looks after the first, which is taken before training.
            max_new_tokens: Longest reply.
            temperature: Of the replies.
            seed: Of the replies.
            reader: Reads which features fire on the replies; nothing when None.
        """
        self.policy, self.reference, self.prompts, self.scorers = policy, reference, list(prompts), dict(scorers)
        self._folder, self._reader = folder / "watch", reader
        self._draws: dict[str, Any] = {"seed": seed + 777, "max_new_tokens": max_new_tokens, "temperature": temperature}
        self.steps = [0, *even_steps(num_steps, num_looks)]
        """After how many steps it looks."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def look(self, step: int) -> dict[str, float]:
        """The figures after `step` steps, where that is a step to look after; empty where it is not."""
        if step not in self.steps:
            return {}
        file = self._folder / f"{step:08d}.json"
        if not file.exists():
            training = self.policy.model.training
            self.policy.model.eval()
            self._take(file)
            self.policy.model.train(training)
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: float(value) for name, value in found["metrics"].items() if value is not None}

    def _take(self, file: Path) -> None:
        replies = self.policy.sample(self.prompts, **self._draws)
        texts = [reply.text for reply in replies]
        rewards = {name: paid(scorer, self.prompts, texts) for name, scorer in self.scorers.items()}
        if self._reader:
            save_table(self._reader.firings(self.prompts, texts), file.with_suffix(".parquet"))
        figures = self._figures(replies, rewards)
        figures["metrics"] |= {
            f"{name}_unjudged": float(unjudged(scorer, self.prompts, texts).mean())
            for name, scorer in self.scorers.items()
            if isinstance(scorer, Judge)
        }
        write_json(file, figures)

    def _figures(self, replies: Sequence[Reply], rewards: Mapping[str, np.ndarray]) -> dict[str, Any]:
        kl, entropy = kl_and_entropy(self.policy, self.reference, [reply.tokens for reply in replies])
        texts, lengths = [reply.text for reply in replies], np.array([len(reply.tokens.reply) for reply in replies])
        metrics = {name: float(values.mean()) for name, values in rewards.items()}
        metrics |= {
            "kl": float(kl.sum() / lengths.sum()), "kl_reply": float(kl.mean()), "entropy": float(entropy.sum() / lengths.sum()),
            "length": float(lengths.mean()), "ended": float(np.mean([reply.ended for reply in replies])),
            "distinct_1": distinct_n(texts, 1), "distinct_2": distinct_n(texts, 2), "self_bleu": self_bleu(texts),
        }  # fmt: skip
        columns = {name: values.tolist() for name, values in rewards.items()}
        samples = {
            "prompt": list(self.prompts),
            "reply": texts,
            **columns,
            "kl": kl.tolist(),
            "length": lengths.tolist(),
        }
        return {"metrics": metrics, "samples": samples | {"ended": [reply.ended for reply in replies]}}

    def attach(self, folder: Path) -> None:
        """Write all looks into an artifact's folder: figures by step, replies by step, firing features by step."""
        files = {step: self._folder / f"{step:08d}.json" for step in self.steps}
        found = {step: json.loads(file.read_text(encoding="utf-8")) for step, file in files.items() if file.exists()}
        save_table(pd.DataFrame([{"step": step, **one["metrics"]} for step, one in found.items()]), folder / LOOKS)
        samples = [pd.DataFrame(one["samples"]).assign(step=step) for step, one in found.items()]
        save_table(pd.concat(samples, ignore_index=True), folder / SAMPLES)
        if self._reader:
            firings = [load_table(files[step].with_suffix(".parquet")).assign(step=step) for step in found]
            save_table(pd.concat(firings, ignore_index=True), folder / FIRINGS)

    def summary(self) -> dict[str, float]:
        """Figures of the last look, and those of the first as `…_before`."""
        first, last = self.look(self.steps[0]), self.look(self.steps[-1])
        return last | {f"{name}_before": value for name, value in first.items()}


@torch.no_grad()
def kl_and_entropy(
    policy: Policy, reference: Policy, rows: Sequence[Tokens]
) -> tuple[Float[np.ndarray, " reply"], Float[np.ndarray, " reply"]]:
    """Nats by which the policy differs from the reference along each reply, and its own entropy, summed over tokens.

    At each position both whole distributions are compared, which varies less than the log-ratio of the token that was drawn
    (Amini et al. 2025, arXiv:2504.10637). An empty reply has 0.
    """
    kl, entropy = np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, len(rows), _ROWS):
        batch = policy.batch(rows[start : start + _ROWS])
        own, other = policy.logits(batch).log_softmax(2), reference.logits(batch).log_softmax(2)
        share = own.exp()
        there = batch.targets
        # a token that the policy rules out (log-probability −inf) adds 0, not NaN
        own_finite = torch.where(share > 0, own, 0.0)
        kl[start : start + _ROWS] = (((share * (own_finite - other)).sum(2)) * there).sum(1).cpu().double().numpy()
        entropy[start : start + _ROWS] = ((-(share * own_finite).sum(2)) * there).sum(1).cpu().double().numpy()
    return kl, entropy


@torch.no_grad()
def mean_log_prob(policy: Policy, rows: Sequence[Tokens]) -> float:
    """Mean log-probability (nats) that a policy gives the tokens of replies, EOS included: how fluent they are to it."""
    total = count = 0.0
    for start in range(0, len(rows), _ROWS):
        batch = policy.batch(rows[start : start + _ROWS])
        total += float((policy.log_probs(batch) * batch.targets).sum())
        count += float(batch.targets.sum())
    return total / max(count, 1.0)


def opened_watch(
    config: Any,
    policy: Policy,
    reference: Policy,
    prompts: Sequence[str],
    workspace: Workspace,
    folder: Path,
    num_steps: int,
    scorer: Scorer | None = None,
    gold: Scorer | None = None,
) -> PolicyWatch:
    """The watch that a `PolicyRun` config asks for; its `reward` is `scorer`, where the method has one.

    The gold reward is opened here where it is not handed in.
    """
    scorers = {"reward": scorer} if scorer else {}
    if config.gold:
        scorers["gold"] = gold or opened_scorer(config.gold, workspace)
    reader = FeatureReader(workspace, config.sae) if config.sae else None
    return PolicyWatch(
        policy, reference, prompts, scorers, folder, num_steps=num_steps, num_looks=config.num_looks,
        max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed, reader=reader,
    )  # fmt: skip


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures that are numbers."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
