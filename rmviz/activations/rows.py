"""Residuals of many texts as plain rows: one row for each position where features are defined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rmviz.activations.hooks import residuals
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel, length_buckets

SINK = 10.0
"""Positions whose norm is this many times the median are attention sinks: left out of training and of FVU."""


@dataclass
class Rows:
    """Residuals of a batch of texts at their feature positions, all finite or not."""

    h: Float[Tensor, "row d_in"]
    text: Int[Tensor, " row"]
    """Index of each row's text in what was given."""

    @property
    def norms(self) -> Float[Tensor, " row"]:
        """Length of each row."""
        return self.h.norm(dim=1)


def rows_of(rm: RewardModel, encoded: Sequence[Encoded], hookpoint: str, *, max_tokens: int = 8192) -> Iterator[Rows]:
    """Rows of all texts, batch by batch in order of falling length, float32, on the model's device.

    Raises:
        ModelError: The model has no such hookpoint.
    """
    for bucket in length_buckets([len(one.ids) for one in encoded], max_tokens):
        batch = rm.collate([encoded[i] for i in bucket])
        h, _ = residuals(rm, batch, hookpoint)
        mask = feature_mask([encoded[i] for i in bucket]).to(h.device)
        text = torch.tensor(bucket, device=h.device).unsqueeze(1).expand(mask.shape)
        yield Rows(h[mask].float(), text[mask])


def feature_mask(encoded: Sequence[Encoded]) -> Bool[Tensor, "text position"]:
    """Where features are defined, right-padded with False."""
    mask = torch.zeros(len(encoded), max(len(one.ids) for one in encoded), dtype=torch.bool)
    for row, one in enumerate(encoded):
        mask[row, : len(one.ids)] = torch.tensor(one.feature_positions, dtype=torch.bool)
    return mask


def sink_limit(norms: Float[Tensor, " row"]) -> float:
    """The norm above which a row counts as an attention sink; infinite when there is no finite row to go by."""
    finite = norms[norms.isfinite()]
    return SINK * float(finite.median()) if len(finite) else float("inf")
