"""Rewards of two models side by side, how sure the models are, and what length does to them."""

from typing import Literal, cast

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.estimates import correlation
from rmviz.plots.captions import caption
from rmviz.plots.compare import calibration_curves, compared_scatter, length_dots
from rmviz.ui import compare_flips, compare_tables, export, pickers
from rmviz.ui.compare_tables import Compared
from rmviz.ui.words import interval, number, plain

SCALES = {"rank": "Rank", "z": "z-score"}


def scatter(compared: Compared) -> None:
    """Each text as both models see it; a click on a dot opens its pair."""
    by = cast(
        Literal["rank", "z"], pickers.choice("Rewards by", SCALES, "by-reward", "rank", label_visibility="collapsed")
    )
    table = _texts(compared, by)
    known = int((np.isfinite(table["first"]) & np.isfinite(table["second"])).sum())
    if not known:
        st.info("No text has a finite reward from both models.", icon=":material/lightbulb:")
        return
    left, right = st.columns([6, 5], gap="medium")
    with left:
        key = f"scatter-{compared.artifact.id}-{compared.first}-{compared.second}-{by}"
        figure = compared_scatter(table, by, compared.first_name, compared.second_name)
        figure.update_layout(clickmode="event+select", dragmode=False)
        st.plotly_chart(
            figure,
            key=key,
            on_select=lambda: _choose_dot(key),
            selection_mode="points",
            config={"doubleClick": False, "doubleClickDelay": 1},
        )
        source = compared.artifact.id
        st.caption(plain(caption("compare_rewards", n_texts=known, seed=compared.seed, source=source)))
        export.table_buttons(table, f"{compared.artifact.name}-rewards", "compared-rewards")
    with right:
        found = correlation(table["first"].to_numpy(), table["second"].to_numpy(), num_units=-(-known // 2))
        if found.n:
            st.caption(
                f"Spearman correlation of the two models over texts: {number(found.value, signed=True)} "
                f"{interval(found.low, found.high)}, n = {found.n:,} pairs."
            )
        compare_flips.chosen_pair(compared, "Click a dot to read its pair.")


def calibration(compared: Compared) -> None:
    """The calibration curves of the two models, and the figures of all."""
    bins, models = compare_tables.calibration(compared), compare_tables.models(compared)
    both = list(dict.fromkeys([compared.first, compared.second]))
    left, right = st.columns([6, 5], gap="medium")
    with left:
        curves = {compared.names[model]: bins[bins["model"] == model] for model in both}
        st.plotly_chart(calibration_curves(curves), key=f"calibration-{compared.artifact.id}")
        n = int(models["n"].iloc[both].max())
        source = compared.artifact.id
        st.caption(plain(caption("compare_calibration", n_pairs=n, seed=compared.seed, source=source)))
        export.table_buttons(bins, f"{compared.artifact.name}-calibration", "calibration")
    with right:
        number_column = st.column_config.NumberColumn
        st.dataframe(
            models[["name", "ece", "ece_noise", "slope", "n"]],
            hide_index=True,
            key="calibration-figures",
            column_config={
                "ece": number_column(
                    "ECE", format="%.3f", help="Expected calibration error: mean |observed − predicted|."
                ),
                "ece_noise": number_column(
                    "by chance", format="%.3f", help="A calibrated model stays below this in 95 % of such samples."
                ),
                "slope": number_column(
                    "slope",
                    format="%.2f",
                    help="The factor on all margins that makes them most likely. 1: calibrated; below 1: too sure; above "
                    "1: not sure enough. Empty where no factor is best.",
                ),
                "n": number_column("pairs", format="%d"),
            },
        )
        st.caption(
            "An ECE above its chance level means that margins are no log-odds of people's choice. Models that were not "
            "trained by Bradley–Terry need not be calibrated: their slope says by what their margins would be stretched."
        )


def length(compared: Compared) -> None:
    """What length does to each model."""
    models = compare_tables.models(compared)
    known = models[models["length"].notna() | models["reward_length"].notna()]
    if known.empty:
        st.info(
            "Length cannot be held against rewards: there are fewer than four pairs, or one of the two does not vary.",
            icon=":material/lightbulb:",
        )
        return
    st.plotly_chart(length_dots(known), key=f"length-{compared.artifact.id}")
    source = compared.artifact.id
    st.caption(plain(caption("compare_length", n_pairs=int(models["n"].max()), seed=compared.seed, source=source)))
    shown = [
        "name",
        "length",
        "length_low",
        "length_high",
        "reward_length",
        "reward_length_low",
        "reward_length_high",
        "n",
    ]
    export.table_buttons(models[shown], f"{compared.artifact.name}-length", "length")


def _texts(compared: Compared, by: str) -> pd.DataFrame:
    values = compare_tables.values(compared.artifact, by)
    ids = compare_tables.pairs(compared.artifact)["pair_id"].to_numpy(object).repeat(2)
    sides = np.tile(np.array(["chosen", "rejected"], object), len(ids) // 2)
    first, second = values[compared.first].reshape(-1), values[compared.second].reshape(-1)
    return pd.DataFrame({"pair_id": ids, "text_id": ids + "/" + sides, "side": sides, "first": first, "second": second})


def _choose_dot(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    custom = points[0].get("customdata") if points else None
    if custom:
        compare_flips.choose(str(custom[0] if isinstance(custom, (list, tuple)) else custom["0"]))
