"""The margins of a dataset: the share that k features explain, and the wrong pairs by the feature that makes them wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.pairs import explained_curve
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.ui import cached, diff, empty, export, frame, links, pickers, router, style
from rmviz.ui.lineage import KINDS
from rmviz.ui.tables import ROW_CLICK, clicked, record
from rmviz.ui.words import counted, number, percent, plain, shortened

WHAT = "margins"
VIEWS = {"wrong": "Wrong pairs", "explained": "What k features explain"}
PER_SHEET = 10
"""Pairs of a group that are shown at once, both texts of each."""

_GROUP = "_margins-group"
_NONE = -1


def of_margins(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The probes that this page shows."""
    return [a for a in artifacts if a.kind == "probe" and a.metrics.get("what") == WHAT]


def nothing(workspace: Workspace) -> None:
    """What leads to the first probe of margins."""
    st.info("No margins have been taken yet.", icon=":material/lightbulb:")
    saes, datasets = workspace.list("sae"), workspace.list("dataset")
    if not (saes and datasets):
        empty.show_steps(empty.next_steps(workspace))
        return
    words = ("margins", saes[0].name, datasets[0].name)
    empty.show_steps([("Say which features decide the margins of a dataset.", empty.command(workspace, *words))])
    router.page_link("train", "Or launch it from the browser", {"kind": "probe.margins"}, ":material/arrow_forward:")


@frame.fragment
def browse(probe: Artifact, by_kind: Mapping[str, Artifact], features: Artifact | None) -> None:
    """Key figures, then the view that was chosen."""
    made_of = [
        f"{KINDS[kind]} {plain(by_kind[kind].name)}" for kind in ("reward_model", "sae", "dataset") if kind in by_kind
    ]
    st.caption(f"Of {', '.join(made_of) or 'parents that are gone'}.")
    _headline(probe)
    view = pickers.choice("View", VIEWS, "view", "wrong", label_visibility="collapsed")
    words = cached.words_of_features(features)
    if view == "explained":
        _explained(probe, words)
    else:
        _wrong(probe, by_kind, features, words)


def _headline(probe: Artifact) -> None:
    figures = probe.metrics
    num_pairs, num_wrong = int(figures["num_pairs"]), int(figures["num_wrong"])
    left_out = [
        f"{int(figures[name]):,} {what}"
        for name, what in (("num_left_out", "without a reward"), ("num_cut", "with cut texts"), ("num_ties", "ties"))
        if figures[name]
    ]
    items = [
        ("pairs", f"{num_pairs:,}", ", ".join(left_out) or "all have a reward"),
        ("wrong", f"{num_wrong:,}", f"{percent(num_wrong / num_pairs)} of the pairs"),
        ("by one feature", f"{int(figures['num_by_one_feature']):,}", "wrong pairs that one feature off would right"),
    ]
    for k in (1, 10, 100):
        if (share := figures.get(f"share_{k}")) is not None:
            items.append((f"{counted(k, 'feature')} explain{'s' if k == 1 else ''}", percent(share), "of the margins"))
    st.html(style.figures(items))


def _explained(probe: Artifact, words: dict[int, str]) -> None:
    shares = _table(probe, "explained")
    if shares.empty:
        st.info("Fewer than two pairs have a margin, so there is nothing to explain.", icon=":material/lightbulb:")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(explained_curve(shares), key=f"explained-{probe.id}", config=style.PLAIN_CHART)
        n, seed = int(shares["num_pairs"].iloc[0]), int(probe.config["seed"])
        st.caption(plain(caption("explained", n_pairs=n, seed=seed, source=probe.id)))
    with right:
        shown = shares.assign(
            interval=[
                f"{percent(a)} to {percent(b)}" for a, b in zip(shares["share_low"], shares["share_high"], strict=True)
            ],
            fires_on=[_last(features, words) for features in shares["features"]],
        )
        column = st.column_config
        st.dataframe(
            shown, key=f"shares-{probe.id}", hide_index=True, column_order=["k", "share", "interval", "fires_on", "features"],
            column_config={
                "k": column.NumberColumn("k", width=48),
                "share": column.NumberColumn("share", width=70, format="percent"),
                "interval": column.TextColumn("95 % interval", width=136),
                "fires_on": column.TextColumn("k-th fires on", width=150, help="The last feature that came in."),
                "features": column.TextColumn("features", help="Most decisive first."),
            },
        )  # fmt: skip
        export.table_buttons(shares, f"{probe.name}-explained", "explained")


def _wrong(probe: Artifact, by_kind: Mapping[str, Artifact], features: Artifact | None, words: dict[int, str]) -> None:
    groups, wrong = _table(probe, "groups"), _table(probe, "wrong")
    if groups.empty:
        st.success("The model disagrees with the label on none of these pairs.", icon=":material/check:")
        return
    ids = groups["feature"].tolist()
    _take_link(ids)
    st.caption(
        "A wrong pair (margin below 0) belongs to the feature whose removal would leave it the largest margin above 0. "
        "Righted and broken count all pairs whose side changes with the feature off. Click a row to read its pairs."
    )
    _group_table(probe, groups, ids, words)
    feature = int(st.session_state[_GROUP])
    pickers.keep_in_url("feature", str(feature))
    _pairs(probe, by_kind, features, feature, wrong[wrong["feature"] == feature], words)


def _take_link(ids: list[int]) -> None:
    wanted = pickers.arrived("feature")
    if wanted is not None:
        st.session_state[_GROUP] = next((one for one in ids if str(one) == wanted), None)
        if st.session_state[_GROUP] is None:
            st.warning(f"No wrong pair belongs to feature “{plain(wanted[:60])}”; the largest group is shown.")
    if st.session_state.get(_GROUP) not in ids:
        st.session_state[_GROUP] = next((one for one in ids if one != _NONE), ids[0])


def _group_table(probe: Artifact, groups: pd.DataFrame, ids: list[int], words: dict[int, str]) -> None:
    shown = groups.assign(
        name=[str(one) if one != _NONE else "no single one" for one in ids],
        fires_on=[words.get(one, "") for one in ids],
        net=groups["num_righted"] - groups["num_broken"],
    )
    key = f"groups-{probe.id}"
    column = st.column_config
    st.dataframe(
        shown,
        key=key,
        hide_index=True,
        height=min(30 * len(shown) + 40, 300),
        row_height=30,
        lazy=False,
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, ids, st.session_state.get(_GROUP))),
        column_order=["name", "fires_on", "num_pairs", "num_righted", "num_broken", "net"],
        column_config={
            "name": column.TextColumn("feature", width=96, help="The feature that makes these pairs wrong."),
            "fires_on": column.TextColumn("fires on", width=220),
            "num_pairs": column.NumberColumn("wrong pairs", width=92, help="Wrong pairs that belong to it."),
            "num_righted": column.NumberColumn("righted", width=76, help="Wrong pairs that turn right with it off."),
            "num_broken": column.NumberColumn("broken", width=76, help="Right pairs that turn wrong with it off."),
            "net": column.NumberColumn(
                "net", width=60, format="%+d", help="Righted − broken: below 0, it does more good."
            ),
        },
    )
    export.table_buttons(shown.drop(columns="name"), f"{probe.name}-groups", "groups")


def _choose(feature: int) -> None:
    st.session_state[_GROUP] = feature


def _pairs(
    probe: Artifact,
    by_kind: Mapping[str, Artifact],
    features: Artifact | None,
    feature: int,
    wrong: pd.DataFrame,
    words: dict[int, str],
) -> None:
    """The pairs of one group, most wrong first, both texts of each."""
    what = "that no single feature rights" if feature == _NONE else f"that feature {feature} makes wrong"
    st.subheader(f"{counted(len(wrong), 'pair')} {what}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if feature != _NONE:
            st.caption(plain(shortened(words.get(feature, ""), 90)), width="content")
            if features is not None:
                params = {"features": features.id, "feature": str(feature)}
                router.page_link("features", f"Open feature {feature}", params, ":material/leaderboard:")
        export.table_buttons(wrong, f"{probe.name}-wrong-{feature}", "wrong")
    num_sheets = -(-len(wrong) // PER_SHEET)
    sheet = st.pagination(num_sheets, key=f"sheet-{probe.id}-{feature}") if num_sheets > 1 else 1
    first = (sheet - 1) * PER_SHEET
    ids = {name: by_kind[name].id if name in by_kind else "" for name in ("dataset", "reward_model", "sae")}
    for place in range(first, min(first + PER_SHEET, len(wrong))):
        with st.container(border=True):
            _pair(record(wrong, place), ids)


def _pair(row: Mapping[str, Any], ids: Mapping[str, str]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        off = f" · with the feature off {number(row['margin_without'], signed=True)}" if row["feature"] != _NONE else ""
        st.caption(plain(f"{row['pair_id']} · margin {number(row['margin'], signed=True)}{off}"), width="content")
        if ids["dataset"]:
            links.take_apart(ids["dataset"], str(row["pair_id"]), ids["reward_model"], ids["sae"])
    sides = (("chosen", "rejected"), ("rejected", "chosen"))
    for column, (side, other) in zip(st.columns(2), sides, strict=True):
        reward = number(row[f"{side}_reward"], signed=True)
        head = f'<div class="rm"><b>{escaped(side)}</b> <span class="muted num">reward {reward}</span></div>'
        marked = diff.marked_difference(str(row[side]), str(row[other]))
        column.html(head + diff.text_box(str(row["prompt"]), marked))


def _last(features: str, words: dict[int, str]) -> str:
    return words.get(int(features.rpartition(",")[2]), "")


def _table(probe: Artifact, name: str) -> pd.DataFrame:
    return _loaded(probe, probe.id, name)


@st.cache_data(max_entries=24, show_spinner="Reading the margins")
def _loaded(_probe: Artifact, probe_id: str, name: str) -> pd.DataFrame:
    return load_table(_probe.path(f"{name}.parquet"))
