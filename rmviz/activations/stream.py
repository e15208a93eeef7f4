"""Endless shuffled batches of activations from texts, the same for the same seed, and able to go on from any point."""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rmviz.activations.rows import Rows, rows_of, sink_limit
from rmviz.errors import DataError, ModelError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.types import Text

_MEMORY = 3 * 2**29
"""Bytes of activations kept: texts whose rows all fit are read once and drawn from memory ever after."""

_GROUP_ROWS = 2**18
"""Rows shuffled together when they do not all fit."""

_FIRST_TEXTS = 256
"""Texts that the sink limit is measured on."""

_ENCODED_AT_ONCE = 1024
_MAX_NAMED = 20
_log = logging.getLogger(__name__)


class ActivationStream:
    """Batches (batch_size, d_in) of float32 activations in random order, epoch after epoch.

    Texts are read in groups; the rows of a group are shuffled together. `position` says where the next batch begins, and
    `seek` goes back there, to the same batches bit by bit. Sinks and rows that are not finite are left out.

    Args:
        rm: The reward model.
        texts: What it reads.
        hookpoint: Where activations are taken.
        batch_size: Rows per batch.
        seed: Seed of every order.
        memory: Bytes of activations to keep at most.
        max_tokens: Tokens per forward, padding included.
        progress: Called with the number of rows whenever a batch of texts was read.
    """

    def __init__(
        self, rm: RewardModel, texts: Sequence[Text], hookpoint: str, *, batch_size: int, seed: int = 0, memory: int = _MEMORY,
        max_tokens: int = 8192, progress: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """Measure the sink limit on the first texts, and find out whether all rows fit into memory.

        Raises:
            DataError: No text has a position at which features are defined.
            ModelError: There is no such hookpoint, or no activation of the first texts is finite.
        """
        self._rm, self._texts, self._hookpoint = rm, texts, hookpoint
        self._batch_size, self._seed, self._max_tokens, self._progress = batch_size, seed, max_tokens, progress
        self._map: Callable[[Tensor], Tensor] | None = None
        self._max_rows = max(batch_size, memory // (4 * self.width))
        self.norm_limit = self._measured_limit()
        self.nonfinite: dict[str, int] = {}
        """Rows left out because they are not finite, by text."""
        self.sinks: dict[str, int] = {}
        """Rows left out because they are attention sinks, by text."""
        encoded = self._encoded_from(np.arange(len(texts)), self._max_rows)
        self._all = encoded if len(encoded) == len(texts) else None
        self.in_memory = self._all is not None
        """Whether the model reads each text only once."""
        self._epoch = self._start = self._offset = 0
        self._group: tuple[tuple[int, int], Tensor, int] | None = None
        self._order: tuple[tuple[int, int], Tensor] | None = None

    @property
    def width(self) -> int:
        """Width of the rows."""
        return self._rm.d_in

    def read(self, encoded: Sequence[Encoded]) -> Iterator[Rows]:
        """Rows of some texts, batch by batch."""
        return rows_of(self._rm, encoded, self._hookpoint, max_tokens=self._max_tokens)

    @property
    def position(self) -> dict[str, int]:
        """Where the next batch begins: epoch, first text of the group in the epoch's order, rows of the group already taken."""
        return {"epoch": self._epoch, "start": self._start, "offset": self._offset}

    def seek(self, position: dict[str, int]) -> None:
        """Go on from a position."""
        self._epoch, self._start, self._offset = position["epoch"], position["start"], position["offset"]

    def skip(self, num_batches: int) -> None:
        """Pass over batches, as if they had been taken."""
        for _ in range(num_batches):
            self.batch()

    def sample(self, num_rows: int) -> Float[Tensor, "row d_in"]:
        """Random rows of the first group, before any map."""
        assert self._map is None, "sample before mapping"
        rows, order, _ = self._loaded()
        return rows[order[:num_rows]]

    def map_with(self, map: Callable[[Tensor], Tensor]) -> None:
        """Hand out `map(rows)` from now on."""
        self._map = map
        if self._group is not None:
            _map_in_place(self._group[1], map)

    def batch(self) -> Float[Tensor, "row d_in"]:
        """The next batch."""
        parts: list[Tensor] = []
        missing, empty = self._batch_size, 0
        while missing:
            rows, order, end = self._loaded()
            part = rows[order[self._offset : self._offset + missing]]
            parts.append(part)
            missing -= len(part)
            self._offset += len(part)
            empty = 0 if len(rows) else empty + 1
            if missing:
                self._next_group(end)
                if empty and self._start == 0:
                    raise ModelError(
                        f"no activation at {self._hookpoint} is finite in a whole pass over the texts; is the model damaged?"
                    )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _next_group(self, end: int) -> None:
        self._start, self._offset = (end, 0) if end < len(self._texts) else (0, 0)
        self._epoch += self._start == 0

    def _loaded(self) -> tuple[Tensor, Tensor, int]:
        """Rows of the current group, the order in which they are taken, and where the next group starts."""
        place = (self._epoch, self._start)
        key = (0, 0) if self.in_memory else place
        if self._group is None or self._group[0] != key:
            self._group = None  # frees the memory before the next group needs it
            encoded, end = self._next_encoded()
            rows = self._rows(encoded)
            if self._map is not None:
                _map_in_place(rows, self._map)
            self._group = (key, rows, end)
        _, rows, end = self._group
        if self._order is None or self._order[0] != place:
            self._order = (
                place,
                torch.from_numpy(np.random.default_rng([self._seed, *place, 1]).permutation(len(rows))),
            )
        return rows, self._order[1], end

    def _next_encoded(self) -> tuple[Sequence[Encoded], int]:
        if self._all is not None:
            return self._all, len(self._texts)
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._texts))
        encoded = self._encoded_from(order[self._start :], min(_GROUP_ROWS, self._max_rows))
        return encoded, self._start + len(encoded)

    def _encoded_from(self, order: np.ndarray, max_rows: int) -> list[Encoded]:
        """Texts in this order until they hold `max_rows` rows (at least one text)."""
        encoded: list[Encoded] = []
        num_rows = 0
        for start in range(0, len(order), _ENCODED_AT_ONCE):
            for one in self._rm.encode([self._texts[i] for i in order[start : start + _ENCODED_AT_ONCE]]):
                size = sum(one.feature_positions)
                if encoded and num_rows + size > max_rows:
                    return encoded
                encoded.append(one)
                num_rows += size
        return encoded

    def _rows(self, encoded: Sequence[Encoded]) -> Float[Tensor, "row d_in"]:
        kept = torch.empty(sum(sum(one.feature_positions) for one in encoded), self.width)
        size = 0
        for rows in self.read(encoded):
            norms = rows.norms
            _count(self.nonfinite, encoded, rows.text[~norms.isfinite()])
            _count(self.sinks, encoded, rows.text[norms.isfinite() & (norms > self.norm_limit)])
            good = rows.h[norms <= self.norm_limit]
            kept[size : size + len(good)] = good
            size += len(good)
            if self._progress:
                self._progress(size)
        if self.nonfinite:
            names = ", ".join(list(self.nonfinite)[:_MAX_NAMED])
            _log.warning(
                "%d texts have activations that are not finite; those are left out: %s", len(self.nonfinite), names
            )
        return kept[:size]

    def _measured_limit(self) -> float:
        if not self._texts:
            raise DataError("there are no texts to take activations from; add data first")
        encoded = self._rm.encode(self._texts[:_FIRST_TEXTS])
        norms = torch.cat([rows.norms for rows in self.read(encoded)])
        if not len(norms):
            raise DataError("the texts hold nothing but special tokens, so there are no activations to learn from")
        if not bool(norms.isfinite().any()):
            raise ModelError(
                f"all activations at {self._hookpoint} are NaN or infinite; load the model in float32, or check its weights"
            )
        return sink_limit(norms)


def _map_in_place(rows: Tensor, map: Callable[[Tensor], Tensor]) -> None:
    for part in rows.split(65536):
        part.copy_(map(part))


def _count(counts: dict[str, int], encoded: Sequence[Encoded], texts: Tensor) -> None:
    """Note how often each text occurs."""
    numbers, times = texts.unique(return_counts=True)
    counts.update({encoded[i].text_id: count for i, count in zip(numbers.tolist(), times.tolist(), strict=True)})
