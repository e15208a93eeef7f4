"""How columns of tables are named, formatted and explained."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.features.read import By
from rmviz.ui.words import SIGN

RANKINGS: dict[By, str] = {
    "mean": "Mean effect on the reward",
    "margin": "On the margin of pairs",
    "firing": "Where it fires",
}
"""What features can be ranked by; the keys are the columns' first word."""

RANKING_HELP = (
    "**Mean effect on the reward**: over all texts; 0 where the feature is silent. "
    "**On the margin of pairs**: effect on the chosen text − effect on the rejected one; "
    "what the shared prompt does cancels. "
    "**Where it fires**: over the texts in which it fires, however few."
)

FEATURE_COLUMNS = (
    "feature",
    "label",
    "top_tokens",
    "effect",
    "low",
    "high",
    "q",
    "n",
    "density",
    "max_activation",
    "mark",
)


def feature_rows(table: pd.DataFrame, by: By) -> pd.DataFrame:
    """The columns that the list shows, for one ranking; rows and their order stay."""
    effect = f"{by}_effect"
    marks = np.select(
        [table["template"] & table["ever_firing"], table["template"], table["ever_firing"]],
        ["template, ever-firing", "template", "ever-firing"],
        "",
    )
    return pd.DataFrame(
        {
            "feature": table["feature"],
            **({"label": table["label"]} if "label" in table and table["label"].any() else {}),
            "top_tokens": table["top_tokens"],
            "effect": table[effect],
            "low": table[f"{effect}_low"],
            "high": table[f"{effect}_high"],
            "q": table[f"{effect}_q"],
            "n": table["num_pairs" if by == "margin" else "num_texts"],
            "density": 100 * table["density"],
            "max_activation": table["max_activation"],
            "mark": marks,
        }
    )


def feature_columns(by: By) -> dict[str, Any]:
    """Streamlit's configuration of `feature_rows`."""
    column = st.column_config
    unit = "pairs in which it fires on either side" if by == "margin" else "texts in which it fires"
    return {
        "feature": column.NumberColumn(
            "id", width=52, format="%d", help="Number of the feature in its SAE.", pinned=True
        ),
        "label": column.TextColumn("label", width=130, help="What it is called, by hand or by a label job."),
        "top_tokens": column.TextColumn(
            "fires on", width=150, help="The tokens on which it fires most; · marks a space."
        ),
        "effect": column.NumberColumn(
            "effect", width=72, format="%+.3g", help=f"{RANKINGS[by]}, in reward units. {SIGN}"
        ),
        "low": column.NumberColumn(
            "low", width=72, format="%+.3g", help="Lower end of the 95 % bootstrap interval over pairs."
        ),
        "high": column.NumberColumn(
            "high", width=72, format="%+.3g", help="Upper end of the 95 % bootstrap interval over pairs."
        ),
        "q": column.NumberColumn(
            "q",
            width=60,
            format="%.3f",
            help="Benjamini–Hochberg q-value: among features with at most this q, the share that may be chance. "
            "0.000 means below 0.0005.",
        ),
        "n": column.NumberColumn("n", width=52, format="%d", help=f"Number of {unit}."),
        "density": column.NumberColumn(
            "density", width=68, format="%.3g %%", help="Share of all tokens on which it fires."
        ),
        "max_activation": column.NumberColumn(
            "max act", width=68, format="%.3g", help="Its strongest activation, in SAE units."
        ),
        "mark": column.TextColumn(
            "mark",
            width=92,
            help="template: fires mostly on role tags and punctuation. ever-firing: fires in nearly every text.",
        ),
    }


ROW_CLICK: tuple[Literal["single-row"], Literal["single-cell"]] = ("single-row", "single-cell")
"""Selection modes with which a click anywhere in a row chooses it, not only one on its tick box."""


def record(table: pd.DataFrame, position: int) -> dict[str, Any]:
    """One row of a table, by its position."""
    return {str(name): value for name, value in table.iloc[position].to_dict().items()}


def clicked(key: str, values: Sequence[Any], current: Any) -> Any:
    """What the row that was just clicked stands for; `current` when nothing new was.

    Args:
        key: Session key of a table with `ROW_CLICK`.
        values: What each of its rows stands for.
        current: What is chosen now: a row that stays ticked beside a newly clicked cell does not win.
    """
    selection = st.session_state[key]["selection"]
    rows = [cell[0] for cell in selection.get("cells", [])] + list(selection.get("rows", []))
    found = [values[row] for row in rows if row < len(values) and values[row] != current]
    return found[0] if found else current


def neighbour_columns(measure: str, meaning: str) -> dict[str, Any]:
    """Configuration of a table of neighbours."""
    column = st.column_config
    return {
        "feature": column.NumberColumn("id", width=52, format="%d"),
        measure: column.NumberColumn(measure, width=64, format="%.2f", help=meaning),
        "effect": column.NumberColumn("effect", width=68, format="%+.3g", help=SIGN),
        "top_tokens": column.TextColumn("fires on", width="medium"),
    }
