"""Judges: which cell of a map a poem belongs to."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from rmviz.configs.axes import Axis, Grid
from rmviz.errors import ConfigError
from rmviz.qdaif.form import genre_of, measures
from rmviz.qdaif.requests import Request
from rmviz.world import lexicon
from rmviz.world.truth import recognise

MEASURES = ("lines", "words", "syllables", "characters", "richness")
"""Names of binned axes that need no model."""


@runtime_checkable
class AxisJudge(Protocol):
    """Says the label of poems on one axis."""

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """One label per text, given the label asked for (empty where none was); what is on no axis counts as none."""
        ...


class Judge:
    """A judge per axis."""

    def __init__(self, grid: Grid, judges: Sequence[AxisJudge]) -> None:
        """Judges in the order of the grid's axes."""
        self.grid, self.judges = grid, judges

    def cells(self, texts: Sequence[str], requests: Sequence[Request]) -> np.ndarray:
        """The cell of each text; −1 where a judge's answer is none of the labels."""
        if not texts:
            return np.zeros(0, np.int64)
        per_axis = [
            judge.labels(texts, [request.labels[i] if request.labels else "" for request in requests])
            for i, judge in enumerate(self.judges)
        ]
        return np.array([self.grid.cell(labels) for labels in zip(*per_axis, strict=True)], np.int64)


class Asked:
    """Believes that every poem is what was asked for."""

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """The labels asked for."""
        return list(asked)


class Form:
    """Genre by lines, syllables and rhymes."""

    def __init__(self, axis: Axis) -> None:
        """Judge an axis that has one of the genres it knows.

        Raises:
            ConfigError: It has none of them.
        """
        known = {"haiku", "sonnet", "limerick", "hymn", "ballad"}
        self._names = {label.casefold(): label for label in axis.labels if label.casefold() in known}
        if not self._names:
            raise ConfigError(f"judge form knows {', '.join(sorted(known))}; axis {axis.name} has none of them")

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """The genres found."""
        return [self._names.get(genre_of(text), "") for text in texts]


class Measure:
    """A number counted in the text, by the bins of its axis."""

    def __init__(self, axis: Axis) -> None:
        """Judge a binned axis whose name says what to count.

        Raises:
            ConfigError: It has no bins, or another name.
        """
        self._name = axis.name.casefold()
        if self._name not in MEASURES or not axis.edges:
            raise ConfigError(
                f"judge measure counts {', '.join(MEASURES)} into bins, as in `lines: 0 < 4 < 14`; got {axis.name}"
            )
        self._axis = axis

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """The bins of the numbers."""
        return [self._axis.label_of(measures(text)[self._name]) for text in texts]


class World:
    """The planted world's own truth."""

    def __init__(self, axis: Axis) -> None:
        """Judge tone or genre of the world.

        Raises:
            ConfigError: The axis has labels of neither.
        """
        self._names = {label.casefold(): label for label in axis.labels}
        self._what = next(
            (what for what, known in (("genre", lexicon.GENRES), ("tone", tuple(lexicon.TONES)))
             if self._names.keys() <= set(known)), "",
        )  # fmt: skip
        if not self._what:
            raise ConfigError(
                f"judge world knows the tones {', '.join(lexicon.TONES)} and the genres {', '.join(lexicon.GENRES)}; "
                f"choose another judge for axis {axis.name}"
            )

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """What the grammar recognises."""
        return [self._names.get(getattr(recognise(text), self._what), "") for text in texts]
