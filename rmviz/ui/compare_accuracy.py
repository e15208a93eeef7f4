"""Accuracy of the compared models, and where in the data two of them differ."""

import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.compare import accuracy_dots, slice_dots
from rmviz.ui import compare_tables, export, pickers
from rmviz.ui.compare_tables import Compared
from rmviz.ui.words import plain

ORDERS = {"data": "By name", "difference": "By difference", "size": "By size"}


def accuracy(compared: Compared) -> None:
    """All models at the left; at the right the difference in each part of the data."""
    table = compare_tables.models(compared)
    left, right = st.columns([4, 5], gap="medium")
    with left:
        st.plotly_chart(accuracy_dots(table), key=f"accuracy-{compared.artifact.id}")
        source = compared.artifact.id
        st.caption(plain(caption("compare_accuracy", n_pairs=int(table["n"].max()), seed=compared.seed, source=source)))
    with right:
        _slices(compared, int(table["num_common"].iloc[compared.second]))
    shown = ["name", "accuracy", "accuracy_low", "accuracy_high", "difference", "difference_low", "difference_high",
             "num_gained", "num_lost", "num_ties", "num_missing", "n"]  # fmt: skip
    _figures(table[shown], compared)


def _figures(table: pd.DataFrame, compared: Compared) -> None:
    number = st.column_config.NumberColumn
    titles = {"accuracy": "accuracy", "accuracy_low": "low", "accuracy_high": "high", "difference": "− first",
              "difference_low": "low ", "difference_high": "high ", "num_gained": "gained", "num_lost": "lost",
              "num_ties": "ties", "num_missing": "no number", "n": "pairs"}  # fmt: skip
    config = {
        name: number(
            title, format="%+.3f" if name.startswith("diff") else "%d" if name.startswith("n") else "%.3f", width=72
        )
        for name, title in titles.items()
    }
    st.dataframe(
        table, hide_index=True, key="compared-models", column_config=config, height=min(35 * len(table) + 38, 320)
    )
    export.table_buttons(compare_tables.models(compared), f"{compared.artifact.name}-models", "compared-models")


def _slices(compared: Compared, num_pairs: int) -> None:
    table = compare_tables.slices(compared)
    own = table[table["model"] == compared.second]
    columns = {str(name): plain(str(name)) for name in own["column"].unique()}
    if not columns:
        st.info(
            "These pairs cannot be cut into parts: no column of the data, and no length, has two values.",
            icon=":material/lightbulb:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        column = pickers.named("Cut the data by", columns, "by")
        order = pickers.choice("Order", ORDERS, "order", "data")
    shown = own[own["column"] == column]
    if order == "difference":
        shown = shown.sort_values("difference", kind="stable", na_position="last")
    elif order == "size":
        shown = shown.sort_values("num_common", ascending=False, kind="stable")
    nothing = shown.loc[shown["num_common"] == 0, "value"].astype(str).tolist()
    if len(nothing) < len(shown):
        figure = slice_dots(shown, compared.first_name, compared.second_name)
        st.plotly_chart(figure, key=f"slices-{compared.artifact.id}")
    if nothing:
        st.caption(plain(f"No pair that both models could score: {', '.join(nothing)}."))
    source = compared.artifact.id
    st.caption(plain(caption("compare_slices", n_pairs=num_pairs, seed=compared.seed, source=source)))
    export.table_buttons(table, f"{compared.artifact.name}-slices", "slices")
