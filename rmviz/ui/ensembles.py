"""An ensemble's figures: its members, how far they disagree, and whether disagreement tells errors."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.compare import accuracy_dots
from rmviz.plots.ensembles import error_dots
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import export, frame, router, style
from rmviz.ui.models import NUMBERS
from rmviz.ui.words import counted, interval, number, percent, plain, shortened


@frame.fragment
def browse(ensemble: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Key figures; members and errors by disagreement side by side; the recipes that measured it."""
    figures = ensemble.read_json("figures.json")
    _headline(ensemble, pd.DataFrame(figures["disagreement"]))
    left, right = st.columns(2, gap="medium")
    with left:
        _members(ensemble, pd.DataFrame(figures["members"]), artifacts)
    with right:
        errors = pd.DataFrame(figures["errors"])
        st.plotly_chart(error_dots(errors), key=f"errors-{ensemble.id}")
        n, seed = int(errors["n"].sum()), int(ensemble.metrics["seed"])
        st.caption(plain(caption("ensemble_errors", n_pairs=n, seed=seed, source=ensemble.id)))
        export.table_buttons(errors, f"{ensemble.name}-errors", "ensemble-errors")
    for experiment in (a for a in artifacts if a.kind == "experiment" and ensemble.id in a.parents):
        words = f"What it is worth as a reward: {plain(shortened(experiment.name, 40))}"
        router.page_link("experiments", words, {"experiment": experiment.id}, ":material/science:")


def _headline(ensemble: Artifact, disagreement: pd.DataFrame) -> None:
    metrics = ensemble.metrics
    n = f"n = {counted(int(metrics['num_heldout']), 'pair')}"
    items = [
        ("held-out accuracy", percent(metrics["accuracy"]),
         f"{percent(metrics['accuracy_low'])} to {percent(metrics['accuracy_high'])}, {n}"),
        ("mean alone", percent(metrics["accuracy_mean"]), "without the penalty"),
        ("one member", percent(metrics["accuracy_members"]), f"mean of {metrics['num_members']}"),
    ]  # fmt: skip
    items += [
        (f"disagreement: {escaped(shortened(str(row['texts']), 30))}", number(row["mean"]),
         f"{number(row['low'])} to {number(row['high'])}, n = {int(row['n']):,} texts")
        for row in disagreement.to_dict("records")
    ]  # fmt: skip
    for name, title in (
        ("error_correlation", "disagreement and error"),
        ("unsure_correlation", "the same, over |margin|"),
    ):
        if metrics.get(name) is not None:
            under = interval(metrics[f"{name}_low"], metrics[f"{name}_high"])
            items.append((title, number(metrics[name], signed=True), f"Spearman, {under}"))
    st.html(style.figures(items))
    st.caption(
        plain(
            f"Reward = mean of the members − {number(metrics['lambda'])} × their standard deviation, each member laid on the "
            "scale of the others on the held-out texts. Disagreement is that standard deviation, in units of the reward."
        )
    )


def _members(ensemble: Artifact, members: pd.DataFrame, artifacts: Sequence[Artifact]) -> None:
    table = members.rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
    st.plotly_chart(accuracy_dots(table), key=f"members-{ensemble.id}")
    st.caption(plain(caption("compare_accuracy", n_pairs=int(members["n"].max()), source=ensemble.id)))
    st.dataframe(members, hide_index=True, key="ensemble-members", column_config=NUMBERS, height=35 * len(members) + 40)
    export.table_buttons(members, f"{ensemble.name}-members", "ensemble-members-out")
    present = {artifact.id for artifact in artifacts}
    with st.container(horizontal=True, gap="medium"):
        for member in members.to_dict("records"):
            if member["id"] in present:
                words = plain(shortened(str(member["name"]), 40))
                router.page_link("models", words, {"model": str(member["id"])}, ":material/arrow_forward:")
