"""Policies measured alike: the same held-out prompts, the same seed, gold and proxy rewards, and KL from the start."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rmviz.configs.iterated import IteratedConfig
from rmviz.errors import DataError
from rmviz.models.formats import FormatName
from rmviz.models.load import from_artifact
from rmviz.models.policy_files import load_policy
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.training.prompts import distinct_prompts
from rmviz.training.rewards import opened_scorer, paid
from rmviz.training.watch import kl_and_entropy


@dataclass(frozen=True, kw_only=True)
class Point:
    """One policy as it was measured."""

    labels: int
    """Gold labels spent until then."""

    gold: float
    """Mean gold reward."""

    gold_gain: float
    """Its rise over the start, in standard deviations of the start's gold rewards."""

    proxy_gain: float
    """The same of the proxy's rewards: their difference is the gap."""

    kl: float
    """Nats per reply by which it has left the start."""

    length: float
    """Tokens per reply."""

    @property
    def gap(self) -> float:
        """By how much more the proxy thinks it has risen than the gold reward does, in standard deviations."""
        return self.proxy_gain - self.gold_gain


class Meter:
    """Measures the policies of one seed."""

    def __init__(self, space: Workspace, config: IteratedConfig, seed: int, folder: Path) -> None:
        """Draw the start's replies, which all are held against."""
        self._config, self._seed, self._folder = config, seed, folder
        self._start = load_policy(space.resolve(config.policy, "policy"))
        self._gold = opened_scorer(config.gold, space)
        dataset = space.resolve(config.dataset, "dataset")
        self._prompts = distinct_prompts(dataset, "heldout", config.num_measured, seed)
        if not self._prompts:
            raise DataError(
                f"policies are measured on held-out prompts, and {dataset.name} has none; keep it with heldout above 0"
            )
        drawn = self._start.sample(self._prompts, seed=seed + 31, max_new_tokens=config.max_new_tokens)
        self._replies = [reply.text for reply in drawn]
        self._length = float(np.mean([len(reply.tokens.reply) for reply in drawn]))
        self._golds = paid(self._gold, self._prompts, self._replies)

    @property
    def format(self) -> FormatName:
        """How the start's prompts are laid out: proxies read them as policies do."""
        return self._start.format

    def start(self) -> Point:
        """The policy that all start from."""
        gold = float(self._golds.mean())
        return Point(labels=0, gold=gold, gold_gain=0.0, proxy_gain=0.0, kl=0.0, length=self._length)

    def point(self, policy: Artifact, proxy: Artifact, labels: int) -> Point:
        """A policy, and what the proxy that it was trained for thinks of it; measured once."""
        file = self._folder / f"point-{policy.id}-{proxy.id}-{self._seed}.json"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, asdict(self._measured(policy, proxy, labels)))
        return Point(**json.loads(file.read_text(encoding="utf-8")))

    def _measured(self, artifact: Artifact, proxy: Artifact, labels: int) -> Point:
        policy, rm = load_policy(artifact), from_artifact(proxy)
        drawn = policy.sample(self._prompts, seed=self._seed + 31, max_new_tokens=self._config.max_new_tokens)
        replies = [reply.text for reply in drawn]
        golds = paid(self._gold, self._prompts, replies)
        before, after = paid(rm, self._prompts, self._replies), paid(rm, self._prompts, replies)
        kl, _ = kl_and_entropy(policy, self._start, [reply.tokens for reply in drawn])
        return Point(
            labels=labels,
            gold=float(golds.mean()),
            gold_gain=_gain(self._golds, golds),
            proxy_gain=_gain(before, after),
            kl=float(kl.mean()),
            length=float(np.mean([len(reply.tokens.reply) for reply in drawn])),
        )


def _gain(before: np.ndarray, after: np.ndarray) -> float:
    """How much higher, in standard deviations of what was before."""
    return float((after.mean() - before.mean()) / max(before.std(), 1e-9))
