"""Pairs as TRL's reward trainer takes them, tokenised by the reward model itself: training reads what scoring reads."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from rmviz.errors import DataError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.types import Pair

_CHUNK = 512
_FURTHER = ("margin", "weight")


def encoded_sides(rm: RewardModel, pairs: Sequence[Pair]) -> tuple[list[Encoded], list[Encoded]]:
    """Chosen and rejected texts of the pairs, as the model reads them."""
    sides = [pair.texts for pair in pairs]
    return rm.encode([chosen for chosen, _ in sides]), rm.encode([rejected for _, rejected in sides])


def token_dataset(
    rm: RewardModel,
    pairs: Sequence[Pair],
    told: Callable[[int], None] = lambda done: None,
    further: Mapping[str, Sequence[float]] = {},
) -> tuple[Dataset, int, int]:
    """Columns `chosen_ids`, `rejected_ids` (and `chosen_types`, `rejected_types` where the model reads segments).

    Pairs whose sides are the same once cut to the model's length are left out; the second value says how many, the third
    of how many pairs a text was cut.

    Args:
        rm: The model that is to read them.
        pairs: Preference pairs.
        told: Told how many are done.
        further: Further columns of numbers, one for each pair.
    """
    columns: dict[str, list[Any]] = {"chosen_ids": [], "rejected_ids": [], "chosen_types": [], "rejected_types": []}
    columns |= {name: [] for name in further}
    num_cut = 0
    for start in range(0, len(pairs), _CHUNK):
        sides = zip(*encoded_sides(rm, pairs[start : start + _CHUNK]), strict=True)
        for place, (chosen, rejected) in enumerate(sides, start):
            num_cut += chosen.num_cut > 0 or rejected.num_cut > 0
            if chosen.ids == rejected.ids:
                continue
            for name, one in (("chosen", chosen), ("rejected", rejected)):
                columns[f"{name}_ids"].append(one.ids)
                columns[f"{name}_types"].append(one.token_types)
            for name, values in further.items():
                columns[name].append(values[place])
        told(min(start + _CHUNK, len(pairs)))
    if not rm.rules.token_types:
        del columns["chosen_types"], columns["rejected_types"]
    num_same = len(pairs) - len(columns["chosen_ids"])
    return Dataset.from_dict(columns), num_same, num_cut


def pair_margins(pairs: Sequence[Pair], column: str) -> list[float]:
    """What a column of the data says of each pair, 0 where it says nothing.

    Raises:
        DataError: No pair has the column, or a value is no finite number.
    """
    values = [pair.extra.get(column) for pair in pairs]
    if pairs and all(value is None for value in values):
        there = sorted({name for pair in pairs for name in pair.extra})
        raise DataError(
            f"no pair has a column {column!r} for its margin; the columns are: {', '.join(there) or 'none'}"
        )
    for pair, value in zip(pairs, values, strict=True):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not (number or value is None):
            raise DataError(f"margins must be numbers, and {column!r} of pair {pair.pair_id} is {str(value)[:60]!r}")
    return [float(value or 0.0) for value in values]  # type: ignore[arg-type]  # numbers, as was checked


def reply_weights(pairs: Sequence[Pair]) -> list[float]:
    """1 / (K − 1) for each pair of a prompt with K replies, scaled to mean 1.

    A reply ranked among K stands in K − 1 pairs: so each reply counts once, however long its ranking. Pairs without a
    prompt are prompts of their own.

    Source: Ouyang et al. 2022, section 3.5, weighs a ranking's pairs together against overfitting (arXiv:2203.02155).
    """
    replies: dict[str, set[str]] = {}
    for pair in pairs:
        replies.setdefault(pair.prompt or pair.pair_id, set()).update((pair.chosen, pair.rejected))
    weights = [1.0 / (len(replies[pair.prompt or pair.pair_id]) - 1) for pair in pairs]
    scale = len(weights) / sum(weights) if weights else 1.0
    return [scale * weight for weight in weights]


class PairCollator:
    """Batches for TRL's loss: the chosen texts, then the rejected ones, padded on the right."""

    def __init__(self, pad_id: int) -> None:
        """Pad with this token."""
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (and `token_type_ids`) of shape (2 × pair, position); `margin`, `weight` of (pair,)."""
        ids = [row[f"{side}_ids"] for side in ("chosen", "rejected") for row in rows]
        batch = {"input_ids": _padded(ids, self.pad_id), "attention_mask": _padded([[1] * len(one) for one in ids], 0)}
        if "chosen_types" in rows[0]:
            batch["token_type_ids"] = _padded(
                [row[f"{side}_types"] for side in ("chosen", "rejected") for row in rows], 0
            )
        batch |= {name: torch.tensor([float(row[name]) for row in rows]) for name in _FURTHER if name in rows[0]}
        return batch


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
