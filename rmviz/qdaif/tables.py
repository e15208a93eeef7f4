"""The tables of a map, made from its attempts: cells, means of rows and columns, confusion, curves."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from rmviz.configs.axes import Grid
from rmviz.configs.map import MapConfig
from rmviz.qdaif.archive import Archive
from rmviz.qdaif.attempts import COUNTED, UNWRITTEN, Attempt
from rmviz.qdaif.statistics import cell_statistics, common_n, confusion, label_means, mean_interval

Filing = str
"""Which cell counts: `judged` or `asked`."""

NUM_POINTS = 200
"""Points of a curve."""


def counted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts that count as draws: they have a reward, and are not another text once more."""
    return [one for one in attempts if math.isfinite(one.reward) and one.problem in COUNTED]


def draws_of(attempts: Sequence[Attempt], grid: Grid, by: Filing) -> list[np.ndarray]:
    """Rewards of the draws of each cell."""
    found: list[list[float]] = [[] for _ in range(grid.num_cells)]
    for one in counted(attempts):
        cell = one.judged if by == "judged" else one.asked
        if cell >= 0:
            found[cell].append(one.reward)
    return [np.array(values, float) for values in found]


def cell_table(
    attempts: Sequence[Attempt], grid: Grid, config: MapConfig, by: Filing
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per cell of one run, and the bootstrap distributions of the expected bests, `(resample, cell)`."""
    draws = draws_of(attempts, grid, by)
    n = config.equal_n or common_n([len(values) for values in draws], config.min_draws)
    elites = _best_ids(attempts, by)
    rights = _right_shares(attempts, grid)
    rows, distributions = [], []
    for cell, values in enumerate(draws):
        found, resamples = cell_statistics(
            values, n, min_draws=config.min_draws, num_resamples=config.num_resamples, seed=(config.seed, cell)
        )
        labels = grid.labels(cell)
        place = {"by": by, "cell": cell, "row": labels[0], "column": labels[1] if len(labels) > 1 else ""}
        rows.append({**place, "elite": elites.get(cell, -1), **asdict(found), "n": n, "right_share": rights[cell]})
        distributions.append(resamples)
    return pd.DataFrame(rows), np.array(distributions).T


def _best_ids(attempts: Sequence[Attempt], by: Filing) -> dict[int, int]:
    """The best attempt of each cell: its elite, or the best of those that were asked for there."""
    if by == "judged":
        return {one.judged: one.attempt_id for one in attempts if one.accepted}
    best: dict[int, Attempt] = {}
    for one in counted(attempts):
        if one.asked >= 0 and (one.asked not in best or one.reward > best[one.asked].reward):
            best[one.asked] = one
    return {cell: one.attempt_id for cell, one in best.items()}


def _right_shares(attempts: Sequence[Attempt], grid: Grid) -> np.ndarray:
    """Share of the poems asked for in each cell that the judge found there; NaN where none was asked for."""
    asked, right = np.zeros(grid.num_cells), np.zeros(grid.num_cells)
    for one in attempts:
        if one.asked >= 0 and one.problem not in UNWRITTEN:
            asked[one.asked] += 1
            right[one.asked] += one.asked == one.judged
    return np.divide(right, asked, out=np.full(grid.num_cells, np.nan), where=asked > 0)


def mean_table(runs: Sequence[tuple[pd.DataFrame, np.ndarray]], grid: Grid, seed: int) -> pd.DataFrame:
    """Mean of each row and column with its test; the cells of several runs are further blocks of the test."""
    shape = grid.shape
    values = np.stack([cells["expected_best"].to_numpy(float).reshape(shape) for cells, _ in runs])
    resamples = np.stack([found.reshape(-1, *shape) for _, found in runs])
    rows = np.concatenate(list(values), axis=1), np.concatenate(list(resamples), axis=2)
    found = [("row", grid.axes[0], label_means(*rows, grid.axes[0].labels, seed))]
    if len(grid.axes) > 1:
        turned = values.transpose(0, 2, 1), resamples.transpose(0, 1, 3, 2)
        columns = np.concatenate(list(turned[0]), axis=1), np.concatenate(list(turned[1]), axis=2)
        found.append(("column", grid.axes[1], label_means(*columns, grid.axes[1].labels, seed)))
    return pd.DataFrame(
        [{"side": side, "axis": axis.name, **asdict(mean)} for side, axis, means in found for mean in means]
    )


def confusion_table(attempts: Sequence[Attempt], grid: Grid) -> pd.DataFrame:
    """Counts by axis, label asked for and label found (empty: none)."""
    usable = [one for one in attempts if one.problem not in UNWRITTEN]
    rows = []
    for i, axis in enumerate(grid.axes):
        place = {label: number for number, label in enumerate(axis.labels)}
        asked, judged = (
            np.array([place.get(grid.labels(getattr(one, which))[i], -1) for one in usable], np.int64)
            for which in ("asked", "judged")
        )
        counts = confusion(asked, judged, len(axis.labels))
        names = [*axis.labels, ""]
        rows += [
            {"axis": axis.name, "asked": names[a], "judged": names[j], "count": int(counts[a, j])}
            for a in range(len(names)) for j in range(len(names)) if counts[a, j] or (names[a] and names[j])
        ]  # fmt: skip
    return pd.DataFrame(rows)


def curve_table(attempts: Sequence[Attempt], grid: Grid, config: MapConfig, offset: float) -> pd.DataFrame:
    """Coverage, QD score and best of each run after every step (at most `NUM_POINTS` of them)."""
    steps: dict[tuple[int, int], list[Attempt]] = {}
    for one in attempts:
        steps.setdefault((one.run, one.step), []).append(one)
    rows, archives, done = [], {}, {}
    for (run, _), some in steps.items():
        archive = archives.setdefault(run, Archive(grid, config.duplicate_overlap))
        archive.add([replace(one, accepted=False) for one in some])
        done[run] = done.get(run, 0) + len(some)
        stats = archive.stats(offset)
        rows.append(
            {"method": some[0].method, "run": run, "attempts": done[run], "coverage": stats.coverage,
             "qd_score": stats.qd_score, "best": stats.best}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    stride = max(1, -(-int(table.groupby("run").size().max()) // NUM_POINTS))
    place = table.groupby("run").cumcount(ascending=False)  # from the end, so that the last point stays
    return table[place % stride == 0].reset_index(drop=True)


def band_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean over runs of each curve, with its 95 % interval: method, attempts, measure, mean, low, high, runs."""
    rows = []
    for (method, attempts), some in curves.groupby(["method", "attempts"], sort=False):
        for measure in ("coverage", "qd_score", "best"):
            known = some[measure].dropna().to_numpy(float)
            if len(known):
                mean, low, high = mean_interval(known)
                rows.append(
                    {"method": method, "attempts": attempts, "measure": measure, "mean": mean, "low": low,
                     "high": high, "runs": len(known)}
                )  # fmt: skip
    return pd.DataFrame(rows)
