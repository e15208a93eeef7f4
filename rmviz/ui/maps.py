"""One map: its cells and their poems, how it came about, what its rows say, and what other maps say."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from rmviz.plots import maps as plots
from rmviz.qdaif.read import MapTables
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import (
    cached,
    empty,
    frame,
    map_cell,
    map_changes,
    map_export,
    map_figure,
    map_link,
    map_several,
    map_views,
    pickers,
    router,
    style,
)
from rmviz.ui.words import counted, number, percent, plain

VIEWS = {
    "map": "Map",
    "history": "History",
    "means": "Rows and columns",
    "labels": "Asked and judged",
    "several": "Side by side",
    "changes": "Difference and ablation",
}

_HOW_TO_READ = """
- Each **cell** is one tone of one genre, or whatever the axes are. The search (QDAIF) writes poems towards every cell and
  keeps the best of each, its **elite**.
- **Best** grows with the number of draws, so cells with more draws look better. **Expected best** is what the best of n
  draws would be, with the same n everywhere: compare cells by that.
- A **hatched** cell has too few draws to be compared; a grey one has no figure.
- A poem counts for the cell where the **judge** found it, or for the one it was **asked** for. Where these differ, the
  writer missed the label.
- Rewards are in the model's own units. Between two reward models compare shapes, or standardise.
- The p-value of a row or a column says how often chance alone would put it that low.
"""


def nothing(workspace: Workspace) -> None:
    """The page of a workspace without a map."""
    st.title("Maps")
    st.info("No map has been drawn yet.", icon=":material/lightbulb:")
    empty.show_steps(empty.map_steps(workspace))
    router.page_link("train", "Or fill in the form of a search", {"kind": "map"}, ":material/rocket_launch:")


def heading(artifact: Artifact) -> None:
    """The page's title; beside it, how to read a map, and how to make another."""
    with st.container(horizontal=True, vertical_alignment="center", key="rm-title"):
        st.title("Maps", width="content")
        with st.popover("How to read this", icon=":material/help:", type="tertiary"):
            st.markdown(_HOW_TO_READ)
        with st.popover("Launch", icon=":material/rocket_launch:", type="tertiary"):
            router.page_link("train", "A new search", {"kind": "map"}, ":material/add:")
            again = {"kind": "map_rescore", "map": artifact.id}
            router.page_link("train", "This map under another model, or with features off", again, ":material/compare:")


@frame.fragment
def browse(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """The chosen view of a map."""
    tables = cached.map_of(artifact)
    view = pickers.choice("View", VIEWS, "view", "map", label_visibility="collapsed")
    views: Mapping[str, Callable[[], None]] = {
        "map": lambda: _map(artifact, tables, artifacts),
        "history": lambda: map_views.history(artifact, tables),
        "means": lambda: map_views.means(artifact, tables),
        "labels": lambda: map_views.labels(artifact, tables),
        "several": lambda: map_several.several(artifact, artifacts),
        "changes": lambda: map_changes.changes(artifact, artifacts),
    }
    for params, users in map_link.USERS.items():
        if view not in users:
            pickers.keep_in_url(params, None)
    views[view]()


def _map(artifact: Artifact, tables: MapTables, artifacts: Sequence[Artifact]) -> None:
    _headline(artifact, tables)
    value, by = map_figure.shown()
    map_link.take_poem(tables.attempts, by)
    cell = map_link.take_cell(tables.grid, tables.filed(by)[value])
    left, right = st.columns([11, 10], gap="medium")
    # the poems first: they are what a click waits for
    with right:
        map_cell.cell_detail(artifact, tables, cell, by, artifacts)
    with left, st.container(key="rm-sticky-map"):
        cells, name = tables.filed(by), map_figure.VALUES[value]
        scale = plots.common_scale([cells[value].to_numpy(float)])
        map_figure.heat_map(
            plots.map_cells(cells, value, scale, chosen=cell), tables.grid, scale, f"map-{artifact.id}-{value}-{by}",
            unit=name.lower(), alt=f"{name} of every cell; the poems of the chosen cell stand beside it", click=True,
        )  # fmt: skip
        st.caption(f"{plain(map_figure.caption(artifact, tables, value, by))}  \n**Click a cell** to read its poems.")
        map_export.popover(artifact, cells, value, by)


def _headline(artifact: Artifact, tables: MapTables) -> None:
    figures = artifact.metrics
    st.html(
        style.figures(
            [
                ("attempts", f"{len(tables.attempts):,}", f"of {figures.get('num_attempts', 0):,} in all runs"),
                ("coverage", percent(figures.get("coverage")), f"of {counted(tables.grid.num_cells, 'cell')}"),
                ("QD score", number(figures.get("qd_score")), "sum over elites"),
                ("best", number(figures.get("best"), signed=True), "reward"),
                ("right labels", percent(figures.get("right_share")), "judged as asked"),
                (
                    "thin cells",
                    f"{int(tables.filed('judged')['thin'].sum()):,}",
                    f"fewer than {counted(map_figure.fewest(artifact, tables.n), 'draw')}",
                ),
            ]
        )
    )
