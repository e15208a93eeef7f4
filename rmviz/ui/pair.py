"""One preference pair: both texts side by side, what differs marked, their rewards, the ways to try them and to take them apart."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import diff, links
from rmviz.ui.words import number, plain, shortened

KNOWN = (
    "pair_id",
    "prompt",
    "chosen",
    "rejected",
    "split",
    "file",
    "line",
    "chosen_reward",
    "rejected_reward",
    "margin",
)
"""Columns that rmviz gives a meaning; the others are the data's own."""


def pair_detail(dataset: Artifact, row: Mapping[str, Any], model: Artifact | None) -> None:
    """Draw one row of a dataset: a pair, or a text alone."""
    is_pair = isinstance(row["rejected"], str)
    st.html(f"<h4 style='margin:.4rem 0 0'>{escaped(str(row['pair_id']))}</h4>")
    with st.container(horizontal=True, vertical_alignment="center"):
        where = f"{row['file']}, line {row['line']}" if row.get("file") else f"row {row['line']}"
        margin = f" · margin {number(row['margin'], signed=True)}" if is_pair else ""
        st.caption(plain(f"{row['split']} · {where}{margin}"), width="content")
        second = row["rejected"] if is_pair else ""
        source = (dataset.id, str(row["pair_id"]))
        links.playground(row["prompt"] or "", row["chosen"], second, model.id if model else "", source=source)
        if is_pair:
            links.take_apart(*source, model.id if model else "")
    sides = [("chosen", row["rejected"]), ("rejected", row["chosen"])] if is_pair else [("chosen", row["chosen"])]
    for column, (side, other) in zip(st.columns(len(sides)), sides, strict=True):
        reward = number(row[f"{side}_reward"], signed=True)
        head = (
            f'<div class="rm"><b>{side if is_pair else "text"}</b> <span class="muted num">reward {reward}</span></div>'
        )
        column.html(head + diff.text_box(row["prompt"] or "", diff.marked_difference(row[side], other)))
    extras = {name: value for name, value in row.items() if name not in KNOWN and value is not None and value == value}
    if extras:
        lines = [
            f"<tr><td>{escaped(str(name))}</td><td>{escaped(shortened(str(value), 400))}</td></tr>"
            for name, value in extras.items()
        ]
        st.html(f'<div class="rm"><table class="rm-table">{"".join(lines)}</table></div>')
