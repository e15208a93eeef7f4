"""Two reward models that read the same tokens: their residuals side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rmviz.activations.rows import Rows, rows_of
from rmviz.activations.stream import ActivationStream
from rmviz.errors import ModelError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.whitening import Whitening, whitening
from rmviz.types import Text

_CHECKED = 256
"""Texts on which the models' tokens are compared."""


def check_paired(first: RewardModel, second: RewardModel, hookpoint: str, texts: Sequence[Text]) -> None:
    """Nothing, if both models have the hookpoint, one width, and read these texts as the same tokens.

    Raises:
        ModelError: They do not; what differs is said.
    """
    for rm in (first, second):
        rm.block(hookpoint)
    if first.d_in != second.d_in:
        raise ModelError(
            f"{first.name} has width {first.d_in} and {second.name} {second.d_in}; a crosscoder needs two reward models "
            "of one architecture: train it on two checkpoints of one base, or use `rmviz compare`"
        )
    both = [rm.encode(texts[:_CHECKED]) for rm in (first, second)]
    if any(a.ids != b.ids or a.feature_positions != b.feature_positions for a, b in zip(*both, strict=True)):
        raise ModelError(
            f"{first.name} and {second.name} read the same text as other tokens (tokenizer, format or length limit "
            "differ); a crosscoder needs the same tokens: use `rmviz compare`, which compares models on texts"
        )


@dataclass
class PairedRows(Rows):
    """Residuals of both models at each position, side by side."""

    scales: tuple[float, float] = (1.0, 1.0)
    """What counts as a usual norm in each model."""

    @property
    def norms(self) -> Float[Tensor, " row"]:
        """The larger of the two norms, each in units of what is usual; not finite where either side is not."""
        sides = [half.norm(dim=1) / scale for half, scale in zip(self.h.chunk(2, dim=1), self.scales, strict=True)]
        return torch.maximum(*sides)


class PairedStream(ActivationStream):
    """Batches (batch_size, 2 · d_in): the first model's residual and the second's at the same position of the same text.

    What either model makes a sink or no number is left out of both. The models must fit, see `check_paired`.
    """

    def __init__(
        self, first: RewardModel, second: RewardModel, texts: Sequence[Text], hookpoint: str, **settings: Any
    ) -> None:
        """Measure usual norms on the first texts; settings as for `ActivationStream`.

        Raises:
            DataError: No text has a position at which features are defined.
            ModelError: No activation of the first texts is finite.
        """
        self._second, self._scales = second, (1.0, 1.0)
        sample = first.encode(texts[:_CHECKED])
        norms = [torch.cat([rows.norms for rows in rows_of(rm, sample, hookpoint)]) for rm in (first, second)]
        usual = [float(one[one.isfinite()].median()) if bool(one.isfinite().any()) else 1.0 for one in norms]
        self._scales = (usual[0] or 1.0, usual[1] or 1.0)
        super().__init__(first, texts, hookpoint, **settings)

    @property
    def width(self) -> int:
        """Of both models together."""
        return self._rm.d_in + self._second.d_in

    def read(self, encoded: Sequence[Encoded]) -> Iterator[Rows]:
        """Rows of some texts by both models; the batches are the same, since the tokens are."""
        sides = [rows_of(rm, encoded, self._hookpoint, max_tokens=self._max_tokens) for rm in (self._rm, self._second)]
        for one, other in zip(*sides, strict=True):
            yield PairedRows(torch.cat([one.h, other.h.to(one.h.device)], dim=1), one.text, self._scales)


def paired_whitening(sample: Float[Tensor, "row both"], normalize: Any = "whiten") -> Whitening:
    """Each model's own map, side by side: neither model's activations enter the other's.

    Raises:
        ModelError: All activations of one model are the same.
    """
    maps = [whitening(half, normalize) for half in sample.chunk(2, dim=1)]
    return Whitening(
        mean=torch.cat([one.mean for one in maps]),
        forward=torch.block_diag(*(one.forward for one in maps)),
        backward=torch.block_diag(*(one.backward for one in maps)),
        variance=sum(one.variance for one in maps),
    )
