"""The archive of a search: the elite of each cell, kept by pyribs; no text holds two cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ribs.archives import CategoricalArchive

from rmviz.configs.axes import Grid
from rmviz.qdaif.attempts import Attempt
from rmviz.qdaif.duplicates import Likeness, normalised, triples


@dataclass(frozen=True)
class Stats:
    """How far a search has come."""

    num_elites: int
    coverage: float
    """Share of cells that have an elite."""

    qd_score: float
    """Sum over elites of reward − offset."""

    best: float
    """Highest reward; NaN in an empty archive."""


class Archive:
    """The best attempt of each cell.

    An attempt without a reward or a cell never enters, nor one that repeats an earlier text, nor one that is nearly the
    elite of another cell (its own cell's elite it may improve on).
    """

    def __init__(self, grid: Grid, duplicate_overlap: float = 0.6) -> None:
        """An empty archive.

        Args:
            grid: Its cells.
            duplicate_overlap: Share of word triples from which on two texts are one text.
        """
        self.grid, self.duplicate_overlap = grid, duplicate_overlap
        self.elites: dict[int, Attempt] = {}
        self.lowest = np.inf
        """Lowest reward of any attempt so far."""
        # Bins are categories here: a GridArchive has uniform ones only.
        self._archive = CategoricalArchive(
            solution_dim=(), categories=[axis.labels for axis in grid.axes], solution_dtype=np.int64,
            objective_dtype=np.float64,
        )  # fmt: skip
        self._seen: dict[str, int] = {}
        self._likeness = Likeness()

    def add(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Offer attempts, in order; the same attempts with what became of them."""
        judged = [self._checked(attempt) for attempt in attempts]
        fit = [i for i, one in enumerate(judged) if one.problem in ("", "cut") and np.isfinite(one.reward)]
        for i in fit:
            judged[i] = self._offered(judged[i])
        return judged

    def _checked(self, attempt: Attempt) -> Attempt:
        """The attempt, marked where it cannot take a cell."""
        if np.isfinite(attempt.reward):
            self.lowest = min(self.lowest, attempt.reward)
        text = normalised(attempt.text)
        earlier = self._seen.setdefault(text, attempt.attempt_id) if text else attempt.attempt_id
        if attempt.problem not in ("", "cut"):
            return attempt
        if not text:
            return replace(attempt, problem="empty")
        if earlier != attempt.attempt_id:
            return replace(attempt, problem="duplicate", duplicate_of=earlier)
        if not np.isfinite(attempt.reward):
            return replace(attempt, problem="no reward")
        return attempt if attempt.judged >= 0 else replace(attempt, problem="no cell")

    def _offered(self, attempt: Attempt) -> Attempt:
        holder = self.elites.get(attempt.judged)
        if holder is not None and attempt.reward <= holder.reward:
            return attempt
        pieces = triples(attempt.text)
        near, likeness = self._likeness.nearest(pieces, attempt.judged)
        if near >= 0 and likeness >= self.duplicate_overlap:
            return replace(attempt, problem="near-duplicate", duplicate_of=self.elites[near].attempt_id)
        self._archive.add_single(attempt.attempt_id, attempt.reward, list(self.grid.labels(attempt.judged)))
        self._likeness.put(attempt.judged, pieces)
        self.elites[attempt.judged] = kept = replace(attempt, accepted=True)
        return kept

    def stats(self, offset: float | None = None) -> Stats:
        """Coverage, QD score and best; the offset of the QD score is the lowest reward so far unless given."""
        stats = self._archive.stats
        if self._archive.empty:
            return Stats(0, 0.0, 0.0, float("nan"))
        offset = float(self.lowest) if offset is None else offset
        total = float(stats.qd_score) - offset * stats.num_elites
        return Stats(
            int(stats.num_elites), float(stats.coverage), total, max(one.reward for one in self.elites.values())
        )
