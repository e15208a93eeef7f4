"""The heat map of the Maps page: what a cell can show, the figure itself, and what it means in a sentence."""

from typing import Any

import pandas as pd
import streamlit as st

from rmviz.configs.axes import Grid
from rmviz.plots import maps as plots
from rmviz.qdaif.export import MEANINGS
from rmviz.qdaif.read import MapTables
from rmviz.store.artifact import Artifact
from rmviz.ui import map_link, pickers
from rmviz.ui.words import counted

VALUES = {
    "expected_best": "Expected best",
    "best": "Best",
    "median": "Median",
    "q90": "90 % quantile",
    "draws": "Draws",
    "right_share": "Right labels",
}
"""What a cell can show, and what to call it."""

REWARDS = ("expected_best", "best", "median", "q90")
"""Values that are rewards."""

_FILINGS = {"judged": "Judged cell", "asked": "Asked cell"}
_FILING_HELP = "A poem counts for the cell that the judge found it in, or for the one that it was asked for."
_VALUE_HELP = " ".join(f"**{title}**: {MEANINGS[name]}." for name, title in VALUES.items())


def shown(param: str = "value", default: str = "expected_best") -> tuple[str, str]:
    """The value that cells show (`param` of the URL), and how poems are filed."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        value = pickers.choice("Cells show", VALUES, param, default, help=_VALUE_HELP)
        by = pickers.choice("Poems count for", _FILINGS, "by", "judged", help=_FILING_HELP)
    return value, by


def heat_map(
    drawn: pd.DataFrame,
    grid: Grid,
    scale: plots.Scale,
    key: str,
    *,
    title: str = "",
    unit: str = "",
    alt: str = "",
    small: bool = False,
    click: bool = False,
) -> None:
    """The heat map of what `rmviz.plots.maps.map_cells` gives.

    Args:
        drawn: Its cells.
        grid: Their axes.
        scale: What colours mean.
        key: Session key.
        title: What stands above it.
        unit: What the colour bar measures; no bar when empty.
        alt: What it shows, for those who cannot see it; the title when empty.
        small: Whether it is one of several.
        click: Whether a click opens the cell.
    """
    first, *others = grid.axes
    names = (first.name, others[0].name if others else "")
    labels = (first.labels, others[0].labels if others else ("",))
    spec = plots.map_figure(*labels, scale, names=names, title=title, unit=unit, clickable=click, small=small)
    shared: Any = {"width": "content", "alt": alt or title or None}
    if click:
        key = f"{key}-{map_link.generation()}"
        shared |= {"on_select": lambda: map_link.choose(key), "selection_mode": plots.CELL}
    with st.container(key=f"rm-map-{key}"):
        st.vega_lite_chart(drawn, spec, key=key, **shared)


def caption(artifact: Artifact, tables: MapTables, value: str, by: str) -> str:
    """What the map shows, on what it rests, and how to read its colours."""
    filed = "that the judge found it in" if by == "judged" else "that it was asked for"
    parts = [f"{VALUES[value]}: {MEANINGS[value]}."]
    if value != "right_share":
        parts.append(f"A poem counts for the cell {filed}.")
    if value in REWARDS:
        parts.append("Rewards are in the model's own units; the higher (yellow), the more it prizes.")
    n = int(tables.filed(by)["n"].iloc[0])
    few = counted(fewest(artifact, n), "draw")
    parts.append(f"Cells compare at n = {n}; hatched ones have fewer than {few}, grey ones have no figure.")
    parts.append(f"{counted(len(tables.attempts), 'attempt')}, seed {artifact.metrics.get('seed')}, {artifact.id}.")
    return " ".join(parts)


def fewest(artifact: Artifact, n: int) -> int:
    """Draws below which a cell of a map is thin."""
    return max(n, int(artifact.config.get("min_draws", 1)))
