"""What a policy is paid: the score of a reward model, of an ensemble, of a judge, or a task's exact reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from rmviz.configs.policies import JUDGE, REWARD_KINDS, TRUTH
from rmviz.errors import ModelError
from rmviz.models.ensemble import open_ensemble
from rmviz.models.load import from_artifact, load_reward_model
from rmviz.models.placement import unmixed
from rmviz.store.workspace import Workspace
from rmviz.training.judge import Judge, opened_judge
from rmviz.training.sources import artifact_of
from rmviz.types import Text
from rmviz.world.tasks import Task, task_named


@runtime_checkable
class Scorer(Protocol):
    """Pays replies."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def score(self, texts: Sequence[Text]) -> np.ndarray:
        """The reward of each text, in order; all of them numbers."""
        ...


@dataclass(frozen=True)
class Truth:
    """A task's exact reward."""

    task: Task

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{TRUTH}{self.task.name}"

    def score(self, texts: Sequence[Text]) -> np.ndarray:
        """The exact reward of each text."""
        return np.array([self.task.reward(text.prompt, text.reply) for text in texts], dtype=np.float32)


def opened_scorer(ref: str, workspace: Workspace, *, max_requests: int = 0, counted: Path | None = None) -> Scorer:
    """What a config's `reward` or `gold` names.

    Args:
        ref: An artifact, a folder, a hub id, an exact reward or a judge.
        workspace: Where artifacts are.
        max_requests: Requests to the server of a judge at most; 0 sets no bound.
        counted: Where they are counted; see `rmviz.training.judge.opened_judge`.

    Raises:
        ConfigError: There is no such task, or it names no judge.
        ModelError: It is no reward model.
    """
    if ref.startswith(JUDGE):
        return opened_judge(ref, workspace, max_requests=max_requests, counted=counted)
    if ref.startswith(TRUTH):
        return Truth(task_named(ref.removeprefix(TRUTH)))
    found = artifact_of(workspace, ref, *REWARD_KINDS)
    if found is None:
        return load_reward_model(ref)
    if found.kind == "ensemble":
        return open_ensemble(found, workspace)
    return from_artifact(found)


def paid(scorer: Scorer, prompts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """The reward of each reply, float64; the one that the model gives anywhere else, whatever autocast is on around it.

    Raises:
        ModelError: A reward is not a number.
    """
    texts = [
        Text(text_id=str(place), prompt=prompt, reply=reply)
        for place, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
    ]
    with unmixed():
        rewards = np.asarray(scorer.score(texts), dtype=np.float64)
    if not np.isfinite(rewards).all():
        worst = texts[int(np.flatnonzero(~np.isfinite(rewards))[0])]
        raise ModelError(f"{scorer.name} gives {worst.reply[:80]!r} no number; check its weights, or use float32")
    return rewards


def unjudged(scorer: Scorer | None, prompts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """Which of these replies, all paid before, a judge gave no score, boolean; what is no judge scores them all."""
    if not isinstance(scorer, Judge):
        return np.zeros(len(replies), bool)
    return np.array([bool(scorer.judged[asked]) for asked in zip(prompts, replies, strict=True)], bool)
