"""What fires where, and which rows must be rerun: pure arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64


@dataclass
class EffectRows:
    """One row per text and feature that fires on it, sorted by text, then feature."""

    text: Int32[np.ndarray, " row"]
    """Index of the text among those given."""
    feature: Int32[np.ndarray, " row"]
    first_position: Int32[np.ndarray, " row"]
    max_activation: Float32[np.ndarray, " row"]
    effect: Float32[np.ndarray, " row"]
    """Reward with the feature − reward without it."""
    first_order: Float32[np.ndarray, " row"]
    """The same by gradient × activation; NaN where it was not asked for."""

    def __len__(self) -> int:
        return len(self.text)

    def taken(self, rows: np.ndarray) -> "EffectRows":
        """Some rows, by index or mask."""
        return EffectRows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def joined(parts: Sequence["EffectRows"]) -> "EffectRows":
        """Rows of several parts, sorted."""
        kinds = {
            f.name: np.int32 if f.name in ("text", "feature", "first_position") else np.float32
            for f in fields(EffectRows)
        }
        table = EffectRows(
            **{
                name: np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
                for name, kind in kinds.items()
            }
        )
        return table.taken(np.lexsort((table.feature, table.text)))


@dataclass
class Firings:
    """Every activation above zero: at `position` of `text`, `feature` fires with `value`; sorted by text and position."""

    text: Int64[np.ndarray, " firing"]
    position: Int64[np.ndarray, " firing"]
    feature: Int64[np.ndarray, " firing"]
    value: Float32[np.ndarray, " firing"]
    broken: Bool[np.ndarray, " text"]
    """Texts left out because a reward or a residual is not a finite number."""
    slope: Float32[np.ndarray, " firing"] | None = None
    """How fast the reward rises with this activation: W_dec[feature] · gradient."""


@dataclass
class Edits:
    """Changes to residuals, grouped by row: entries `starts[i]:starts[i + 1]` belong to row i of text `text[i]`.

    An entry adds `coefficient * W_dec[feature]` at `position`.
    """

    text: Int64[np.ndarray, " row"]
    starts: Int64[np.ndarray, " row_plus_1"]
    position: Int64[np.ndarray, " entry"]
    feature: Int64[np.ndarray, " entry"]
    coefficient: Float32[np.ndarray, " entry"]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def first(self) -> Int64[np.ndarray, " row"]:
        """First position changed by each row (rows have at least one entry, in the order of positions)."""
        return self.position[self.starts[:-1]]

    @property
    def row(self) -> Int64[np.ndarray, " entry"]:
        """Row of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def slice(self, start: int, stop: int) -> "Edits":
        """Consecutive rows."""
        part = slice(int(self.starts[start]), int(self.starts[stop]))
        starts = self.starts[start : stop + 1] - self.starts[start]
        return Edits(self.text[start:stop], starts, self.position[part], self.feature[part], self.coefficient[part])

    def only(self, entries: np.ndarray) -> "Edits":
        """The same rows with fewer entries, by mask."""
        starts = np.concatenate([[0], np.cumsum(entries)])[self.starts]
        return Edits(self.text, starts, self.position[entries], self.feature[entries], self.coefficient[entries])

    def taken(self, rows: np.ndarray) -> "Edits":
        """Some rows, in the order given."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        entries = np.arange(starts[-1]) + np.repeat(self.starts[:-1][rows] - starts[:-1], counts)
        return Edits(self.text[rows], starts, self.position[entries], self.feature[entries], self.coefficient[entries])


def grouped_edits(
    row: Int64[np.ndarray, " entry"],
    text: Int64[np.ndarray, " row"],
    firings: Firings,
    entries: Int64[np.ndarray, " entry"],
    factor: np.ndarray,
) -> Edits:
    """Edits from firings: entry j scales firing `entries[j]` by `factor[j]` and belongs to row `row[j]`, rows ascending."""
    starts = np.searchsorted(row, np.arange(len(text) + 1)).astype(np.int64)
    coefficient = (firings.value[entries] * factor).astype(np.float32)
    return Edits(text, starts, firings.position[entries], firings.feature[entries], coefficient)


def scale_changes(
    firings: Firings, scales: Mapping[int, float], d_sae: int
) -> tuple[Int64[np.ndarray, " entry"], Int64[np.ndarray, " entry"], Float32[np.ndarray, " entry"]]:
    """Where scales of features change the activations of one text: position, feature and change, in the order of positions."""
    factor = np.ones(d_sae, np.float32)
    factor[list(scales)] = list(scales.values())
    change = firings.value * (factor[firings.feature] - 1)
    changed = np.flatnonzero(change)
    return firings.position[changed], firings.feature[changed], change[changed].astype(np.float32)


def batches(first: np.ndarray, length: np.ndarray, budget: int, waste: int) -> Iterator[tuple[int, int]]:
    """Slices of rows (sorted by `first`, then `length`) that are rerun together, from the slice's first position on.

    Args:
        first: First position that a row must run.
        length: Where it may stop.
        budget: Most positions in a batch (but always one row at least).
        waste: Positions run in vain before a new batch is worth its fixed cost.
    """
    start, num_rows = 0, len(first)
    while start < num_rows:
        stop, end, needed = start, 0, 0
        while stop < num_rows:
            new_end = max(end, int(length[stop]))
            cells = (stop + 1 - start) * (new_end - int(first[start]))
            now_needed = needed + int(length[stop] - first[stop])
            if stop > start and (cells > budget or cells - now_needed > waste):
                break
            stop, end, needed = stop + 1, new_end, now_needed
        yield start, stop
        start = stop


def length_chunks(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of texts, in chunks of similar length whose padded size stays within a budget of tokens."""
    chunks: list[list[int]] = []
    for index in np.argsort(lengths, kind="stable").tolist():
        if not chunks or (len(chunks[-1]) + 1) * lengths[index] > budget:
            chunks.append([])
        chunks[-1].append(index)
    return chunks
