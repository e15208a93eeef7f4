"""The ratings job: comparisons in, a table of ratings and the pairs that follow from it out."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.configs.base import to_dict
from rmviz.configs.data import DataConfig, RatingsConfig
from rmviz.data.add import source_name, source_rows
from rmviz.data.formats import BadRow
from rmviz.data.keep import RATINGS, keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.data.problems import Problem, Problems, excerpt
from rmviz.data.ratings import LARGEST_GROUP, Ratings, Told, elo, fitted, groups_of
from rmviz.errors import DataError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import JSON, Pair, Report

_SIDES = (("item_a", "model_a", "response_a", "a"), ("item_b", "model_b", "response_b", "b"))
_TIES = ("tie", "draw", "both", "equal")

_READ, _FITTED, _WHOLE = 30, 60, 100
"""Progress, in per cent, at which all is read, fitted, and kept."""

_EVERY = 2000
"""Comparisons, or pairs, between two words about progress."""

_Item = tuple[str, str]
"""Prompt and text: the same reply to another prompt is another item."""


@dataclass
class Comparisons:
    """Items by number, and who won against whom."""

    items: dict[_Item, int] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    """1 where the first won, 0 where the second did, ½ for a tie."""

    def add(self, prompt: str, first: str, second: str, score: float) -> None:
        """Note one comparison."""
        self.first.append(self.items.setdefault((prompt, first), len(self.items)))
        self.second.append(self.items.setdefault((prompt, second), len(self.items)))
        self.score.append(score)


def run(config: RatingsConfig, workspace: Workspace, report: Report) -> Artifact:
    """Fit a strength to every reply and keep the pairs of different strength, with `rating_margin` among their columns.

    Metrics: those of a dataset, and `num_items`, `num_comparisons`, `num_ties`, `num_groups`.

    Raises:
        DataError: Nothing can be rated: no comparison, only ties, or replies that no comparison joins.
    """
    problems = Problems()
    dataset = next((a for a in workspace.catalogue.find(ref=config.source) if a.kind == "dataset"), None)
    reading = _part(report, 0, _READ)
    found = _of_dataset(dataset, reading) if dataset else _of_source(config.source, problems, reading)
    _require_rateable(found, problems, config)
    first, second, score = np.array(found.first), np.array(found.second), np.array(found.score)
    ratings = fitted(len(found.items), first, second, score, config.prior, _part(report, _READ, _FITTED))
    table = rating_table(found, ratings)
    counts = {"num_items": len(table), "num_comparisons": len(score), "num_ties": int((score == 0.5).sum()),
              "num_groups": int(ratings.group.max()) + 1}  # fmt: skip

    def attach(folder: Path) -> Mapping[str, Any]:
        save_table(table.sort_values(["group", "elo"], ascending=[True, False], kind="stable"), folder / RATINGS)
        return counts

    name = dataset.name if dataset else source_name(config.source)
    artifact = keep_dataset(
        workspace, _rated_pairs(config, table, found, _part(report, _FITTED, _WHOLE)), name=config.name or f"{name}-rated", key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed, problems=problems,
        parents=(dataset.id,) if dataset else (), attach=attach,
    )  # fmt: skip
    report(_WHOLE, _WHOLE, {key: float(value) for key, value in counts.items()})
    return artifact


def rating_table(found: Comparisons, ratings: Ratings) -> pd.DataFrame:
    """One row for each item, in the order of their numbers; see `rmviz.data.load.dataset_ratings`."""
    score, n = np.array(found.score), len(found.items)
    won = np.bincount(found.first, score, n) + np.bincount(found.second, 1 - score, n)
    return pd.DataFrame(
        {
            "item": [item for _, item in found.items], "prompt": [prompt for prompt, _ in found.items],
            "elo": elo(ratings.strength), "elo_low": elo(ratings.low), "elo_high": elo(ratings.high),
            "strength": ratings.strength, "low": ratings.low, "high": ratings.high,
            "num_comparisons": np.bincount(found.first, minlength=n) + np.bincount(found.second, minlength=n),
            "won": won, "group": ratings.group,
        }
    )  # fmt: skip


def compared_items(row: Any) -> tuple[str, str, str, float]:
    """Prompt, the two items and the score of the first, of one raw row.

    Raises:
        BadRow: The row is no comparison.
    """
    if not isinstance(row, Mapping):
        raise BadRow(f"an object with columns item_a, item_b and winner was wanted, got {type(row).__name__}")
    names = [next((name for name in side if row.get(name) is not None), "") for side in _SIDES]
    if not all(names) or row.get("winner") is None:
        raise BadRow(f"columns item_a, item_b and winner are wanted; there are: {', '.join(map(str, row))}")
    first, second = (str(row[name]).strip() for name in names)
    if not first or not second:
        raise BadRow("an item is empty")
    if first == second:
        raise BadRow("item_a and item_b are the same")
    return str(row.get("prompt") or ""), first, second, _score(str(row["winner"]).strip(), first, second)


def _score(winner: str, first: str, second: str) -> float:
    """1, 0 or ½; the winner is named by its text, by its column, or by its letter."""
    for score, item, names in ((1.0, first, _SIDES[0]), (0.0, second, _SIDES[1])):
        if winner == item or (winner.lower() in names and winner not in (first, second)):
            return score
    if winner.lower().split(" ")[0].strip("(),.") in _TIES:
        return 0.5
    raise BadRow(f"winner must be a, b, tie, or one of the two items, got {excerpt(winner)}")


def _part(report: Report, begin: int, end: int) -> Told:
    """Tells what part of one stretch of the work is done, as progress of the whole; each per cent once."""
    last = -1

    def told(done: int, total: int) -> None:
        nonlocal last
        now = begin + int((end - begin) * min(done, total) / max(total, 1))
        if now > last:
            last = now
            report(now, _WHOLE)

    return told


def _of_dataset(dataset: Artifact, told: Told) -> Comparisons:
    found = Comparisons()
    pairs = dataset_pairs(dataset)
    for number, pair in enumerate(pairs):
        if number % _EVERY == 0:
            told(number, len(pairs))
        found.add(pair.prompt, pair.chosen, pair.rejected, 1.0)
    return found


def _of_source(source: str, problems: Problems, told: Told) -> Comparisons:
    found = Comparisons()
    rows, total = source_rows(DataConfig(source=source))
    for number, row in enumerate(rows):
        if number % _EVERY == 0:
            told(row.done, total)
        try:
            if row.problem:
                raise BadRow(row.problem)
            found.add(*compared_items(row.value))
        except BadRow as error:
            shown = row.shown or excerpt(row.value)
            problems.add(Problem(file=row.file, line=row.line, reason=str(error), excerpt=shown))
    return found


def _require_rateable(found: Comparisons, problems: Problems, config: RatingsConfig) -> None:
    if not found.score:
        first = next(iter(problems), None)
        raise DataError(
            "no comparison can be used" + (f": {first}" if first else "; give rows with item_a, item_b and winner")
        )
    if set(found.score) == {0.5}:
        raise DataError(
            f"all {len(found.score)} comparisons are ties: no item is better than another; add decided ones"
        )
    group = groups_of(len(found.items), np.array(found.first), np.array(found.second))
    largest = int(np.bincount(group).max())
    if largest > LARGEST_GROUP:
        raise DataError(f"{largest:,} items are compared with each other, and at most {LARGEST_GROUP:,} can be rated")
    if config.apart:
        return
    seen: dict[str, tuple[int, str]] = {}
    for (prompt, item), its in zip(found.items, group.tolist(), strict=True):
        other, shown = seen.setdefault(prompt, (its, item))
        if other != its:
            raise DataError(
                f"{excerpt(shown)!r} and {excerpt(item)!r} were never compared, not even through others, so their strengths "
                "have no common scale; add comparisons that join them, or set apart to rate each group by itself"
            )


def _rated_pairs(config: RatingsConfig, table: pd.DataFrame, found: Comparisons, told: Told) -> Iterator[Pair]:
    """Every two items of one group that differ by the least gap, the stronger one chosen."""
    times = Counter(frozenset(two) for two in zip(found.first, found.second, strict=True))
    strength, points = table["strength"].to_numpy(), table["elo"].to_numpy()
    items, prompts = table["item"].tolist(), table["prompt"].tolist()
    least, num_pairs = max(config.least_gap, 1e-9), 0
    for number, (a, b) in enumerate(_candidates(config, table, times, told)):
        better, worse = (a, b) if strength[a] > strength[b] else (b, a)
        gap = float(strength[better] - strength[worse])
        if gap < least:
            continue
        num_pairs += 1
        extra: dict[str, JSON] = {"rating_margin": gap, "chosen_elo": float(points[better]),
                                  "rejected_elo": float(points[worse]), "times_compared": times[frozenset((a, b))]}  # fmt: skip
        yield Pair(pair_id=f"R{number}", prompt=prompts[a], chosen=items[better], rejected=items[worse], extra=extra)
    if not num_pairs:
        wanted = (
            f"differ by {config.least_gap:g} nats or more; lower least_gap"
            if config.least_gap
            else "differ in strength"
        )
        raise DataError(f"no two items {wanted}; add comparisons")


def _candidates(
    config: RatingsConfig, table: pd.DataFrame, times: Counter[frozenset[int]], told: Told
) -> Iterator[tuple[int, int]]:
    if config.pairs == "compared":
        for number, two in enumerate(times):
            if number % _EVERY == 0:
                told(number, len(times))
            yield min(two), max(two)
        return
    done = 0
    families = table.groupby(["prompt", "group"]).indices.values()
    for members in sorted(families, key=lambda family: family[0]):
        told(done, len(table))
        done += len(members)
        yield from itertools.combinations(map(int, members), 2)
