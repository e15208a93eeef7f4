"""A map read back: its cells for one figure, and as lines of text."""

from typing import Any

import pandas as pd

from rmviz.errors import ConfigError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

VALUES = ("best", "expected_best", "median", "q90", "draws", "right_share")
"""What a cell can show."""


def cell_values(artifact: Artifact, value: str, by: str) -> pd.DataFrame:
    """The cells of a map filed one way: the columns of `cells.parquet`, one row per cell.

    Raises:
        ConfigError: There is no such figure, or no such filing.
    """
    if value not in VALUES or by not in ("judged", "asked"):
        raise ConfigError(f"a cell shows {', '.join(VALUES)}, by judged or asked; got {value[:40]!r} by {by[:40]!r}")
    cells = load_table(artifact.path("cells.parquet"))
    return cells[cells["by"] == by].reset_index(drop=True)


def shown(cells: pd.DataFrame, means: pd.DataFrame, value: str) -> list[str]:
    """A map as lines of text: the grid (thin cells in brackets), then the means that come out lowest first."""
    columns = list(dict.fromkeys(cells["column"]))
    width = max(12, *(len(column) + 2 for column in columns))
    first = max(len(row) for row in cells["row"]) + 2
    lines = [f"{value}, cells compared at n = {cells['n'].iloc[0]} draws (in brackets: too few draws to compare)"]
    lines.append(" " * first + "".join(f"{column:>{width}}" for column in columns))
    for row, some in cells.groupby("row", sort=False):
        figures = [_figure(number, thin) for number, thin in zip(some[value], some["thin"], strict=True)]
        lines.append(f"{row:<{first}}" + "".join(f"{figure:>{width}}" for figure in figures))
    lines += ["", "mean expected best over cells, 95 % interval, p that it is the lowest by chance (Holm-adjusted)"]
    for mean in means.sort_values("mean").itertuples():
        lines.append(
            f"{mean.axis} {mean.label:<{first}} {mean.mean:8.3f}  [{mean.low:.3f}, {mean.high:.3f}]"
            f"  p {mean.p_lowest:.2g} ({mean.p_adjusted:.2g})"
        )
    return lines


def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; what is not a number is null."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _figure(value: float, thin: bool) -> str:
    if pd.isna(value):
        return "–"
    text = f"{value:.3g}"
    return f"({text})" if thin else text
