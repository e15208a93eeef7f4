"""The held-out pairs of a training: measured before it, at every checkpoint, and by slice."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from rmviz.data.slices import accuracy_by_slice
from rmviz.errors import ModelError
from rmviz.estimates import accuracy
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import write_json
from rmviz.training.figures import CHANCE, length_baseline
from rmviz.training.pairs import encoded_sides
from rmviz.types import Pair

MOST_HELDOUT = 2000
"""Held-out pairs measured at most, drawn with the seed."""

SLICES = "slices.json"
"""File of a reward model: its accuracy in each part of the held-out pairs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What a model is worth on the held-out pairs: figures for lists of models, and its accuracy by slice."""

    figures: dict[str, Any]
    slices: dict[str, Any]


class Heldout:
    """The held-out pairs, encoded once and scored at every checkpoint."""

    def __init__(self, rm: RewardModel, pairs: Sequence[Pair], folder: Path) -> None:
        """Measure the untrained model, or read what was measured before an interruption."""
        self.rm, self.pairs = rm, pairs
        self.chosen, self.rejected = encoded_sides(rm, pairs)
        if not pairs:
            _log.warning("no held-out pairs: accuracy is not measured; add the data with heldout above 0")
        noted = folder / "accuracy_before.json"
        if not noted.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(noted, self.measured().figures["accuracy"])
        self.before = json.loads(noted.read_text(encoding="utf-8"))

    @property
    def baselines(self) -> dict[str, float | None]:
        """What accuracy is read against."""
        return {
            "num_heldout": len(self.pairs),
            "accuracy_before": self.before,
            "chance": CHANCE,
            "length_baseline": length_baseline(self.pairs) if self.pairs else None,
        }

    def measured(self) -> Measured:
        """The model as it is now: accuracy with its 95 % interval, mean and standard deviation of the reward, slices.

        Raises:
            ModelError: A weight or a reward is not a number.
        """
        if not all(bool(torch.isfinite(weights).all()) for weights in self.rm.model.parameters()):
            raise ModelError("the weights are not numbers any more: training diverged; lower learning_rate")
        if not self.pairs:
            names = ("accuracy", "accuracy_low", "accuracy_high", "reward_mean", "reward_std")
            return Measured(dict.fromkeys(names), {"n": 0, "slices": []})
        rewards = self._rewards()
        chosen, rejected = np.split(rewards, 2)
        margins = chosen.astype(float) - rejected
        share = accuracy(margins)
        figures = {"accuracy": share.value, "accuracy_low": share.low, "accuracy_high": share.high,
                   "reward_mean": float(rewards.mean()), "reward_std": float(rewards.std())}  # fmt: skip
        return Measured(figures, {"n": share.n, "slices": accuracy_by_slice(self.pairs, margins)})

    def _rewards(self) -> Float[np.ndarray, " text"]:
        training = self.rm.model.training
        self.rm.model.eval()
        rewards = self.rm.score_encoded([*self.chosen, *self.rejected])
        self.rm.model.train(training)
        return rewards
