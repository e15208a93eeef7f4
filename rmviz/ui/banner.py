"""What to know before trusting an SAE: its report card, loud when it is poor."""

from typing import Any

import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import style
from rmviz.ui.words import counted, number, percent, plain

_HOW_TO_READ = """
- **Effect** = reward with the feature − reward without it. Positive (orange): the feature raises the reward; negative
  (blue): it lowers it.
- It is **exact**: the model was run again without the feature, not estimated from a gradient.
- **Without** means: the feature's decoder direction times its activation is taken out of the residual stream wherever
  it fires. What the SAE cannot explain (its error term) stays, so a text in which the feature is silent has effect
  exactly 0.
- **Intervals** are 95 % bootstrap intervals over pairs; both texts of a pair are resampled together. **q** corrects for
  looking at many features (Benjamini–Hochberg).
- **Template** features fire mostly on role tags and punctuation; **ever-firing** ones in nearly every text. Both tend
  to fill the top of the list and say little about what the model prizes.
- A large effect says that the model *uses* the feature, not that the words it fires on are what it means: read its
  texts.
"""


def report_card(sae: Artifact) -> dict[str, Any]:
    """The report card of an SAE; empty where it has none."""
    return sae.read_json("report_card.json") if "report_card.json" in sae.files else {}


def report_banner(sae: Artifact | None) -> None:
    """The warnings of the report card, loud; nothing when it is fine."""
    if sae is None:
        st.warning("The SAE behind this is not in the workspace any more: how good it was cannot be said.")
        return
    card = report_card(sae)
    if not card:
        st.warning(f"The SAE {plain(sae.name)} has no report card: how much of the model it keeps is not known.")
    elif warnings := [plain(str(warning)) for warning in card.get("warnings", [])]:
        st.warning("**Read with care: this SAE is poor.** " + " ".join(warnings), icon=":material/warning:")


def report_popover(sae: Artifact | None) -> None:
    """The whole report card behind a button."""
    card = report_card(sae) if sae is not None else {}
    if not card or sae is None:
        return
    with st.popover("Report card", icon=":material/fact_check:", type="tertiary"):
        st.html(f"<b>{escaped(sae.name)}</b>{card_figures(card)}")
        st.caption(
            "Splice: the reward model with the SAE's reconstruction put in place of its activations. "
            "FVU: share of the activations' variance that the SAE does not explain. "
            f"Measured on {counted(int(card.get('num_tokens') or 0), 'token')} "
            f"and {counted(int(card.get('num_pairs') or 0), 'pair')}."
        )


def card_figures(card: dict[str, Any]) -> str:
    """HTML of the card's figures."""
    clean = card.get("clean_pair_accuracy")
    return style.figures(
        [
            ("L0", number(card.get("l0")), "features per token"),
            ("FVU", number(card.get("fvu")), f"{number(card.get('fvu_with_sinks'))} with sinks"),
            ("cosine", number(card.get("cosine")), f"{number(card.get('cosine_with_sinks'))} with sinks"),
            ("dead features", percent(card.get("dead_share")), "of the dictionary"),
            (
                "pair accuracy, spliced",
                percent(card.get("splice_pair_accuracy")),
                f"{escaped(percent(clean))} without the splice",
            ),
            ("reward Spearman", number(card.get("splice_spearman")), "spliced against clean"),
            ("margin R²", number(card.get("splice_margin_r2")), "spliced against clean"),
        ]
    )


def how_to_read() -> None:
    """The conventions, once, where they are needed."""
    with st.popover("How to read this", icon=":material/help:", type="tertiary"):
        st.markdown(_HOW_TO_READ)
