"""What the address of the Maps page says: the map, the view, the value shown, the cell, the poem."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from rmviz.configs.axes import Grid
from rmviz.configs.compare import ON_COMPARE
from rmviz.store.artifact import Artifact
from rmviz.ui import pickers
from rmviz.ui.words import plain

CELL, POEM = "_map-cell", "_map-poem"
"""Session keys of the open cell, and of the poem whose family or features are shown."""

SHOWS = {"family": "Where it came from", "features": "Features that fire"}
"""What can be opened below a poem."""

USERS = {
    "cell": ("map", "changes"),
    "poem": ("map",),
    "show": ("map",),
    "comparison": ("changes",),
    "with": ("several",),
    "after": ("history",),
    "then": ("history",),
}
"""Parameters of the address, and the views that they belong to."""

_REDRAWN = "_map-redrawn"


def follow(artifacts: Sequence[Artifact]) -> None:
    """Open the map of the comparison that a link names, where it names no map."""
    wanted = pickers.arrived("comparison")
    if wanted is None:
        return
    named = next(
        (
            a
            for a in artifacts
            if a.kind == "comparison" and a.metrics.get("what") not in ON_COMPARE and wanted in (a.id, a.name)
        ),
        None,
    )
    maps = [a.id for a in artifacts if a.kind == "map" and named is not None and a.id in named.parents]
    if maps and pickers.arrived("map") is None and named is not None:
        st.session_state["pick-map"] = next((i for i in named.parents if i in maps), maps[0])
    if pickers.arrived("view") is None:
        st.session_state[pickers.choice_key("view")] = "changes"


def take_cell(grid: Grid, worth: "pd.Series[float]") -> int:
    """The open cell: the URL's where a link brought one, else the one that was chosen, else the one worth most."""
    wanted, known = pickers.arrived("cell"), range(grid.num_cells)
    if wanted is not None:
        if (number := whole_number(wanted)) in known:
            st.session_state[CELL] = number
        else:
            st.warning(
                f"This map has no cell “{plain(wanted[:60])}”: its cells are numbered from 0 to {known[-1]}; "
                "the best one is shown."
            )
            st.session_state.pop(CELL, None)
        _redraw()
    if st.session_state.get(CELL) not in known:
        st.session_state[CELL] = int(worth.fillna(-float("inf")).to_numpy(float).argmax())
    cell = int(st.session_state[CELL])
    pickers.keep_in_url("cell", str(cell))
    return cell


def take_poem(attempts: pd.DataFrame, by: str) -> None:
    """Open the poem that the URL brings, and the cell that it is in."""
    wanted = pickers.arrived("poem")
    if wanted is None:
        return
    found = attempts.loc[attempts["attempt_id"] == whole_number(wanted), by]
    if found.empty or int(found.iloc[0]) < 0:
        st.warning(f"No cell of this map has a poem “{plain(wanted[:60])}”.")
        pickers.keep_in_url("poem", None)
        return
    show = st.query_params.get("show", "")
    st.session_state[CELL] = int(found.iloc[0])
    st.session_state[POEM] = (int(wanted), show if show in SHOWS else next(iter(SHOWS)))
    pickers.keep_in_url("cell", str(st.session_state[CELL]))
    _redraw()


def whole_number(text: str) -> int:
    """A number from the URL; −1 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def choose(key: str) -> None:
    """Open the cell that was clicked in the figure with this session key; a click beside the cells changes nothing."""
    picked = st.session_state[key]["selection"].get("cell") or []
    if picked and "cell" in picked[0]:
        st.session_state[CELL] = int(picked[0]["cell"])
        st.session_state.pop(POEM, None)


def generation() -> int:
    """Grows when a cell was opened otherwise than by a click: figures are then drawn anew, with no cell clicked."""
    return int(st.session_state.get(_REDRAWN, 0))


def _redraw() -> None:
    st.session_state[_REDRAWN] = generation() + 1
