"""Several maps side by side on one colour scale."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from rmviz.plots import maps as plots
from rmviz.qdaif.read import MapTables
from rmviz.ranks import standardised
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, map_figure, pickers, router
from rmviz.ui.words import counted, plain, shortened

MOST = 6
"""Maps shown at once."""

_PICKED = "map-with"


def several(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """This map and others that are chosen, each cell by the same figure and in the same colours."""
    others = [other for other in artifacts if other.kind == "map" and other.id != artifact.id]
    others.sort(key=lambda other: not _alike(artifact, other))  # those with the same axes first
    if not others:
        st.info("There is no other map to put beside this one.", icon=":material/lightbulb:")
        router.page_link("train", "Search for another", {"kind": "map"}, ":material/rocket_launch:")
        return
    value, by = map_figure.shown()
    picked = _pick(others)
    maps = [(one, cached.map_of(one)) for one in [artifact, *picked]]
    models = {one.parents[0] for one, _ in maps}
    standardise = value in map_figure.REWARDS and st.toggle(
        "Standardise each map", len(models) > 1, key=f"map-standardise-{len(models) > 1}",
        help="Takes each map's mean over its cells off and divides by its standard deviation: rewards of different "
        "reward models are not in one unit.",
    )  # fmt: skip
    _draw(maps, value, by, standardise=bool(standardise))
    unit = "standard deviations from each map's own mean" if standardise else "the figures themselves"
    mixed = " These are of different reward models: their rewards are not in one unit." if len(models) > 1 else ""
    st.caption(
        f"{map_figure.VALUES[value]} of each cell, poems filed by the {by} cell, all on one colour scale ({unit})."
        f"{mixed if not standardise else ''} Hatched cells have fewer draws than their map compares at."
    )


def _alike(one: Artifact, other: Artifact) -> bool:
    return all(one.config.get(name) == other.config.get(name) for name in ("rows", "columns", "axes_file"))


def _pick(others: Sequence[Artifact]) -> list[Artifact]:
    by_id = {other.id: other for other in others}
    wanted = pickers.arrived("with")
    if wanted is not None:
        parts = [part for part in wanted.split(",") if part]
        if missing := [part for part in parts if part not in by_id]:
            st.warning(f"There is no other map “{plain(missing[0][:60])}” here.")
        st.session_state[_PICKED] = [part for part in parts if part in by_id][: MOST - 1]
    known = [i for i in st.session_state.get(_PICKED, [others[0].id]) if i in by_id]
    st.session_state[_PICKED] = known
    names = pickers.labels(others)
    chosen = st.multiselect(
        "Beside it", list(by_id), key=_PICKED, format_func=lambda i: names.get(str(i), str(i)), max_selections=MOST - 1,
        placeholder="choose other maps",
    )  # fmt: skip
    pickers.keep_in_url("with", ",".join(chosen) or None)
    return [by_id[i] for i in chosen]


def _draw(maps: Sequence[tuple[Artifact, MapTables]], value: str, by: str, *, standardise: bool) -> None:
    tables = [_standardised(one.filed(by), value) if standardise else one.filed(by) for _, one in maps]
    scale = plots.common_scale([cells[value].to_numpy(float) for cells in tables], diverging=standardise)
    columns = st.columns(min(3, max(2, len(maps))), gap="medium")
    for number, ((one, full), cells) in enumerate(zip(maps, tables, strict=True)):
        with columns[number % len(columns)]:
            unit = "standardised" if standardise else map_figure.VALUES[value].lower()
            drawn = plots.map_cells(cells, value, scale)
            title = shortened(one.name, 60)
            map_figure.heat_map(
                drawn, full.grid, scale, f"beside-{number}-{one.id}", title=title, unit=unit, small=True
            )
            seed = one.metrics.get("seed")
            st.caption(plain(f"{counted(len(full.attempts), 'attempt')}, n = {full.n}, seed {seed}, {one.id}"))
            if number:
                router.page_link("maps", "Open this map", {"map": one.id}, ":material/arrow_forward:")


def _standardised(cells: pd.DataFrame, value: str) -> pd.DataFrame:
    """Cells with a value in standard deviations about its mean."""
    return cells.assign(**{value: standardised(cells[value].to_numpy(float))})
