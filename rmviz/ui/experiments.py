"""What an experiment has found: sentences first, then figures, curves, tables, what it made, and how to repeat it."""

import zlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.configs.recipes import RECIPES
from rmviz.jobs.progress import duration
from rmviz.plots.captions import caption
from rmviz.plots.experiments import arm_curves, figure_dots
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Experiment, Figure, read_experiment
from rmviz.store.workspace import Workspace
from rmviz.ui import empty, export, router, style
from rmviz.ui.lineage import KINDS
from rmviz.ui.overview import link_of
from rmviz.ui.words import counted, number, percent, plain, shortened

MAX_ROWS = 2000


def nothing(workspace: Workspace) -> None:
    """Say that no experiment has been run, and the commands of the recipes."""
    st.info(
        "No experiment has been run here yet. A recipe goes from data to figures with one command, or one click on the Train "
        "page.",
        icon=":material/lightbulb:",
    )
    router.page_link("train", "Open Train", icon=":material/model_training:")
    empty.show_steps([(one.sentence, empty.command(workspace, "recipe", name)) for name, one in RECIPES.items()])


def show(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """All of one experiment."""
    experiment = _read(artifact, artifact.id)
    with st.container(border=True):
        st.markdown(f"**{plain(experiment.title)}: what was found**")
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in experiment.found))
    seconds = duration(experiment.seconds)
    st.caption(plain(f"{counted(experiment.seeds, 'seed')} · {seconds} · {artifact.id}"))
    _figures(artifact, experiment)
    _curves(artifact, experiment)
    _tables(artifact, experiment)
    _links(experiment, artifacts)
    st.subheader("Again")
    st.code(experiment.command, language="bash", wrap_lines=True)
    with st.container(horizontal=True):
        export.json_button("Report as JSON", experiment.to_json(), artifact.name, "experiment-json")
        if artifact.key:
            router.page_link("jobs", "Its job", {"job": artifact.key}, ":material/checklist:")


@st.cache_data(max_entries=16, show_spinner=False)
def _read(_artifact: Artifact, artifact_id: str) -> Experiment:
    return read_experiment(_artifact)


def _figures(artifact: Artifact, experiment: Experiment) -> None:
    """Dots with intervals per unit, and every figure in words."""
    if not experiment.figures:
        return
    st.subheader("Figures")
    by_unit = groupby(sorted(experiment.figures, key=lambda one: one.unit), key=lambda one: one.unit)
    groups = [(unit, [one for one in some if one.mean is not None]) for unit, some in by_unit]
    drawn = [(unit, some) for unit, some in groups if some]
    boxes = st.columns(min(max(len(drawn), 1), 2), gap="medium")
    for place, (unit, some) in enumerate(drawn):
        with boxes[place % len(boxes)]:
            title = {"": "Plain numbers", "share": "Shares"}.get(unit, unit)
            st.plotly_chart(figure_dots(some, title), key=f"figures-{place}-{artifact.id}", config=style.PLAIN_CHART)
    st.caption(plain(caption("experiment_figures", source=artifact.id)))
    head = "<tr><th>figure</th><th>mean</th><th>95 %</th><th>n</th><th>wished for</th><th></th></tr>"
    lines = [_line(one) for one in experiment.figures]
    st.html(f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table></div>')
    table = pd.DataFrame([{**vars(one)} for one in experiment.figures])
    export.table_buttons(table, f"{artifact.name}-figures", "experiment-figures")


def _line(figure: Figure) -> str:
    form = percent if figure.unit == "share" else number
    ends = "" if figure.low is None else f"[{form(figure.low)}, {form(figure.high)}]"
    return (
        f"<tr><td>{escaped(figure.name)}</td><td class='num'><b>{form(figure.mean)}</b></td><td class='num'>{ends}</td>"
        f"<td class='num'>{figure.n:,}</td><td>{escaped(figure.target)}</td><td class='muted'>{escaped(figure.meaning)}</td></tr>"
    )


def _curves(artifact: Artifact, experiment: Experiment) -> None:
    if not experiment.curves:
        return
    st.subheader("Curves")
    boxes = st.columns(2, gap="medium")
    for place, one in enumerate(experiment.curves):
        with boxes[place % 2]:
            st.plotly_chart(arm_curves(one), key=f"curve-{place}-{artifact.id}", config=style.PLAIN_CHART)
            st.caption(plain(one.meaning))
    st.caption(plain(caption("experiment_curves", source=artifact.id)))
    rows = [{"curve": one.title, **row} for one in experiment.curves for row in one.rows]
    export.table_buttons(pd.DataFrame(rows), f"{artifact.name}-curves", "experiment-curves")


def _tables(artifact: Artifact, experiment: Experiment) -> None:
    arms = {"arms": experiment.arms} if any(len(arm) > 1 for arm in experiment.arms) else {}
    for name, rows in {**arms, **experiment.tables}.items():
        st.subheader(plain(name[:1].upper() + name[1:]))
        table = pd.DataFrame([{str(key): _cell(value) for key, value in row.items()} for row in rows])
        key = f"experiment-{zlib.crc32(name.encode())}"
        st.dataframe(
            table.head(MAX_ROWS), hide_index=True, key=f"{key}-{artifact.id}", height=35 * (min(len(table), 12) + 1) + 3
        )
        if len(table) > MAX_ROWS:
            st.caption(f"The first {MAX_ROWS:,} of {len(table):,} rows; the export has all.")
        export.table_buttons(table, f"{artifact.name}-{name}", key)


def _cell(value: Any) -> Any:
    """A value that a table column can hold; lists and records as text."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _links(experiment: Experiment, artifacts: Sequence[Artifact]) -> None:
    """The artifacts that it made, by kind, each one click away; what is gone is named."""
    if not experiment.links:
        return
    st.subheader("What it made")
    here = {artifact.id: artifact for artifact in artifacts}
    found = [here[link] for link in dict.fromkeys(experiment.links) if link in here]
    for kind, title in KINDS.items():
        some = [one for one in found if one.kind == kind]
        if some:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.caption(title, width="content")
                for one in some:
                    link_of(one, plain(shortened(one.name, 40)))
    gone = [link for link in experiment.links if link not in here]
    if gone:
        st.caption(plain(f"Not in this workspace any more: {', '.join(gone)}."))
