"""β of a policy that was trained by implicit Q-learning: what its replies are at each, as the job has swept it."""

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.beta import beta_curve
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui import export, pickers
from rmviz.ui.words import counted, number, plain

SWEEP, SWEPT = "sweep.parquet", "sweep_samples.parquet"
"""Figures by β, and the replies behind them: what the job attaches."""

_REWARDS = {"reward": "Reward", "gold": "Gold"}
_BETA = "ilql-beta"
_NOTE = (
    "Sampling adds **β · (Q − V)** to what the language model expects of each next token. At **β = 0** it is behaviour cloning of "
    "accepted and rejected replies alike: the language model has learnt to write both, and nothing of what was paid shows. All "
    "that it prefers comes from β, which can be changed after training; too large a β leaves what was ever written."
)


def beta_view(artifact: Artifact) -> None:
    """The slider, what the chosen β does in a sentence, the curves, and the replies at it."""
    sweep, replies = _tables(artifact, artifact.id)
    beta = _slider(artifact, [float(one) for one in sweep["beta"]])
    _sentence(artifact, sweep, replies, beta)
    st.info(_NOTE, icon=":material/info:")
    _curves(artifact, sweep, replies, beta)
    _replies(artifact, replies, beta)


@st.cache_data(max_entries=8, show_spinner=False)
def _tables(_artifact: Artifact, artifact_id: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    sweep = load_table(_artifact.path(SWEEP)).sort_values("beta", ignore_index=True)
    return sweep, load_table(_artifact.path(SWEPT))


def _slider(artifact: Artifact, betas: list[float]) -> float:
    """The β chosen; it stands in the URL as `beta`, and begins as the policy was kept."""
    kept = float(artifact.config.get("beta", betas[-1]))
    wanted, key = pickers.arrived("beta"), f"{_BETA}-{artifact.id}"
    if wanted is not None:
        found = next((beta for beta in betas if f"{beta:g}" == wanted), None)
        if found is None:
            st.warning(
                f"β = “{plain(wanted[:40])}” was not swept; there are {', '.join(f'{beta:g}' for beta in betas)}. "
                f"{min(betas, key=lambda beta: abs(beta - kept)):g} is shown."
            )
        else:
            st.session_state[key] = found
    if st.session_state.get(key) not in betas:
        st.session_state[key] = min(betas, key=lambda beta: abs(beta - kept))
    chosen = st.select_slider(
        "β", betas, key=key, format_func=lambda beta: f"{beta:g}", persist_state="session",
        help=f"How much sampling follows Q − V. This policy was kept with β = {kept:g}.",
    )  # fmt: skip
    assert isinstance(chosen, float)
    pickers.keep_in_url("beta", f"{chosen:g}")
    return chosen


def _sentence(artifact: Artifact, sweep: pd.DataFrame, replies: pd.DataFrame, beta: float) -> None:
    now, first = (sweep.loc[sweep["beta"] == one].iloc[0] for one in (beta, sweep["beta"].min()))
    n = int((replies["beta"] == beta).sum())
    paid = [
        f"a mean {title.lower()} of **{number(float(now[name]))}** (β = {first['beta']:g}: {number(float(first[name]))})"
        for name, title in _REWARDS.items()
        if name in sweep
    ]
    st.markdown(
        f"At **β = {beta:g}** the replies have {' and '.join([*paid, ''])}**{number(float(now['length']))}** tokens, and lie "
        f"**{number(float(now['kl_reply']))}** nats each from the policy it began with. n = {counted(n, 'watched prompt')}, "
        f"seed {int(artifact.config.get('seed', 0))}."
    )


def _curves(artifact: Artifact, sweep: pd.DataFrame, replies: pd.DataFrame, beta: float) -> None:
    betas = [float(one) for one in sweep["beta"]]
    there = {title: name for name, title in _REWARDS.items() if name in sweep}
    spread = replies.groupby("beta")
    halves = {
        title: (1.96 * spread[name].std(ddof=1) / np.sqrt(spread.size())).fillna(0.0).tolist()
        for title, name in there.items()
    }
    shown = (
        [(" and ".join(there), "reward units", {title: sweep[name].tolist() for title, name in there.items()})]
        if there
        else []
    )
    shown += [
        ("KL from the start", "nats per reply", {"KL": sweep["kl_reply"].tolist()}),
        ("Length", "tokens", {"length": sweep["length"].tolist()}),
    ]
    for box, (title, unit, lines) in zip(st.columns(len(shown), gap="medium"), shown, strict=True):
        with box:
            figure = beta_curve(betas, lines, beta, title=title, unit=unit, errors=halves)
            st.plotly_chart(figure, key=f"ilql-{title}", theme=None)
    n = int(spread.size().min())
    st.caption(
        f"The same watched prompts answered at every β, with the same seed; dotted: the β chosen. Whiskers: 95 % intervals over "
        f"prompts. n = {n:,} replies at each β, {artifact.id}."
    )
    export.table_buttons(sweep, f"{artifact.name}-sweep", "ilql-sweep")


def _replies(artifact: Artifact, replies: pd.DataFrame, beta: float) -> None:
    st.subheader(f"Replies at β = {beta:g}")
    lowest = float(replies["beta"].min())
    now, first = (replies[replies["beta"] == one].reset_index(drop=True) for one in (beta, lowest))
    before = {} if beta == lowest else {"before": first["reply"]}
    paid = [name for name in _REWARDS if name in now]
    table = pd.DataFrame(
        {"prompt": now["prompt"], "reply": now["reply"], **before, **{name: now[name] for name in paid}}
    )
    table = table.assign(length=now["length"], kl=now["kl"])
    column = st.column_config
    config = {
        "prompt": column.TextColumn("Prompt", width="medium"),
        "reply": column.TextColumn(f"Reply at β = {beta:g}", width="large"),
        "before": column.TextColumn(f"Reply at β = {lowest:g}", width="large"),
        "length": column.NumberColumn("Tokens", format="%d"),
        "kl": column.NumberColumn("KL", format="%.2f", help="Nats from the policy it began with, along this reply."),
        **{name: column.NumberColumn(_REWARDS[name], format="%.3f") for name in paid},
    }
    st.dataframe(table, column_config=config, hide_index=True, key="ilql-replies")
    export.table_buttons(table, f"{artifact.name}-beta-{beta:g}", "ilql-replies")
