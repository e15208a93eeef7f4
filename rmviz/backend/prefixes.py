"""The reward after each token of a text, with or without an edit."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rmviz.activations.hooks import replacing
from rmviz.backend.edits import FeatureEdit
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel

MAX_PREFIXES = 128
"""Prefixes of one text that an encoder reads, evenly spread over the text; each costs a forward."""
MAX_TOKENS = 8192
"""Tokens of one batch of prefixes."""


@dataclass(frozen=True)
class Prefixes:
    """Rewards if the text ended at each of `positions`; `rewards` has one number per token, NaN at the others."""

    positions: list[int]
    rewards: np.ndarray


@torch.no_grad()
def causal_prefixes(rm: RewardModel, encoded: Encoded, block: nn.Module, residual: Tensor | None = None) -> Prefixes:
    """The head at every position of one forward; `residual`, if given, takes the place of the block's output."""
    edited = nullcontext() if residual is None else replacing(block, lambda h: residual)
    with edited:
        rewards = rm.prefix_rewards(encoded)
    return Prefixes(np.flatnonzero(np.isfinite(rewards)).tolist(), rewards)


@torch.no_grad()
def encoder_prefixes(rm: RewardModel, encoded: Encoded, block: nn.Module, edit: FeatureEdit | None = None) -> Prefixes:
    """Prefixes read as texts of their own, at most `MAX_PREFIXES`; features are scaled or set in each as they fire there."""
    rewards = np.full(len(encoded.ids), np.nan)
    places = np.flatnonzero(encoded.feature_positions)
    chosen = np.linspace(0, len(places) - 1, min(len(places), MAX_PREFIXES)).round().astype(int)
    positions = np.unique(places[chosen]).tolist()
    for part in _batches(positions):
        texts = [prefix(encoded, position) for position in part]
        edited = nullcontext() if edit is None else replacing(block, partial(edit.on_texts, encoded=texts))
        with edited:
            rewards[part] = rm.rewards(rm.collate(texts)).cpu().numpy()
    return Prefixes(positions, rewards)


def prefix(encoded: Encoded, position: int) -> Encoded:
    """The text cut after one of its tokens, closed by the special tokens that close the text ([SEP])."""
    end = len(encoded.ids)
    while end > position + 1 and not encoded.feature_positions[end - 1]:
        end -= 1
    kept = [*range(position + 1), *range(end, len(encoded.ids))]
    types = encoded.token_types
    return replace(
        encoded,
        ids=tuple(encoded.ids[i] for i in kept),
        # the closing tokens belong to the segment that they close
        token_types=None if types is None else tuple(types[min(i, position)] for i in kept),
        feature_positions=tuple(encoded.feature_positions[i] for i in kept),
        tokens=tuple(encoded.tokens[i] for i in kept),
        reply_start=min(encoded.reply_start, len(kept)),
    )


def _batches(positions: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive positions whose prefixes, padded to the longest, have at most `MAX_TOKENS` tokens."""
    part: list[int] = []
    for position in positions:
        if part and (len(part) + 1) * (position + 3) > MAX_TOKENS:
            yield part
            part = []
        part.append(position)
    if part:
        yield part
