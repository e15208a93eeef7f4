"""The pairs of a dataset, wrong ones first: their table, their margins, and the rows that could not be used."""

import zlib

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.data.keep import RATINGS
from rmviz.data.load import dataset_problems
from rmviz.plots.captions import caption
from rmviz.plots.rewards import margin_histogram, reward_scatter
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, export, frame, pickers, scored, style
from rmviz.ui import ratings as ratings_view
from rmviz.ui.pair import KNOWN, pair_detail
from rmviz.ui.tables import ROW_CLICK, clicked, record
from rmviz.ui.words import counted, number, percent, plain, shortened

VIEWS = {"pairs": "Pairs", "margins": "Margins", "ratings": "Ratings", "bad": "Bad rows"}
SPLITS = {"all": "all", "train": "training", "heldout": "held out"}
MAX_ROWS = 5000
"""Rows in the table at once; a narrower search reaches the others."""

_EXCERPT = 160
_PAIR = "_pair"


@frame.fragment
def browse(dataset: Artifact, rows: pd.DataFrame, model: Artifact | None) -> None:
    """Key figures, then the view that was chosen.

    Args:
        dataset: The dataset.
        rows: What `scored.with_rewards` gives.
        model: Whose rewards these are, if any.
    """
    _headline(dataset, rows, model)
    shown = {name: title for name, title in VIEWS.items() if name != "ratings" or RATINGS in dataset.files}
    view = pickers.choice("View", shown, "view", "pairs", label_visibility="collapsed")
    if view == "ratings" and (ratings := cached.ratings(dataset)) is not None:
        ratings_view.view(dataset, ratings)
    elif view == "bad":
        _bad_rows(dataset)
    elif view == "margins":
        _figures(rows)
    else:
        _pairs(dataset, rows, model)


def _headline(dataset: Artifact, rows: pd.DataFrame, model: Artifact | None) -> None:
    margins, rewards = (rows[name].to_numpy(float) for name in ("margin", "chosen_reward"))
    num_pairs, num_heldout = int(np.sum(rows["rejected"].notna())), int(np.sum(rows["split"] == "heldout"))
    kinds = f"{num_pairs:,} pairs, {len(rows) - num_pairs:,} single texts" if num_pairs < len(rows) else "all are pairs"
    items = [
        ("rows", f"{len(rows):,}", kinds),
        ("held out", f"{num_heldout:,}", "rows kept out of training"),
        ("bad rows", number(dataset_problems(dataset)["total"]), "left out, with reasons"),
    ]
    share, low, high, n = scored.accuracy(margins)
    if n:
        where = f"[{percent(low)}, {percent(high)}], n = {counted(n, 'pair')}; chance 50 %"
        items.append(("ranked as people did", percent(share), where))
        items.append(("mean margin", number(float(np.nanmean(margins)), signed=True), "reward units"))
    elif np.isfinite(rewards).any():
        known = counted(int(np.isfinite(rewards).sum()), "text")
        items.append(("mean reward", number(float(np.nanmean(rewards)), signed=True), f"n = {known}"))
    st.html(style.figures(items))
    if model is not None and np.isfinite(rewards).any():
        st.caption(
            f"Rewards by {plain(model.name)}. Margin = reward of the chosen reply − reward of the rejected one; "
            "below 0, the model disagrees with people."
        )


def _pairs(dataset: Artifact, rows: pd.DataFrame, model: Artifact | None) -> None:
    shown = _filtered(rows)
    if shown.empty:
        st.info("No row matches. Take a shorter search, or another split.", icon=":material/search_off:")
        return
    ids = rows["pair_id"].tolist()
    _take_link(ids)
    _table(dataset, shown.head(MAX_ROWS), len(shown))
    pair_id = st.session_state.get(_PAIR)
    if pair_id in ids:
        pickers.keep_in_url("pair", str(pair_id))
        pair_detail(dataset, record(rows, ids.index(pair_id)), model)


def _filtered(rows: pd.DataFrame) -> pd.DataFrame:
    margins, rewards = (rows[name].to_numpy(float) for name in ("margin", "chosen_reward"))
    has_rewards = bool(np.isfinite(rewards).any())
    orders = scored.ORDERS if has_rewards else {"data": scored.ORDERS["data"]}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        query = st.text_input(
            "Search",
            key="q",
            bind="query-params",
            live=True,
            placeholder="words in a prompt or a reply",
            icon=":material/search:",
            width=230,
        )
        order = pickers.choice("Order", orders, "order", "wrong" if has_rewards else "data")
        split = pickers.choice("Split", SPLITS, "split", "all")
        if has_rewards:
            only_wrong = st.toggle(
                "Wrong only", key="wrong", bind="query-params", help="Pairs with a margin of 0 or less."
            )
            only_scored = st.toggle("Scored only", True, key="scored", bind="query-params", help="Rows with a reward.")
        else:
            only_wrong = only_scored = False
    keep = np.ones(len(rows), bool)
    if split != "all":
        keep &= (rows["split"] == split).to_numpy()
    if only_wrong:
        keep &= margins <= 0
    if only_scored:
        keep &= np.isfinite(rewards)
    for word in (query or "").casefold().split():
        keep &= _holds(rows, word)
    return scored.ordered(rows.loc[keep], order)


def _holds(rows: pd.DataFrame, word: str) -> np.ndarray:
    found = (rows["pair_id"] == word).to_numpy(bool)
    for column in ("prompt", "chosen", "rejected"):
        texts = rows[column].fillna("").astype(str).str.casefold()
        found = found | texts.str.contains(word, regex=False).to_numpy(bool)
    return found


def _take_link(ids: list[str]) -> None:
    wanted = pickers.arrived("pair")
    if wanted is None:
        return
    if wanted in ids:
        st.session_state[_PAIR] = wanted
    else:
        st.warning(f"This dataset has no pair “{plain(wanted[:80])}”.")


def _table(dataset: Artifact, shown: pd.DataFrame, num_found: int) -> None:
    excerpts = {
        name: [shortened(text, _EXCERPT) if isinstance(text, str) else "" for text in shown[name].tolist()]
        for name in ("prompt", "chosen", "rejected")
    }
    extras = [name for name in map(str, shown) if name not in KNOWN]
    numbers = ["margin", "chosen_reward", "rejected_reward"]
    table = shown[["pair_id", *numbers, "split", "line", *extras]].assign(**excerpts)
    order = [name for name in numbers if np.isfinite(shown[name].to_numpy(float)).any()]
    ids = shown["pair_id"].tolist()
    # positions mean other pairs when the filter or the order changes
    key = f"pairs-{dataset.id}-{zlib.crc32(repr(ids).encode())}"
    column = st.column_config
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        height=min(34 * len(table) + 42, 430),
        row_height=34,
        lazy=False,
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, ids, st.session_state.get(_PAIR))),
        column_order=[*order, "prompt", "chosen", "rejected", *extras, "split", "line", "pair_id"],
        column_config={
            "margin": column.NumberColumn(
                "margin", width=80, format="%+.3g", help="Chosen − rejected; below 0: wrong."
            ),
            "chosen_reward": column.NumberColumn(
                "chosen", width=80, format="%+.3g", help="Reward of the chosen reply."
            ),
            "rejected_reward": column.NumberColumn("rejected", width=80, format="%+.3g", help="Of the rejected reply."),
            "prompt": column.TextColumn("prompt", width=230),
            "chosen": column.TextColumn("chosen reply", width=230),
            "rejected": column.TextColumn("rejected reply", width=230),
            "line": column.NumberColumn("line", width=60, format="%d"),
        },
    )
    rest = f"; the first {MAX_ROWS:,} are listed, search to see others" if num_found > MAX_ROWS else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{counted(num_found, 'row')}{rest}. Click a row to read it.", width="content")
        export.table_buttons(shown, dataset.name, "pairs")


def _choose(pair_id: str | None) -> None:
    st.session_state[_PAIR] = pair_id


def _figures(rows: pd.DataFrame) -> None:
    n = int(np.isfinite(rows["margin"].to_numpy(float)).sum())
    if not n:
        st.info("There are no margins: nothing was scored yet, or the data has no pairs.", icon=":material/lightbulb:")
        return
    left, right = st.columns(2)
    with left:
        st.plotly_chart(margin_histogram(rows["margin"]), key="margins")
        st.caption(plain(caption("margins", n_pairs=n)))
    with right:
        st.plotly_chart(reward_scatter(rows), key="scatter")
        st.caption(plain(caption("rewards", n_pairs=n)))


def _bad_rows(dataset: Artifact) -> None:
    problems = dataset_problems(dataset)
    if not problems["total"]:
        st.success("Every row could be used.", icon=":material/check:")
        return
    table = pd.DataFrame(problems["problems"])
    columns = {"excerpt": st.column_config.TextColumn("excerpt", width="large")}
    st.dataframe(table, hide_index=True, key="bad-rows", column_config=columns)
    rest = f"; the first {len(table):,} are listed." if len(table) < problems["total"] else "."
    st.caption(f"{counted(problems['total'], 'row')} could not be used and were left out{rest}")
    export.table_buttons(table, f"{dataset.name}-bad-rows", "bad-rows")
