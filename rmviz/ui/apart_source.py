"""Which pair is taken apart: one of a dataset, or the one that stands in the Playground."""

from collections.abc import Sequence

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.types import Pair
from rmviz.ui import cached, drafts, pickers, router
from rmviz.ui.tables import record
from rmviz.ui.words import plain

SOURCES = {"data": "From the data", "typed": "From the Playground"}
_PAIR = "apart-pair"


def chosen_pair(datasets: Sequence[Artifact]) -> Pair | None:
    """The pair that the link or the widgets name; a hint where there is none."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = pickers.choice("Which pair", SOURCES, "from", "data") if datasets else "typed"
        if source == "data":
            with st.container(width=330):
                dataset = pickers.artifact_picker("Dataset", datasets, "dataset")
            assert dataset is not None, "there is at least one"
            return _of_data(dataset)
    return _typed()


def _of_data(dataset: Artifact) -> Pair | None:
    rows = cached.dataset(dataset)
    rows = rows[rows["rejected"].notna()]
    ids = rows["pair_id"].tolist()
    if not ids:
        st.info("This dataset has single texts only; choose one with pairs.", icon=":material/lightbulb:")
        return None
    if (wanted := pickers.arrived("pair")) is not None:
        st.session_state[_PAIR] = wanted
    asked = st.session_state.get(_PAIR) or ids[0]
    st.session_state[_PAIR] = str(asked)
    asked = st.text_input(
        "Pair", key=_PAIR, width=230, help="The pair's id; the Data page lists them, wrong ones first."
    )
    place = ids.index(asked) if asked in ids else -1
    st.button(
        "Next", icon=":material/navigate_next:", on_click=_open, args=(ids[(place + 1) % len(ids)],), key="next-pair"
    )
    pickers.keep_in_url("pair", str(asked))
    if place < 0:
        st.warning(f"This dataset has no pair “{plain(str(asked)[:80])}”; the Data page lists them.")
        return None
    row = record(rows, place)
    return Pair(pair_id=row["pair_id"], prompt=row["prompt"] or "", chosen=row["chosen"], rejected=row["rejected"])


def _open(pair_id: str) -> None:
    st.session_state[_PAIR] = pair_id


def _typed() -> Pair | None:
    drafts.take_link()
    draft = drafts.current("pair")
    if not drafts.keep_link(draft):
        st.caption(drafts.TOO_LONG)
    if not (draft.first.strip() and draft.second.strip()):
        st.info("Type two replies in the Playground, then take the pair apart there.", icon=":material/edit:")
        router.page_link("playground", "Open the Playground", {"mode": "pair"}, ":material/tune:")
        return None
    return Pair(pair_id="Reply A against reply B", prompt=draft.prompt, chosen=draft.first, rejected=draft.second)
