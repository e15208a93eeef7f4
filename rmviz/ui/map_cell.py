"""The poems of one cell, best first: each with its reward, its cells, who it came from, and the features it fires."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.plots.families import family_dot
from rmviz.plots.poems import card_html, family_html, place
from rmviz.plots.tokens import escaped
from rmviz.qdaif.read import MapTables, family, poems_of
from rmviz.store.artifact import Artifact
from rmviz.ui import export, map_features, map_link, pickers, router, style
from rmviz.ui.edited import MAX_LINK
from rmviz.ui.tables import record
from rmviz.ui.words import counted, interval, number, percent

PAGE = 5
"""Poems shown at once."""

_ICONS = {"family": ":material/account_tree:", "features": ":material/lightbulb:"}


def cell_detail(artifact: Artifact, tables: MapTables, cell: int, by: str, artifacts: Sequence[Artifact]) -> None:
    """Draw the open cell: its figures, then its poems a page at a time."""
    row = record(tables.filed(by), cell)
    poems = poems_of(tables.attempts, by, cell)
    poems["elite"] = poems["attempt_id"] == row["elite"]
    st.html(
        f'<div class="rm"><h3 style="padding:0;margin:0"><bdi>{escaped(place(row["row"], row["column"]))}</bdi></h3>'
        f"</div>{_figures(row)}"
    )
    if poems.empty:
        filed = "was judged to be of" if by == "judged" else "was asked for in"
        st.info(f"No poem {filed} this cell.", icon=":material/search_off:")
        return
    first = _page(artifact, poems, by, cell) * PAGE
    some = poems.iloc[first : first + PAGE]
    for number_, (_, poem) in enumerate(some.iterrows(), start=first + 1):
        _poem(artifact, tables, {str(k): v for k, v in poem.items()}, number_, artifacts)
    with st.container(horizontal=True, vertical_alignment="center"):
        num_counted = int(poems["counted"].sum())
        rest = len(poems) - num_counted
        more = f"; {rest:,} more (–) do not count as draws" if rest else ""
        st.caption(f"{counted(num_counted, 'draw')} by falling reward{more}.", width="content")
        export.table_buttons(poems.drop(columns="elite"), f"{artifact.name}-cell-{cell}-{by}", "cell-poems")


def _figures(row: dict[str, Any]) -> str:
    draws = int(row["draws"])
    low_high = f"{interval(row['low'], row['high'])} at n = {int(row['n'])}"
    return style.figures(
        [
            ("expected best", number(row["expected_best"], signed=True), low_high if row["low"] == row["low"] else "too few draws"),
            ("best", number(row["best"], signed=True), f"of {counted(draws, 'draw')}"),
            ("median", number(row["median"], signed=True), "of its draws"),
            ("90 % quantile", number(row["q90"], signed=True), "of its draws"),
            ("right labels", percent(row["right_share"]), "of those asked for here"),
        ]
    )  # fmt: skip


def _page(artifact: Artifact, poems: pd.DataFrame, by: str, cell: int) -> int:
    """The page that is shown, from 0; at first the one with the poem that is open."""
    ids, opened = poems["attempt_id"].tolist(), st.session_state.get(map_link.POEM)
    if opened and opened[0] not in ids:
        opened = st.session_state[map_link.POEM] = None
    pickers.keep_in_url("poem", str(opened[0]) if opened else None)
    pickers.keep_in_url("show", opened[1] if opened else None)
    pages = -(-len(poems) // PAGE)
    if pages == 1:
        return 0
    start = ids.index(opened[0]) // PAGE + 1 if opened else 1
    key = f"poems-{artifact.id}-{by}-{cell}-{map_link.generation()}"
    return min(st.pagination(pages, default=start, key=key), pages) - 1


def _poem(
    artifact: Artifact, tables: MapTables, poem: dict[str, Any], rank: int, artifacts: Sequence[Artifact]
) -> None:
    number_ = int(poem["attempt_id"])
    opened = st.session_state.get(map_link.POEM)
    st.html(card_html(poem, rank))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for show, title in map_link.SHOWS.items():
            st.button(
                title,
                key=f"poem-{number_}-{show}",
                icon=_ICONS[show],
                type="primary" if opened == (number_, show) else "tertiary",
                on_click=_open,
                args=(number_, show),
            )
        _playground_link(artifact, poem, artifacts)
    if opened == (number_, "family"):
        line, ancestors = family(tables.attempts, number_)
        rows = [{str(k): v for k, v in one.items()} for one in line.to_dict("records")]
        if len(rows) > 1:
            st.graphviz_chart(family_dot(rows, dark=st.context.theme.type == "dark"), width="content")
        st.html(family_html(rows, ancestors))
    elif opened == (number_, "features"):
        map_features.features_of_poem(artifact, str(poem["text"]), artifacts)


def _open(poem: int, show: str) -> None:
    """Show this of a poem; the same once more closes it."""
    same = st.session_state.get(map_link.POEM) == (poem, show)
    st.session_state[map_link.POEM] = None if same else (poem, show)


def _playground_link(artifact: Artifact, poem: dict[str, Any], artifacts: Sequence[Artifact]) -> None:
    params = {"prompt": str(artifact.config.get("prompt") or ""), "a": str(poem["text"])}
    if sum(map(len, params.values())) > MAX_LINK or not params["a"]:
        return
    model = map_features.model_of(artifact, artifacts)
    params |= {"mode": "text", "model": model.id if model else ""}
    router.page_link("playground", "Playground", {n: v for n, v in params.items() if v}, ":material/tune:")
