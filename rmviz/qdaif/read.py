"""A map read for a page: its tables, the poems of a cell, where a poem came from, and the map as it once was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rmviz.configs.axes import Axis, Grid
from rmviz.qdaif.attempts import COUNTED, UNWRITTEN
from rmviz.qdaif.statistics import expected_best
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table


@dataclass(frozen=True, kw_only=True)
class MapTables:
    """What a page shows of a map. It is shared between readers: nobody may change it."""

    grid: Grid
    n: int
    """Draws at which cells are compared where they are filed by what the judge found."""

    method: str
    cells: pd.DataFrame
    """Cells filed both ways; see `rmviz.qdaif.tables.cell_table`."""

    means: pd.DataFrame
    confusion: pd.DataFrame
    bands: pd.DataFrame
    attempts: pd.DataFrame
    """Attempts of the map's own run, in order."""

    def filed(self, by: str) -> pd.DataFrame:
        """The cells filed by `judged` or `asked`."""
        return self.cells[self.cells["by"] == by].reset_index(drop=True)


def map_tables(artifact: Artifact) -> MapTables:
    """The tables of a map."""
    info = artifact.read_json("map.json")
    own = info["own_runs"][0]
    tables = {name: load_table(artifact.path(f"{name}.parquet")) for name in ("cells", "means", "confusion", "bands")}
    attempts = load_table(artifact.path("attempts.parquet"), filters=[("run", "==", own)])
    return MapTables(
        grid=grid_from(info["axes"]), n=int(info["n"]), method=next(r["method"] for r in info["runs"] if r["number"] == own),
        attempts=attempts.sort_values("attempt_id", ignore_index=True), **tables,
    )  # fmt: skip


def grid_from(axes: Sequence[dict[str, Any]]) -> Grid:
    """The cells of axes as `map.json` and `comparison.json` hold them."""
    return Grid(tuple(Axis(axis["name"], tuple(axis["labels"]), tuple(axis.get("edges") or ())) for axis in axes))


def counts_as_draw(attempts: pd.DataFrame) -> np.ndarray:
    """Which attempts count as draws: they have a reward, and are not another text once more."""
    return np.isfinite(attempts["reward"].to_numpy(float)) & attempts["problem"].isin(COUNTED).to_numpy()


def poems_of(attempts: pd.DataFrame, by: str, cell: int) -> pd.DataFrame:
    """The poems of a cell filed by `judged` or `asked`: its draws by falling reward, then what does not count.

    Args:
        attempts: As in `MapTables`.
        by: Which of the two cells of a poem counts.
        cell: Its number.
    """
    some = attempts[attempts[by].to_numpy() == cell]
    some = some.assign(counted=counts_as_draw(some))
    return some.sort_values(["counted", "reward", "attempt_id"], ascending=[False, False, True], ignore_index=True)


def family(attempts: pd.DataFrame, attempt_id: int, most: int = 40) -> tuple[pd.DataFrame, int]:
    """A poem and the poems that it came from, nearest first, and how many ancestors it has in all.

    The column `generation` is 0 for the poem itself and, for an ancestor, one more than that of its furthest child here:
    every poem stands before its parents.

    Args:
        attempts: As in `MapTables`; parents were written before their children, so their ids are smaller.
        attempt_id: The poem.
        most: Rows kept; the first of the line (without parents) stay.
    """
    ids = attempts["attempt_id"].to_numpy()
    place = {int(number): i for i, number in enumerate(ids)}
    parents = attempts["parents"]
    generation = {attempt_id: 0} if attempt_id in place else {}
    waiting = set(generation)
    while waiting:
        child = max(waiting)  # a poem is reached after all of its children
        waiting.remove(child)
        for parent in map(int, parents.iloc[place[child]]):
            if parent in place:
                generation[parent] = max(generation.get(parent, 0), generation[child] + 1)
                waiting.add(parent)
    ordered = sorted(generation, key=lambda number: (generation[number], -number))
    first = [number for number in ordered if not len(parents.iloc[place[number]])]
    seeds = set(first[-(most // 2) :])
    kept = [number for i, number in enumerate(ordered) if i < most - len(seeds) or number in seeds]
    found = attempts.iloc[[place[number] for number in kept]]
    return found.assign(generation=[generation[number] for number in kept]), max(0, len(ordered) - 1)


def cells_after(attempts: pd.DataFrame, grid: Grid, count: int, by: str, *, n: int, min_draws: int) -> pd.DataFrame:
    """The map as it was after some attempts: the columns of `cells.parquet` that need no bootstrap.

    Args:
        attempts: As in `MapTables`.
        grid: The cells.
        count: Attempts that had been made.
        by: Which of the two cells of a poem counts.
        n: Draws at which cells are compared.
        min_draws: Fewer are too few to compare.
    """
    some = attempts.iloc[:count]
    drawn = some[counts_as_draw(some)]
    cells, rewards = drawn[by].to_numpy(), drawn["reward"].to_numpy(float)
    order = np.argsort(cells, kind="stable")
    starts = np.searchsorted(cells[order], np.arange(grid.num_cells + 1))
    shares = right_shares(some, grid)
    rows = []
    for cell in range(grid.num_cells):
        values = rewards[order[starts[cell] : starts[cell + 1]]]
        quantiles = np.quantile(values, (0.5, 0.9, 1.0)) if len(values) else np.full(3, np.nan)
        labels = grid.labels(cell)
        rows.append(
            {
                "cell": cell, "row": labels[0], "column": labels[1] if len(labels) > 1 else "", "draws": len(values),
                "median": quantiles[0], "q90": quantiles[1], "best": quantiles[2],
                "expected_best": expected_best(values, n), "thin": len(values) < max(n, min_draws), "n": n,
                "right_share": shares[cell],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def right_shares(attempts: pd.DataFrame, grid: Grid) -> np.ndarray:
    """Share of the poems asked for in each cell that the judge found there; NaN where none was asked for."""
    some = attempts[(attempts["asked"] >= 0) & ~attempts["problem"].isin(UNWRITTEN)]
    asked = np.bincount(some["asked"], minlength=grid.num_cells).astype(float)
    right = np.bincount(some.loc[some["asked"] == some["judged"], "asked"], minlength=grid.num_cells).astype(float)
    return np.divide(right, asked, out=np.full(grid.num_cells, np.nan), where=asked > 0)
