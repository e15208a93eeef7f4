"""All features of one SAE: the ranked list, the volcano, the map; a click anywhere opens the feature beside it."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from rmviz.errors import RmvizError
from rmviz.features.read import By, Order
from rmviz.plots.captions import caption
from rmviz.plots.features import effect_distribution, feature_map, feature_volcano
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, detail, export, frame, labels, pickers
from rmviz.ui.tables import FEATURE_COLUMNS, RANKING_HELP, RANKINGS, ROW_CLICK, clicked, feature_columns, feature_rows
from rmviz.ui.words import SIGN, counted, plain

BY_LABELS: Mapping[str, str] = {str(by): title for by, title in RANKINGS.items()}
ORDERS: Mapping[str, Order] = {"strongest": "strongest", "positive": "most positive", "negative": "most negative"}
VIEWS = {"table": "Table", "volcano": "Volcano", "map": "UMAP", "all": "All effects"}
TABLE_HEIGHT = 640
FEATURE = "_feature"
"""Session key: the number of the open feature. The URL's `feature` follows it, and sets it when a link arrives."""


@frame.fragment
def browse(features: Artifact) -> None:
    """The list at the left, the open feature at the right."""
    table = cached.feature_table(features)
    shown, by = _controls(features)
    _take_link(table, shown)
    left, right = st.columns([11, 10], gap="medium")
    # the detail first: it is what a click waits for
    with right:
        if (feature := st.session_state.get(FEATURE)) is not None:
            pickers.keep_in_url("feature", str(feature))
            try:
                detail.feature_detail(features, table, feature, by, choose)
            except RmvizError as error:  # the list must stay, so that another feature can be chosen
                frame.problem(error)
        else:
            st.info(
                "Choose a feature: click a row at the left, or a dot of the volcano or the map.",
                icon=":material/ads_click:",
            )
    with left, st.container(key="rm-sticky-list"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            view = pickers.choice("View", VIEWS, "view", "table", label_visibility="collapsed")
            st.caption(f"{len(shown):,} of {counted(len(table), 'feature')}", help=SIGN)
        if shown.empty:
            st.info("No feature matches. Take a shorter search, or show hidden features.", icon=":material/search_off:")
        elif view == "table":
            _list(features, shown, by)
        else:
            _figure(features, shown, by, view)


def choose(feature: int) -> None:
    """Open a feature."""
    st.session_state[FEATURE] = feature


def _controls(features: Artifact) -> tuple[pd.DataFrame, By]:
    """The features that are left, in order, and what they are ranked by."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        by = cast(By, pickers.choice("Rank by", BY_LABELS, "by", "mean", help=RANKING_HELP))
        order = ORDERS[pickers.choice("Order", ORDERS, "order", "strongest")]
        query = st.text_input(
            "Search",
            key="q",
            bind="query-params",
            live=True,
            placeholder="label, words it fires on, or number",
            icon=":material/search:",
            width=270,
        )
        hide_template = st.toggle(
            "Hide template",
            key="hide_template",
            bind="query-params",
            help="Features that fire mostly on role tags, punctuation and white space.",
        )
        hide_ever = st.toggle(
            "Hide ever-firing",
            key="hide_ever",
            bind="query-params",
            help="Features that fire in nearly every text and work as a bias.",
        )
        labels.popover(features)
    shown = cached.ranked_features(features, by, order, hide_template, hide_ever, query or "")
    return shown, by


def _take_link(table: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Open what the URL names; without that, the first of the list, so that the page is never half empty."""
    known = set(table["feature"].tolist())
    wanted = pickers.arrived("feature")
    if wanted is not None:
        number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else -1
        if number in known:
            choose(number)
        else:
            st.warning(
                f"Feature “{plain(wanted[:60])}” fires in none of these texts, or does not exist; "
                "the first one is shown."
            )
            st.session_state.pop(FEATURE, None)
    if st.session_state.get(FEATURE) not in known and len(shown):
        choose(shown["feature"].tolist()[0])


def _list(features: Artifact, shown: pd.DataFrame, by: By) -> None:
    rows, ids = feature_rows(shown, by), shown["feature"].tolist()
    # positions mean other features when the filter or the order changes
    key = f"list-{features.id}-{by}-{zlib.crc32(rows['feature'].to_numpy().tobytes())}"
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=TABLE_HEIGHT,
        column_order=FEATURE_COLUMNS,
        column_config=feature_columns(by),
        lazy=False,
        on_select=lambda: choose(clicked(key, ids, st.session_state.get(FEATURE))),
        selection_mode=ROW_CLICK,
        row_height=30,
    )
    export.table_buttons(shown, f"{features.name}-{by}", f"table-{features.id}")


def _figure(features: Artifact, shown: pd.DataFrame, by: By, view: str) -> None:
    makers: dict[str, tuple[Callable[..., go.Figure], str]] = {
        "volcano": (feature_volcano, "volcano"),
        "map": (feature_map, "map"),
        "all": (effect_distribution, "effect_distribution"),
    }
    make, kind = makers[view]
    figure = make(shown, by=by)
    key = f"{view}-{features.id}-{by}-{len(shown)}"
    if view == "all":
        st.plotly_chart(figure, key=key)
    else:
        figure.update_layout(clickmode="event+select", dragmode=False, height=TABLE_HEIGHT)
        st.plotly_chart(
            figure,
            key=key,
            on_select=lambda: _chosen_dot(key),
            selection_mode="points",
            config={"doubleClick": False, "doubleClickDelay": 1},
        )
    n_pairs = max(shown["num_pairs"].tolist()) if by == "margin" else 0
    st.caption(plain(caption(kind, n_features=len(shown), n_pairs=n_pairs, source=features.id)))


def _chosen_dot(key: str) -> None:
    points: list[dict[str, Any]] = st.session_state[key]["selection"]["points"]
    custom = points[0].get("customdata") if points else None
    if custom:
        choose(int(custom[0] if isinstance(custom, (list, tuple)) else custom["0"]))
