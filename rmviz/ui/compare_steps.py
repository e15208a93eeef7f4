"""The steps of one training on the same pairs: a slider over checkpoints, with the figures of the chosen one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.compare.tables import margins_of
from rmviz.plots import maps as plots
from rmviz.plots.captions import caption
from rmviz.plots.compare import step_lines
from rmviz.plots.rewards import margin_histogram
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, compare_tables, empty, export, map_figure, pickers, router, style
from rmviz.ui.compare_tables import Compared, points, points_interval
from rmviz.ui.words import SIGN, number, percent, plain

NUM_EFFECTS = 10


def steps(compared: Compared, artifacts: Sequence[Artifact]) -> None:
    """Accuracy and margins by step, and the checkpoint under the slider."""
    models = compare_tables.models(compared)
    chosen = _slider(models["step"].astype(int).tolist())
    row = models.iloc[chosen]
    items = [
        ("step", f"{int(row['step']):,}", escaped(str(row["name"]))),
        ("accuracy", percent(row["accuracy"]), f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}"),
        (
            "to the first model",
            points(row["difference"]),
            points_interval(row["difference_low"], row["difference_high"]),
        ),
        ("mean margin", number(row["margin"], signed=True), "standard deviations of its rewards"),
        ("ECE", number(row["ece"]), f"by chance below {number(row['ece_noise'])}"),
    ]
    st.html(style.figures(items))
    left, middle, right = st.columns(3, gap="medium")
    with left:
        figure = step_lines(models, "accuracy", "Accuracy", "accuracy", chosen).update_yaxes(tickformat=".1%")
        st.plotly_chart(figure, key="steps-accuracy", config=style.PLAIN_CHART)
    with middle:
        figure = step_lines(models, "margin", "Mean margin", "sd of rewards", chosen)
        st.plotly_chart(figure, key="steps-margin", config=style.PLAIN_CHART)
    with right:
        figure = step_lines(models, "ece", "Calibration error", "ECE", chosen).update_yaxes(rangemode="tozero")
        st.plotly_chart(figure, key="steps-ece", config=style.PLAIN_CHART)
    source = compared.artifact.id
    st.caption(plain(caption("compare_steps", n_pairs=int(models["n"].max()), seed=compared.seed, source=source)))
    export.table_buttons(models, f"{compared.artifact.name}-steps", "steps")
    left, right = st.columns(2, gap="medium")
    with left:
        margins = margins_of(compare_tables.values(compared.artifact, "z"))[chosen]
        st.plotly_chart(
            margin_histogram(margins).update_xaxes(title_text="margin (sd of rewards)"), key="steps-margins"
        )
        st.caption(plain(caption("margins", n_pairs=int(np.isfinite(margins).sum()), source=source)))
    with right:
        _top_effects(compared, artifacts, chosen)
    _map(compared, artifacts, chosen)


def _slider(steps_: Sequence[int]) -> int:
    """The place of the chosen step; the step stands in the URL."""
    places = list(range(len(steps_)))
    key, wanted = pickers.choice_key("step"), pickers.arrived("step")
    if wanted is not None and wanted.isascii() and wanted.isdigit() and len(wanted) < 10 and int(wanted) in steps_:
        st.session_state[key] = steps_.index(int(wanted))
    if st.session_state.get(key) not in places:
        st.session_state[key] = places[-1]
    picked = st.select_slider(
        "Step", places, format_func=lambda place: f"{steps_[place]:,}", key=key, persist_state="session"
    )
    chosen = picked if picked in places else places[-1]
    pickers.keep_in_url("step", None if chosen == places[-1] else str(steps_[chosen]))
    return chosen


def _top_effects(compared: Compared, artifacts: Sequence[Artifact], chosen: int) -> None:
    """The strongest features of the checkpoint, where an SAE was trained on it and its effects were measured."""
    model = compared.info["models"][chosen]["id"]
    st.markdown("**Strongest features at this step**")
    made_from = [artifact for artifact in artifacts if model in artifact.parents]
    effects = next((artifact for artifact in made_from if artifact.kind == "effects"), None)
    features = next((a for a in artifacts if a.kind == "features" and effects and effects.id in a.parents), None)
    if features is None:
        st.caption("No SAE of this checkpoint has its features prepared. What leads to it, one after another:")
        dataset = compared.info["dataset"]
        lines = [("sae", "train", model, dataset), ("effects", "SAE", dataset), ("features", "EFFECTS")]
        st.code(
            "\n".join(empty.command(router.workspace(), *words) for words in lines), language="bash", wrap_lines=True
        )
        return
    table = cached.feature_table(features)
    top = table.iloc[np.argsort(-table["mean_effect"].abs().to_numpy())[:NUM_EFFECTS]]
    columns = ["feature", "top_tokens", "mean_effect", "mean_effect_low", "mean_effect_high", "num_texts"]
    called = cached.words_of_features(features)
    _effects_table(top[columns].assign(top_tokens=[called.get(feature, "") for feature in top["feature"].tolist()]))
    router.page_link("features", "Open its features", {"features": features.id}, ":material/arrow_forward:")


def _map(compared: Compared, artifacts: Sequence[Artifact], chosen: int) -> None:
    """The map of the checkpoint, where one was drawn; all steps' maps share one colour scale."""
    ids = [str(model["id"]) for model in compared.info["models"]]
    maps = {ref: next((a for a in artifacts if a.kind == "map" and ref in a.parents), None) for ref in ids}
    drawn = {ref: found for ref, found in maps.items() if found is not None}
    st.markdown("**Map of this step**")
    own = drawn.get(ids[chosen])
    if own is None:
        others = f" {len(drawn)} of the {len(ids)} steps have one." if drawn else ""
        st.caption(f"No map was drawn for this checkpoint.{others} A search draws one:")
        words = ("map", "run", ids[chosen], "POLICY")
        st.code(empty.command(router.workspace(), *words), language="bash", wrap_lines=True)
        return
    value = "expected_best"
    tables = cached.map_of(own)
    cells = tables.filed("judged")
    alike = [cached.map_of(one) for one in drawn.values()]
    scale = plots.common_scale(
        [one.filed("judged")[value].to_numpy(float) for one in alike if one.grid.axes == tables.grid.axes]
    )
    map_figure.heat_map(
        plots.map_cells(cells, value, scale), tables.grid, scale, f"steps-map-{own.id}",
        title=own.name, unit=map_figure.VALUES[value].lower(),
    )  # fmt: skip
    st.caption(plain(map_figure.caption(own, tables, value, "judged")))
    router.page_link("maps", "Open the map", {"map": own.id}, ":material/arrow_forward:")


def _effects_table(top: pd.DataFrame) -> None:
    column = st.column_config
    st.dataframe(
        top,
        hide_index=True,
        key="steps-effects",
        column_config={
            "feature": column.NumberColumn("id", width=56, format="%d"),
            "top_tokens": column.TextColumn("fires on", width=190),
            "mean_effect": column.NumberColumn("effect", width=80, format="%+.3g", help=SIGN),
            "mean_effect_low": column.NumberColumn("low", width=72, format="%+.3g"),
            "mean_effect_high": column.NumberColumn("high", width=72, format="%+.3g"),
            "num_texts": column.NumberColumn("texts", width=64, format="%d"),
        },
    )
    st.caption(plain(SIGN))
