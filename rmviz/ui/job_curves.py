"""Live curves of a job, with other runs of its kind over them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from rmviz.jobs.records import METRICS, Job
from rmviz.plots.curves import Curve, curve_caption, curve_figure, curve_points
from rmviz.ui.job_metrics import curve, metric_names, read_metrics
from rmviz.ui.words import moment, shortened

AXES = {"step": "Steps", "time": "Time"}
MAX_FIGURES, MAX_RUNS = 6, 12


def job_curves(job: Job, others: Sequence[Job]) -> None:
    """Pickers and one figure per metric.

    Args:
        job: Whose curves.
        others: Jobs of the same kind that may be laid over it.
    """
    table = read_metrics(job.folder / METRICS)
    names = metric_names(table)
    if not names:
        st.caption("It has not reported yet." if job.active else "It ended before its first report.")
        return
    metrics, runs, by, smoothing, log = _controls(job, others, names, first_metrics(table))
    shown = [job, *runs]
    files, titles = tuple(run.folder / METRICS for run in shown), tuple(run_names(shown))
    columns = st.columns(2 if len(metrics) > 1 else 1)
    for number, metric in enumerate(metrics):
        with columns[number % len(columns)]:
            points, words = _points(files, titles, metric, by, smoothing, log)
            axis = "step" if by == "step" else "minutes since the first report"
            st.caption(words)  # above the figure, whose tool bar would cover the controls
            st.vega_lite_chart(points, curve_figure(titles, metric, x=axis, log=log), key=f"curve-{number}")


@st.cache_resource(ttl=1.0, max_entries=64, show_spinner=False)
def _points(
    files: tuple[Path, ...], titles: tuple[str, ...], metric: str, by: str, smoothing: float, log: bool
) -> tuple[pd.DataFrame, str]:
    """Points and caption of a figure, at most a second old, for every session that looks at it."""
    curves = [Curve(title, *curve(read_metrics(file), metric, by)) for file, title in zip(files, titles, strict=True)]
    return curve_points(curves, smoothing=smoothing, log=log), curve_caption(curves, smoothing=smoothing, log=log)


def run_names(jobs: Sequence[Job]) -> list[str]:
    """What to call runs beside each other: their names, with the end of their keys where names repeat."""
    names = [shortened(job.name or job.kind, 30) for job in jobs]
    tails = [_tail(job) for job in jobs]
    return [name if names.count(name) == 1 else f"{name} · {tail}" for name, tail in zip(names, tails, strict=True)]


def _tail(job: Job) -> str:
    stem, _, again = job.key.removeprefix(f"{job.kind}-").partition("-")
    return stem[:6] + (f"-{again}" if again else "")


def first_metrics(table: pd.DataFrame) -> list[str]:
    """The metrics that are shown until others are chosen: the first two that make a curve over steps."""
    names = [name for name in metric_names(table) if name != "rate"]
    curves = [name for name in names if table.loc[table[name].notna(), "step"].nunique() > 1]
    return (curves or names or ["rate"])[:2]


def _controls(
    job: Job, others: Sequence[Job], names: list[str], first: list[str]
) -> tuple[list[str], list[Job], str, float, bool]:
    key = f"curve-metrics-{job.kind}"
    if not st.session_state.get(f"{key}-picked"):
        st.session_state[key] = first  # a running job comes to report more
    st.session_state[key] = [name for name in st.session_state.get(key, first) if name in names]
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        one, two = st.columns(2)
        metrics = one.multiselect(
            "Metrics", names, key=key, max_selections=MAX_FIGURES, persist_state="session", placeholder="choose a metric",
            on_change=lambda: st.session_state.update({f"{key}-picked": True}),
        )  # fmt: skip
        by_key = {other.key: other for other in others}
        labels = {
            key: f"{shortened(o.name or o.kind, 30)} · {moment(o.changed)} · {o.state}" for key, o in by_key.items()
        }
        picked = two.multiselect(
            "Compare with", list(by_key), key=f"curve-runs-{job.key}", format_func=lambda key: labels.get(str(key), str(key)),
            max_selections=MAX_RUNS, persist_state="session", placeholder="other runs of this kind", disabled=not by_key,
        )  # fmt: skip
    with right:
        one, two = st.columns([3, 4], vertical_alignment="bottom")
        smoothing = one.slider(
            "Smoothing", 0.0, 0.99, 0.0, 0.01, key="curve-smoothing", persist_state="session",
            help="Weight of the past in an exponential moving average; 0 shows what was reported.",
        )  # fmt: skip
        with two.container(horizontal=True, vertical_alignment="bottom"):
            by = st.segmented_control(
                "Over", list(AXES), format_func=lambda name: AXES[name], default="step", key="curve-axis", required=True,
                persist_state="session",
            )  # fmt: skip
            log = st.toggle("Log axis", key="curve-log", persist_state="session")
    known = [metric for metric in metrics if metric in names]
    return known, [by_key[key] for key in picked if key in by_key], by or "step", float(smoothing), log
