"""Pairs as TRL's reward trainer takes them, tokenised by the reward model itself: training reads what scoring reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.types import Pair

_CHUNK = 512


def encoded_sides(rm: RewardModel, pairs: Sequence[Pair]) -> tuple[list[Encoded], list[Encoded]]:
    """Chosen and rejected texts of the pairs, as the model reads them."""
    sides = [pair.texts for pair in pairs]
    return rm.encode([chosen for chosen, _ in sides]), rm.encode([rejected for _, rejected in sides])


def token_dataset(
    rm: RewardModel, pairs: Sequence[Pair], told: Callable[[int], None] = lambda done: None
) -> tuple[Dataset, int]:
    """Columns `chosen_ids`, `rejected_ids` (and `chosen_types`, `rejected_types` where the model reads segments).

    Pairs whose sides are the same once cut to the model's length are left out; the second value says how many.
    """
    columns: dict[str, list[Any]] = {"chosen_ids": [], "rejected_ids": [], "chosen_types": [], "rejected_types": []}
    for start in range(0, len(pairs), _CHUNK):
        for chosen, rejected in zip(*encoded_sides(rm, pairs[start : start + _CHUNK]), strict=True):
            if chosen.ids == rejected.ids:
                continue
            for name, one in (("chosen", chosen), ("rejected", rejected)):
                columns[f"{name}_ids"].append(one.ids)
                columns[f"{name}_types"].append(one.token_types)
        told(min(start + _CHUNK, len(pairs)))
    if not rm.rules.token_types:
        del columns["chosen_types"], columns["rejected_types"]
    num_same = len(pairs) - len(columns["chosen_ids"])
    return Dataset.from_dict(columns), num_same


class PairCollator:
    """Batches for TRL's loss: the chosen texts, then the rejected ones, padded on the right."""

    def __init__(self, pad_id: int) -> None:
        """Pad with this token."""
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (and `token_type_ids`) of shape (2 × pair, position)."""
        ids = [row[f"{side}_ids"] for side in ("chosen", "rejected") for row in rows]
        batch = {"input_ids": _padded(ids, self.pad_id), "attention_mask": _padded([[1] * len(one) for one in ids], 0)}
        if "chosen_types" in rows[0]:
            batch["token_type_ids"] = _padded(
                [row[f"{side}_types"] for side in ("chosen", "rejected") for row in rows], 0
            )
        return batch


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
