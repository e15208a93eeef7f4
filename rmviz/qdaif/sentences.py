"""What a map says, in one plain sentence each: pure functions of its tables."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

SURE = 0.05
"""Adjusted p-value below which a label counts as clearly the lowest."""


def lowest_sentence(means: pd.DataFrame) -> str:
    """Whether a label of one axis is clearly the lowest, with its p-value.

    Args:
        means: The rows of one axis of `means.parquet`.
    """
    known = means[means["mean"].notna()]
    axis = str(means["axis"].iloc[0])
    if len(known) < 2:
        return f"No {axis} can be called the lowest: fewer than two have cells with enough draws."
    lowest = known.sort_values("mean", kind="stable").iloc[0]
    where = f"mean {signed(lowest['mean'])} [{signed(lowest['low'])}, {signed(lowest['high'])}]"
    p = f"p {p_value(lowest['p_lowest'])}, adjusted for {len(means)} labels {p_value(lowest['p_adjusted'])}"
    if lowest["p_adjusted"] < SURE:
        return f"The lowest {axis} is {lowest['label']}: {where}, {p}."
    return f"No {axis} is clearly lowest: {lowest['label']} comes out lowest ({where}), but {p}."


def confusion_sentence(confusion: pd.DataFrame, axis: str) -> str:
    """How often the label asked for on an axis was the one found, and where it most often was not."""
    some = confusion[(confusion["axis"] == axis) & (confusion["asked"] != "")]
    total = int(some["count"].sum())
    if not total:
        return f"No poem was asked for by {axis}."
    right = int(some.loc[some["asked"] == some["judged"], "count"].sum())
    wrong = some[(some["asked"] != some["judged"]) & (some["count"] > 0)]
    said = f"{100 * right / total:.0f} % of {total:,} poems have the {axis} that was asked for"
    if wrong.empty:
        return f"{said}."
    worst = wrong.sort_values("count", ascending=False, kind="stable").iloc[0]
    found = worst["judged"] or "none of them"
    return f"{said}; most often missed: asked for {worst['asked']}, judged {found} ({int(worst['count']):,} times)."


def change_sentence(cells: pd.DataFrame, column: str, what: str, unit: str) -> str:
    """Where a figure of a comparison is largest in either direction, and how often it is above 0.

    Args:
        cells: row, column, num_poems and the figure, one row per cell.
        column: The figure's column.
        what: What it measures, as the beginning of a sentence.
        unit: Its unit, after the numbers.
    """
    known = cells[cells[column].notna()]
    if known.empty:
        return f"{what}: no cell has a figure."
    if not known[column].abs().gt(0).any():
        return f"{what}: nothing in any of {len(known)} cells."
    high, low = _extremes(known, column)
    up = int((known[column] > 0).sum())
    ends = [f"most in {_place(high)} ({signed(high[column])} {unit})"] if high[column] > 0 else []
    ends += [f"least in {_place(low)} ({signed(low[column])} {unit})"] if low[column] < 0 or not ends else []
    return f"{what}: {', '.join(ends)}; above 0 in {up} of {len(known)} cells, {int(known['num_poems'].sum()):,} poems."


def ends_sentence(cells: pd.DataFrame, column: str, what: str) -> str:
    """In which cells a figure is highest and lowest."""
    known = cells[cells[column].notna()]
    if known.empty:
        return f"{what}: no cell has a figure."
    high, low = _extremes(known, column)
    return (
        f"{what}: highest in {_place(high)} ({signed(high[column])}), lowest in {_place(low)} ({signed(low[column])})."
    )


def signed(value: float) -> str:
    """Three digits with a sign, and a real minus."""
    return "–" if not math.isfinite(value) else f"{value:+.3g}".replace("-", "−")


def p_value(value: float) -> str:
    """What a p-value is equal to; of a small one, what it is below."""
    if not math.isfinite(value):
        return "–"
    return f"= {value:.2g}" if value >= 0.0001 else "< 0.0001"


def _extremes(cells: pd.DataFrame, column: str) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The cells with the highest and with the lowest figure."""
    values = cells[column].to_numpy(float)
    rows = cells.to_dict("records")
    return rows[int(values.argmax())], rows[int(values.argmin())]


def _place(cell: Mapping[Any, Any]) -> str:
    return " × ".join(part for part in (str(cell["row"]), str(cell["column"])) if part)
