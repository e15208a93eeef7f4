"""What is in the workspace: counts, tables with key figures, jobs, and the calibration if there is one."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import job_watch, router, style
from rmviz.ui.lineage import BY_WHAT, KINDS
from rmviz.ui.words import ago, moment, number, percent, plain, shortened

PAGE_OF = {
    "dataset": ("data", "dataset"),
    "policy": ("policies", "policy"),
    "features": ("features", "features"),
    "effects": ("features", ""),
    "labels": ("features", ""),
    "sae": ("playground", "sae"),
    "reward_model": ("models", "model"),
    "ensemble": ("models", "model"),
    "map": ("maps", "map"),
    "comparison": ("maps", "comparison"),
    "probe": ("probes", "probe"),
    "experiment": ("experiments", "experiment"),
}
"""Page of each kind of artifact, and the parameter that names one there."""

_Figure = tuple[str, Callable[[Artifact], str]]


def _metric(name: str, form: Callable[[Any], str] = number) -> Callable[[Artifact], str]:
    return lambda artifact: (
        form(artifact.metrics.get(name)) if isinstance(artifact.metrics.get(name), (int, float)) else "–"
    )


def _setting(name: str) -> Callable[[Artifact], str]:
    return lambda artifact: str(artifact.config.get(name) or "–")


COLUMNS: Mapping[str, Sequence[_Figure]] = {
    "dataset": [
        ("pairs", _metric("num_pairs")),
        ("texts", _metric("num_texts")),
        ("held out", _metric("num_heldout")),
        ("bad rows", _metric("num_bad")),
    ],
    "policy": [
        ("loss", _metric("loss")),
        ("proxy before", _metric("reward_before")),
        ("after", _metric("reward")),
        ("gold before", _metric("gold_before")),
        ("gold after", _metric("gold")),
        ("KL per reply", _metric("kl_reply")),
        ("seed", _setting("seed")),
    ],
    "reward_model": [
        ("held-out accuracy", _metric("accuracy", percent)),
        ("on pairs", _metric("num_pairs")),
        ("steps", _metric("steps")),
        ("seed", _metric("seed")),
    ],
    "ensemble": [
        ("members", _metric("num_members")),
        ("held-out accuracy", _metric("accuracy", percent)),
        ("one member", _metric("accuracy_members", percent)),
        ("λ", _metric("lambda")),
        ("disagreement", _metric("disagreement")),
    ],
    "sae": [
        ("hookpoint", _setting("hookpoint")),
        ("features", _setting("d_sae")),
        ("L0", _metric("l0")),
        ("FVU", _metric("fvu")),
        ("dead", _metric("dead_share", percent)),
        ("splice accuracy", _metric("splice_pair_accuracy", percent)),
        ("model's own", _metric("clean_pair_accuracy", percent)),
    ],
    "effects": [
        ("texts", _metric("num_texts")),
        ("pairs", _metric("num_pairs")),
        ("alive features", _metric("num_features")),
        ("rows", _metric("num_rows")),
    ],
    "features": [("features", _metric("num_features")), ("seed", _setting("seed"))],
    "labels": [
        ("features", _metric("num_features")),
        ("balanced accuracy", _metric("balanced_accuracy", percent)),
        ("shuffled", _metric("shuffled_balanced_accuracy", percent)),
        ("sign", _metric("sign_agreement", percent)),
        ("seed", _setting("seed")),
    ],
    "map": [
        ("method", _setting("method")),
        ("attempts", _metric("num_attempts")),
        ("coverage", _metric("coverage", percent)),
        ("QD score", _metric("qd_score")),
        ("best", _metric("best")),
        ("seed", _metric("seed")),
    ],
    "comparison": [
        ("what", lambda artifact: str(artifact.metrics.get("what") or "–")),
        ("poems", _metric("num_poems")),
        ("models", _metric("num_models")),
        ("pairs", _metric("num_pairs")),
    ],
    "experiment": [
        ("seeds", _metric("num_seeds")),
        ("what was found", lambda artifact: shortened(str(artifact.metrics.get("found") or "–"), 110)),
    ],
    "probe": [
        ("what", lambda artifact: str(artifact.metrics.get("what") or "–")),
        ("items that matter", _metric("num_matter")),
        ("worst", lambda artifact: str(artifact.metrics.get("worst") or "–")),
        ("gap", _metric("gap")),
        ("share its features carry", _metric("share", percent)),
        ("texts", _metric("num_texts")),
    ],
}


def artifact_table(artifacts: Sequence[Artifact], kind: str) -> pd.DataFrame:
    """Name, key figures, age and id of the artifacts of one kind."""
    rows = [
        {"name": a.name, **{title: figure(a) for title, figure in COLUMNS[kind]}, "made": moment(a.created), "id": a.id}
        for a in artifacts
    ]
    return pd.DataFrame(rows)


def height_of(rows: int) -> int:
    """Pixels of a table that shows all of a few rows, and seven of many."""
    return 35 * (min(rows, 7) + 1) + 3


def inventory(artifacts: Sequence[Artifact]) -> None:
    """A table per kind; the page that shows an artifact is one click away."""
    for kind, title in KINDS.items():
        of_kind = [artifact for artifact in artifacts if artifact.kind == kind]
        if not of_kind:
            continue
        st.subheader(f"{title[0].upper()}{title[1:]}" if kind != "dataset" else "Data")
        st.dataframe(
            artifact_table(of_kind, kind),
            hide_index=True,
            key=f"inventory-{kind}",
            height=height_of(len(of_kind)),
        )
        if kind in PAGE_OF:
            with st.container(horizontal=True, gap="medium"):
                for newest in newest_of_each(of_kind):
                    link_of(newest, f"Open {plain(shortened(newest.name, 50))}")


def link_of(artifact: Artifact, words: str) -> None:
    """A link to the page that shows an artifact; the words alone where none does."""
    page, param = BY_WHAT.get(str(artifact.metrics.get("what")), PAGE_OF.get(artifact.kind, ("", "")))
    if page:
        router.page_link(page, words, {param: artifact.id} if param else None, ":material/arrow_forward:")
    else:
        st.caption(words, width="content")


def newest_of_each(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The newest artifact of each sort (of comparisons: of models, of maps, a crosscoder); newest first."""
    found: dict[str, Artifact] = {}
    for one in artifacts:
        found.setdefault(str(one.metrics.get("what") or ""), one)
    return list(found.values())


MAX_JOBS = 6


def job_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """Jobs that wait, run or failed: kind, name, state, progress from 0 to 1, rate, when, and the error."""
    return [
        {
            "job": job.kind,
            "name": job.name,
            "state": job.state,
            "progress": job.share,
            "rate": job.rate,
            "when": ago(time.time() - max(job.changed, job.reported)),
            "error": job.error,
            "key": job.key,
        }
        for job in job_watch.current_jobs(workspace)
        if job.active or job.state == "failed"
    ]


def jobs(workspace: Workspace) -> None:
    """The jobs that run or wait, followed while there are any, and those that failed; the Jobs page has all."""
    first = job_rows(workspace)
    running = any(row["state"] != "failed" for row in first)

    def panel() -> None:
        rows = job_rows(workspace)
        st.dataframe(
            pd.DataFrame(rows[:MAX_JOBS], columns=list(first[0])),
            hide_index=True,
            key="jobs",
            column_order=["job", "name", "state", "progress", "rate", "when", "error"],
            height=height_of(len(rows[:MAX_JOBS])),
            column_config={
                "progress": st.column_config.ProgressColumn("progress", format="percent", min_value=0.0, max_value=1.0),
                "rate": st.column_config.NumberColumn("steps per second", format="%.3g"),
                "error": st.column_config.TextColumn("error", width="large"),
            },
        )
        if running and not any(row["state"] != "failed" for row in rows):
            st.rerun()

    if first:
        st.subheader("Jobs")
        job_watch.watched(panel, 2.0 if running else None)
        with st.container(horizontal=True, vertical_alignment="center"):
            if len(first) > MAX_JOBS:
                st.caption(f"{len(first) - MAX_JOBS} more", width="content")
            router.page_link("jobs", "All jobs: watch, cancel, resume", icon=":material/arrow_forward:")


FIGURES: Mapping[str, tuple[str, str, Callable[[float], bool]]] = {
    "topic_spearman": (
        "Topic effects against the model's own response",
        "rank correlation, wanted ≥ 0.9",
        lambda v: v >= 0.9,
    ),
    "topic_sign_agreement": ("Signs of the weighted topics", "share right, wanted 1", lambda v: v >= 1),
    "topic_recall_at_50": (
        "Weighted topics among the 50 strongest features",
        "recall, wanted ≥ 0.9",
        lambda v: v >= 0.9,
    ),
    "organism_max_error": (
        "Effects against weights set by hand",
        "largest relative error, wanted ≤ 0.0001",
        lambda v: v <= 1e-4,
    ),
    "misalignment_rank": (
        "The planted misalignment",
        "rank among the most negative topics, wanted ≤ 3",
        lambda v: v <= 3,
    ),
}


def calibration(workspace: Workspace) -> None:
    """How much of the planted truth the tool found, if `rmviz calibrate` has left its result."""
    try:
        found = json.loads((workspace.root / "calibration.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    rows = []
    for name, (title, meaning, passes) in FIGURES.items():
        value = found.get(name) if isinstance(found, dict) else None
        if isinstance(value, (int, float)):
            mark = "reached" if passes(value) else "missed"
            rows.append(
                f'<tr><td>{title}</td><td class="num"><b>{number(value)}</b></td>'
                f'<td class="muted">{escaped(meaning)}</td><td>{mark}</td></tr>'
            )
    if rows:
        st.subheader("What the tool found of the planted truth")
        st.html(f'<div class="rm"><table class="rm-table">{"".join(rows)}</table></div>')


def counts(artifacts: Sequence[Artifact]) -> None:
    """How many of each kind there are, and the newest's name."""
    items = []
    for kind, title in KINDS.items():
        of_kind = [artifact for artifact in artifacts if artifact.kind == kind]
        if of_kind:
            items.append((escaped(title), f"{len(of_kind)}", escaped(shortened(of_kind[0].name, 30))))
    st.html(style.figures(items))


def read_only_mark(workspace: Workspace) -> None:
    """Say aloud when the workspace cannot be written: results can be read, not made."""
    if router.is_read_only():
        st.warning(
            f"The workspace {plain(str(workspace.root))} is read-only: everything can be looked at, "
            "nothing can be made or scored."
        )
