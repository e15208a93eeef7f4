"""Rewards of poems; one that the reward model has no number for does not stop a search."""

from collections.abc import Callable, Sequence

import numpy as np

from rmviz.errors import DataError, ModelError
from rmviz.models.reward_model import RewardModel
from rmviz.types import Text

Score = Callable[[Sequence[str]], np.ndarray]
"""Rewards of texts, float32, NaN where there is none."""


def scorer(rm: RewardModel, prompt: str, max_tokens: int = 8192) -> Score:
    """A function that scores poems as replies to one prompt, in batches.

    Args:
        rm: The reward model.
        prompt: What it reads as the prompt of every poem.
        max_tokens: Tokens in a batch.
    """

    def score(poems: Sequence[str]) -> np.ndarray:
        texts = [Text(text_id=f"poem {i}", prompt=prompt, reply=poem) for i, poem in enumerate(poems)]
        return finite_rewards(lambda some: rm.score(some, max_tokens=max_tokens), texts)

    return score


def finite_rewards(score: Callable[[Sequence[Text]], np.ndarray], texts: Sequence[Text]) -> np.ndarray:
    """Rewards of texts, NaN for those that cannot be scored: a batch that fails is halved until they are found."""
    if not texts:
        return np.zeros(0, np.float32)
    try:
        return np.asarray(score(texts), np.float32)
    except (ModelError, DataError):
        if len(texts) == 1:
            return np.full(1, np.nan, np.float32)
    middle = len(texts) // 2
    return np.concatenate([finite_rewards(score, texts[:middle]), finite_rewards(score, texts[middle:])])
