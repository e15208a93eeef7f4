"""The ratings that a dataset's pairs were made from."""

import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.ratings import rating_dots
from rmviz.store.artifact import Artifact
from rmviz.ui import export
from rmviz.ui.words import counted, plain

_ORDER = ["item", "elo", "elo_low", "elo_high", "num_comparisons", "won", "prompt", "strength", "low", "high", "group"]


def view(dataset: Artifact, ratings: pd.DataFrame) -> None:
    """The best items with their intervals, and the table of all."""
    left, right = st.columns(2, gap="medium")
    with left:
        shown = ratings.sort_values("elo", ascending=False, kind="stable")
        st.plotly_chart(rating_dots(shown), key=f"ratings-{dataset.id}")
    with right:
        number = st.column_config.NumberColumn
        points = {
            name: number(name.replace("_", " "), format="%.0f", width=72) for name in ("elo", "elo_low", "elo_high")
        }
        nats = {name: number(name, format="%.2f", width=72) for name in ("strength", "low", "high")}
        st.dataframe(
            ratings, hide_index=True, key="ratings", column_config=points | nats, column_order=_ORDER, height=520
        )
        export.table_buttons(ratings, f"{dataset.name}-ratings", "ratings-out")
    metrics = dataset.metrics
    facts = f"{counted(int(metrics['num_comparisons']), 'comparison')}, {metrics['num_ties']:,} of them ties"
    groups = f", {metrics['num_groups']:,} groups, each on a scale of its own" if metrics["num_groups"] > 1 else ""
    st.caption(plain(f"{caption('ratings', source=dataset.id)} From {facts}{groups}."))
