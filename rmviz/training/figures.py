"""Figures of a reward model on pairs, and the baselines that they are read against."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rmviz.types import Pair

CHANCE = 0.5
"""Accuracy of a model that cannot tell chosen from rejected."""


def pair_accuracy(chosen: Float[np.ndarray, " pair"], rejected: Float[np.ndarray, " pair"]) -> float:
    """Share of pairs whose chosen reply has the higher reward; a tie counts half."""
    return float(np.mean((chosen > rejected) + 0.5 * (chosen == rejected)))


def length_baseline(pairs: Sequence[Pair]) -> float:
    """Accuracy of always preferring the longer reply (in characters); a tie counts half."""
    lengths = np.array([(len(pair.chosen), len(pair.rejected)) for pair in pairs], dtype=float)
    return pair_accuracy(lengths[:, 0], lengths[:, 1])


def even_steps(num_steps: int, num_checkpoints: int) -> list[int]:
    """Steps after which a checkpoint is kept: evenly spaced, each once, the last step among them."""
    return sorted({max(1, round(num_steps * (i + 1) / num_checkpoints)) for i in range(num_checkpoints)})
