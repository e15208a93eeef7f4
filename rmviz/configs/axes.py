"""The axes of a map: named labels, or numbers in bins; written in one line each, or in a YAML file."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from rmviz.configs.base import require

MOST_CELLS = 4096
"""A larger map would get a handful of draws per cell from any search that ends."""

GENRES = "genre: haiku, sonnet, ballad, limerick, hymn"
TONES = "tone: happy, dark, mysterious, romantic, reflective"
_LONGEST = 60


@dataclass(frozen=True)
class Axis:
    """One axis: its labels in order; with `edges`, label `i` is the bin from `edges[i]` to below `edges[i + 1]`."""

    name: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.name), "an axis needs a name, as in `tone: happy, dark`")
        require(
            len(self.labels) >= 2, f"axis {self.name} needs at least 2 labels, got {', '.join(self.labels) or 'none'}"
        )
        require(all(self.labels), f"axis {self.name} has an empty label; are there two commas in a row?")
        long = [label for label in (self.name, *self.labels) if len(label) > _LONGEST]
        require(not long, f"names on an axis have at most {_LONGEST} characters, got {long[:1]}")
        folded = [label.casefold() for label in self.labels]
        twice = sorted({label for label, name in zip(self.labels, folded, strict=True) if folded.count(name) > 1})
        require(not twice, f"axis {self.name} has a label twice: {', '.join(twice)}")

    def label_of(self, value: float) -> str:
        """The bin of a number; those beyond the ends fall into the first or last bin, and NaN into none (empty)."""
        if math.isnan(value):
            return ""
        return self.labels[min(max(bisect_right(self.edges, value) - 1, 0), len(self.labels) - 1)]


@dataclass(frozen=True)
class Grid:
    """The cells of a map: its rows, and its columns where it has two axes; cells are numbered row by row."""

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        require(len(self.axes) in (1, 2), f"a map has one or two axes, got {len(self.axes)}")
        names = [axis.name.casefold() for axis in self.axes]
        require(len(set(names)) == len(names), f"both axes are called {self.axes[0].name}")
        require(
            self.num_cells <= MOST_CELLS,
            f"{self.num_cells:,} cells are too many: a search fills each with a few draws at best, and a best of few "
            f"draws says little. At most {MOST_CELLS:,} are allowed; use fewer labels",
        )

    @property
    def num_cells(self) -> int:
        """Cells in all."""
        return math.prod(len(axis.labels) for axis in self.axes)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; one column where there is one axis."""
        return len(self.axes[0].labels), len(self.axes[1].labels) if len(self.axes) > 1 else 1

    def labels(self, cell: int) -> tuple[str, ...]:
        """The labels of a cell, row first; empty ones for −1."""
        return self._labels[cell] if cell >= 0 else ("",) * len(self.axes)

    def cell(self, labels: tuple[str, ...]) -> int:
        """The cell with these labels, row first; −1 where one of them is on no axis."""
        return self._cells.get(labels, -1)

    @cached_property
    def _labels(self) -> list[tuple[str, ...]]:
        rows, columns = self.axes[0].labels, self.axes[1].labels if len(self.axes) > 1 else None
        return [(row,) for row in rows] if columns is None else [(row, column) for row in rows for column in columns]

    @cached_property
    def _cells(self) -> dict[tuple[str, ...], int]:
        return {labels: cell for cell, labels in enumerate(self._labels)}


def parse_axis(line: str) -> Axis:
    """An axis from `tone: happy, dark` or, binned, from its edges: `length: 0 < 20 < 50 < 200`.

    Raises:
        ConfigError: The line is not of this form, or its labels will not do.
    """
    name, colon, rest = line.partition(":")
    require(bool(colon), f"an axis is written `name: label, label` or `name: 0 < 10 < 50`, got {line[:80]!r}")
    binned = "<" in rest and "," not in rest
    return axis_of(name.strip(), [part.strip() for part in rest.split("<" if binned else ",")], binned=binned)


def axis_of(name: str, parts: list[Any], *, binned: bool) -> Axis:
    """An axis from its labels, or from the edges of its bins."""
    if not binned:
        return Axis(name, tuple(str(part).strip() for part in parts))
    try:
        edges = [float(part) for part in parts]
    except (TypeError, ValueError):
        edges = [math.nan]
    require(
        all(map(math.isfinite, edges)) and all(low < high for low, high in pairwise(edges)),
        f"the edges of {name} must be numbers that rise, got {', '.join(map(str, parts))[:80]}",
    )
    return Axis(name, tuple(f"{low:g} to {high:g}" for low, high in pairwise(edges)), tuple(edges))


def parse_grid(rows: str, columns: str = "") -> Grid:
    """The cells of a map whose axes are written as in `parse_axis`; without `columns` it has one axis."""
    return Grid(tuple(parse_axis(line) for line in (rows, columns) if line.strip()))


def grid_of(values: Any) -> Grid:
    """The cells of a map from the content of a YAML file: a mapping of names to labels, or to `edges`.

    Raises:
        ConfigError: It is no such mapping, or its labels will not do.
    """
    require(isinstance(values, dict) and bool(values), "an axes file maps the name of each axis to a list of labels")
    axes = []
    for name, labels in values.items():
        binned = isinstance(labels, dict)
        parts: Any = labels.get("edges") if binned else labels
        require(isinstance(parts, list), f"axis {name} needs a list of labels, or `edges` with a list of numbers")
        axes.append(axis_of(str(name), parts, binned=binned))
    return Grid(tuple(axes))
