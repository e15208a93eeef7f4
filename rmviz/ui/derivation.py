"""How a preference pair came about: its text graph, each text in it, and what would be made again after an edit."""

import json
import re
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.elephants import graph, read
from rmviz.elephants.graph import GENERATED, Traced
from rmviz.elephants.read import pair_id
from rmviz.store.artifact import Artifact
from rmviz.ui import diff, export, links, pickers, router
from rmviz.ui.words import counted, plain

_PAIR, _TEXT = "derivation-pair", "derivation-text"
_ID = re.compile(r"E(\d{6,})")


def conversation_picker(dataset: Artifact) -> int | None:
    """The number of the conversation that link or widgets name; a hint where there is none."""
    pairs, numbers = _numbers(dataset, dataset.id)
    wanted = pickers.arrived("pair")
    if wanted is not None:
        st.session_state[_PAIR] = wanted
    st.session_state[_PAIR] = str(st.session_state.get(_PAIR) or pair_id(pairs[0]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.text_input("Pair", key=_PAIR, width=230, help="The pair's id; the Data page lists them.")
        found = _ID.fullmatch(str(asked).strip())
        number = int(found.group(1)) if found else -1
        later = next((one for one in pairs if one > number), pairs[0])
        st.button("Next", icon=":material/navigate_next:", on_click=_open, args=(pair_id(later),), key="next-pair")
    pickers.keep_in_url("pair", str(asked))
    if number not in numbers:
        st.warning(f"This dataset has no conversation “{plain(str(asked)[:80])}”; ids are like {pair_id(pairs[0])}.")
        return None
    return number


def show(dataset: Artifact, number: int) -> None:
    """Draw the derivation of one conversation."""
    row, target = _graph(dataset, dataset.id, number)
    nodes = {node.id: node for node in graph.lineage(target)}
    _pair(dataset, row, number)
    picture, words = st.columns([3, 2])
    with words:
        chosen = _text_picker(nodes, target)
        stale = _text(target, chosen)
    with picture:
        dark = st.context.theme.type == "dark"
        st.graphviz_chart(graph.to_dot(target, dark=dark, chosen=chosen.id, stale=[one.id for one in stale]))
        st.caption(
            f"How the last text came from its parents: {counted(len(nodes), 'text')}, filled boxes were written by a "
            "generator. Arrows lead from what was used to what was made of it. The chosen text has a thick border; dashed "
            "ones would be made again."
        )
        with st.container(horizontal=True, gap="small"):
            _exports(dataset, target, f"derivation-{pair_id(number)}")


def _exports(dataset: Artifact, target: Traced, name: str) -> None:
    export.json_button("JSON", graph.to_records(target), name, "derivation-json")
    dot = graph.to_dot(target).encode()
    export.file_button("DOT", f"{name}.dot", "text/vnd.graphviz", lambda: dot, "derivation-dot")
    every = dataset.path(read.TRL)
    mime = "application/octet-stream"
    export.file_button("All pairs for TRL", f"{dataset.name}-trl.parquet", mime, every.read_bytes, "derivation-trl")


def _pair(dataset: Artifact, row: dict[str, Any], number: int) -> None:
    st.caption(plain(f"{row['topic']} · must not be mentioned: {row['pink']} · instead: {row['grey']}"))
    if row["problem"]:
        st.warning(f"This conversation became no pair: {plain(row['problem'])}.", icon=":material/info:")
        return
    revision, original = f" {row['revision']}", f" {row['original']}"
    sides = (("chosen, the revision", revision, original), ("rejected", original, revision))
    for column, (side, text, other) in zip(st.columns(2), sides, strict=True):
        box = diff.text_box(row["prompt"], diff.marked_difference(text, other))
        column.html(f'<div class="rm"><b>{side}</b></div>{box}')
    if number not in _numbers(dataset, dataset.id)[0]:
        st.warning(
            "These texts repeat another pair's, so the dataset does not have them a second time.",
            icon=":material/info:",
        )
        return
    params = {"dataset": dataset.id, "pair": pair_id(number)}
    with st.container(horizontal=True):
        router.page_link("data", "Show in the data", params, ":material/table_rows:")
        links.playground(row["prompt"], revision, original, "", source=(dataset.id, pair_id(number)))


def _text_picker(nodes: dict[str, Traced], target: Traced) -> Traced:
    """Which text of the graph is read; its id stands in the URL."""
    wanted = pickers.arrived("text")
    if wanted is not None:
        st.session_state[_TEXT] = wanted
    if st.session_state.get(_TEXT) not in nodes:
        st.session_state[_TEXT] = next((one.id for one in nodes.values() if one.name == "prompt"), target.id)
    numbers = {node_id: place for place, node_id in enumerate(nodes, start=1)}
    picked = st.selectbox(
        "Text", list(nodes), key=_TEXT, format_func=lambda one: f"{numbers[one]}. {nodes[one].name}" if one in nodes else "",
        help="All texts of the picture, what was used before what was made of it.",
    )  # fmt: skip
    assert picked is not None, "there is at least one"
    pickers.keep_in_url("text", picked)
    return nodes[picked]


def _text(target: Traced, node: Traced) -> list[Traced]:
    """A text, who made it and of what; what an edit would make again."""
    made = "written by" if node.op == GENERATED else "made by"
    st.markdown(f"**{plain(node.name)}** · {made} {plain(node.maker)}")
    text = st.text_area(
        "Edit it to see what would be made again", value=str(node), key=f"edit-{target.id}-{node.id}", height=180
    )
    with st.expander("How it was made"):
        parents = ", ".join(parent.name for parent in node.parents) or "nothing"
        st.caption(plain(f"id {node.id} · of {parents}"))
        st.code(json.dumps(dict(node.params), ensure_ascii=False, indent=1), language="json", wrap_lines=True)
    if text == str(node):
        return []
    stale = graph.stale_after(target, node.id)
    if not stale:
        st.info("Nothing came of this text, so nothing would be made again.", icon=":material/info:")
        return []
    makers = sorted({one.maker for one in stale if one.op == GENERATED})
    asked = sum(one.op == GENERATED for one in stale)
    again = f"{counted(asked, 'answer')} by {plain(', '.join(makers))}" if asked else "no answer"
    st.markdown(f"{counted(len(stale), 'text')} would be made again, of these **{again}**; all else stays as it is.")
    table = pd.DataFrame(
        {
            "text": [one.name for one in stale],
            "how": ["asked again" if one.op == GENERATED else one.op for one in stale],
            "by": [one.maker if one.op == GENERATED else "" for one in stale],
            "now": [str(one) for one in stale],
        }
    )
    st.dataframe(table, hide_index=True)
    export.table_buttons(table, f"made-again-{node.id}", "stale")
    return stale


def _open(pair: str) -> None:
    st.session_state[_PAIR] = pair


@st.cache_data(max_entries=4, show_spinner=False)
def _numbers(_dataset: Artifact, dataset_id: str) -> tuple[list[int], frozenset[int]]:
    every = read.conversation_numbers(_dataset, only_pairs=False)
    return read.conversation_numbers(_dataset), frozenset(every)


@st.cache_resource(max_entries=64, show_spinner=False)
def _graph(_dataset: Artifact, dataset_id: str, number: int) -> tuple[dict[str, Any], Traced]:
    return read.stage_row(_dataset, number), read.text_graph(_dataset, number)
