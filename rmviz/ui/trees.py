"""The search trees behind a dataset: one tree drawn, the pairs that it gave, and its nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.data.load import dataset_frame
from rmviz.plots.captions import caption
from rmviz.plots.trees import MOST, search_tree
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.training.tree_pairs import TREES, pairs_of
from rmviz.ui import diff, empty, export, frame, pickers, router, style
from rmviz.ui.tables import ROW_CLICK, clicked, record
from rmviz.ui.words import counted, number, percent, plain

_PAIR = "_tree-pair"
_ALL = -1
_SIDES = ("chosen", "rejected")


def with_trees(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The datasets whose trees were kept."""
    return [artifact for artifact in artifacts if artifact.kind == "dataset" and artifact.metrics.get("num_trees")]


def nothing(workspace: Workspace) -> None:
    """What leads to the first tree."""
    st.info("No tree has been searched yet.", icon=":material/lightbulb:")
    steps = [
        (
            "Search a policy's replies to knapsacks, and pair the good with the bad.",
            ("data", "mcts", "POLICY", "truth:knapsack"),
        )
    ]
    if policies := workspace.list("policy"):
        steps = [(steps[0][0], ("data", "mcts", policies[0].name, "truth:knapsack"))]
    empty.show_steps([(sentence, empty.command(workspace, *words)) for sentence, words in steps])
    router.page_link("train", "Or launch it from the browser", {"kind": "data.mcts"}, ":material/arrow_forward:")


@frame.fragment
def browse(dataset: Artifact) -> None:
    """Key figures of all trees, then one of them."""
    _headline(dataset)
    tree = _tree_picker(_numbers(dataset, dataset.id))
    one, pairs = _nodes(dataset, dataset.id, tree), _pairs(dataset, dataset.id, tree)
    st.markdown(f"**Prompt** · {plain(str(one['prompt'].iloc[0]))}")
    best, root = one.iloc[int(one["paid"].to_numpy().argmax())], one.iloc[0]
    st.markdown(
        f"The best reply that search found is paid {number(best['paid'])}: **{plain(str(best['reply'])) or '(empty)'}**. "
        f"The first reply that the policy drew is paid {number(root['paid'])}: {plain(str(root['reply'])) or '(empty)'}."
    )
    chosen = _pair_table(dataset, tree, pairs)
    ends = [] if pairs.empty else list(zip(*(pairs[f"node_{side}"].astype(int) for side in _SIDES), strict=True))
    figure = search_tree(one, ends, chosen=chosen)
    st.plotly_chart(style.compact(figure, 620), key=f"tree-{dataset.id}-{tree}-{chosen}", config=style.PLAIN_CHART)
    left_out = f" Of {len(one):,} nodes, the {MOST} visited most are drawn." if len(one) > MOST else ""
    st.caption(
        plain(
            caption("tree", n_texts=len(one), n_pairs=len(pairs), seed=dataset.config.get("seed"), source=dataset.id)
            + left_out
        )
    )
    with st.expander(f"All {counted(len(one), 'node')}"):
        st.dataframe(
            one.drop(columns="prompt"), key=f"nodes-{dataset.id}-{tree}", hide_index=True, height=320, lazy=False
        )
        export.table_buttons(one, f"{dataset.name}-tree-{tree}", "nodes")


def _headline(dataset: Artifact) -> None:
    figures = dataset.metrics
    items = [
        ("trees kept", f"{int(figures['num_trees']):,}", f"of {counted(int(figures['num_problems']), 'problem')}"),
        ("pairs", f"{int(figures['num_pairs']):,}", plain(str(dataset.config["pairs"]))),
        ("policy calls", f"{int(figures['policy_calls']):,}", "next-token distributions"),
        ("best found", number(figures["best"]), "mean reward of each tree's best reply"),
        ("one sample", number(figures["sampled"]), "mean reward"),
        ("greedy", number(figures["greedy"]), "mean reward"),
    ]
    if (share := figures.get("best_of_optimum")) is not None:
        items.append(("of the optimum", percent(share), "what the best found reaches"))
    if judged := figures.get("judged"):
        items.append(
            ("no score", f"{int(figures['unjudged']):,}", f"of {int(judged):,} replies judged; they are paid 0")
        )
    st.html(style.figures(items))


def _tree_picker(numbers: list[int]) -> int:
    wanted = pickers.arrived("tree")
    if wanted is not None:
        found = next((one for one in numbers if str(one) == wanted), None)
        if found is None:
            st.warning(f"Tree “{plain(wanted[:20])}” was not kept; tree {numbers[0]} is shown.")
        st.session_state["pick-tree"] = numbers[0] if found is None else found
    if st.session_state.get("pick-tree") not in numbers:
        st.session_state["pick-tree"] = numbers[0]
    tree = st.selectbox("Tree", numbers, key="pick-tree", format_func=lambda one: f"Tree {one}", width=180)
    pickers.keep_in_url("tree", str(tree))
    return int(tree)


def _pair_table(dataset: Artifact, tree: int, pairs: pd.DataFrame) -> int:
    """The pairs of a tree as a table; which one was clicked, −1 for all."""
    if pairs.empty:
        st.info("This tree gave no pair: no two nodes differ enough.", icon=":material/lightbulb:")
        pickers.keep_in_url("pair", None)
        return _ALL
    ids = pairs["pair_id"].tolist()
    wanted = pickers.arrived("pair")
    if wanted in ids:
        st.session_state[_PAIR] = wanted
    key = f"tree-pairs-{dataset.id}-{tree}"
    st.dataframe(
        pairs,
        key=key,
        hide_index=True,
        lazy=False,
        row_height=30,
        height=30 * len(pairs) + 40,
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, ids, st.session_state.get(_PAIR))),
        column_order=["pair_id", *(name for side in _SIDES for name in (side, *_of_side(side))), "split"],
        column_config={
            "pair_id": st.column_config.TextColumn("pair", width=88),
            **{side: st.column_config.TextColumn(side, width=230) for side in _SIDES},
            **_of_side("chosen"),
            **_of_side("rejected"),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        export.table_buttons(pairs, f"{dataset.name}-tree-{tree}-pairs", "tree-pairs")
    chosen = st.session_state.get(_PAIR)
    pickers.keep_in_url("pair", chosen if chosen in ids else None)
    if chosen not in ids:
        return _ALL
    _texts(record(pairs, ids.index(chosen)))
    return ids.index(chosen)


def _texts(pair: Mapping[str, Any]) -> None:
    """Both replies of a pair, what differs marked."""
    for place, (side, other) in zip(st.columns(2), (_SIDES, _SIDES[::-1]), strict=True):
        head = f'<div class="rm"><b>{side}</b> <span class="muted num">paid {number(pair[f"paid_{side}"])}</span></div>'
        marked = diff.marked_difference(str(pair[side]), str(pair[other]))
        place.html(head + diff.text_box(str(pair["prompt"]), marked))


def _of_side(side: str) -> dict[str, Any]:
    column = st.column_config
    return {
        f"value_{side}": column.NumberColumn(
            "value", width=64, format="%.3f", help=f"Mean reward of the replies seen through the {side} node."
        ),
        f"visits_{side}": column.NumberColumn("visits", width=60, help=f"Visits of the {side} node."),
        f"depth_{side}": column.NumberColumn("depth", width=60, help=f"Tokens up to the {side} node."),
    }


def _choose(pair: Any) -> None:
    st.session_state[_PAIR] = pair


@st.cache_data(max_entries=4, show_spinner="Reading the trees")
def _numbers(_dataset: Artifact, dataset_id: str) -> list[int]:
    return load_table(_dataset.path(TREES), columns=["tree"])["tree"].drop_duplicates().tolist()


@st.cache_data(max_entries=64, show_spinner=False)
def _nodes(_dataset: Artifact, dataset_id: str, tree: int) -> pd.DataFrame:
    return load_table(_dataset.path(TREES), filters=[("tree", "==", tree)]).drop(columns="tree")


@st.cache_data(max_entries=64, show_spinner=False)
def _pairs(_dataset: Artifact, dataset_id: str, tree: int) -> pd.DataFrame:
    return dataset_frame(_dataset, beginning=pairs_of(tree))
