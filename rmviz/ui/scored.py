"""A dataset with the rewards that a model gives it: from a scan that was made, or asked of the backend now."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.types import Text
from rmviz.ui import live
from rmviz.ui.words import counted

CHUNK = 64
"""Texts per request: small enough for a progress bar that moves."""

ORDERS = {"wrong": "Wrong first", "close": "Closest", "sure": "Surest", "data": "As in the data"}


def with_rewards(rows: pd.DataFrame, rewards: pd.DataFrame | None) -> pd.DataFrame:
    """The rows with `chosen_reward`, `rejected_reward` and `margin`; NaN where a text was not scored.

    Args:
        rows: What `dataset_frame` gives; a text without a pair stands in `chosen`.
        rewards: `text_id` and `reward`; None when nothing was scored.
    """
    known: dict[str, float] = {} if rewards is None else dict(zip(rewards["text_id"], rewards["reward"], strict=True))
    columns = zip(rows["pair_id"].tolist(), rows["rejected"].isna().tolist(), strict=True)
    ids = [(pair_id, "") if single else (f"{pair_id}/chosen", f"{pair_id}/rejected") for pair_id, single in columns]
    chosen = np.array([known.get(first, math.nan) for first, _ in ids], dtype=float)
    rejected = np.array([known.get(second, math.nan) for _, second in ids], dtype=float)
    return rows.assign(chosen_reward=chosen, rejected_reward=rejected, margin=chosen - rejected)


def ordered(rows: pd.DataFrame, order: str) -> pd.DataFrame:
    """The rows in one of `ORDERS`; texts without a pair go by their reward, what has no reward comes last."""
    if order == "data":
        return rows
    margins, rewards = (rows[name].to_numpy(float) for name in ("margin", "chosen_reward"))
    value = np.where(np.isfinite(margins), margins, rewards)
    keys = {"wrong": value, "close": np.abs(value), "sure": -value}[order]
    return rows.iloc[np.argsort(keys, kind="stable")]


def accuracy(margins: np.ndarray) -> tuple[float, float, float, int]:
    """Share of pairs with a positive margin, its 95 % interval (Wilson), and n; NaN is left out, a tie is wrong."""
    known = margins[np.isfinite(margins)]
    n = len(known)
    if not n:
        return math.nan, math.nan, math.nan, 0
    share, z = float((known > 0).mean()), 1.96
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return share, centre - half, centre + half, n


def texts_of(rows: pd.DataFrame) -> list[Text]:
    """The texts of the rows, both sides of a pair next to each other."""
    texts: list[Text] = []
    for pair_id, prompt, chosen, rejected in rows[["pair_id", "prompt", "chosen", "rejected"]].itertuples(index=False):
        if isinstance(rejected, str):
            texts.append(Text(text_id=f"{pair_id}/chosen", prompt=prompt, reply=chosen, pair_id=pair_id, side="chosen"))
            texts.append(
                Text(text_id=f"{pair_id}/rejected", prompt=prompt, reply=rejected, pair_id=pair_id, side="rejected")
            )
        else:
            texts.append(Text(text_id=pair_id, prompt=prompt or "", reply=chosen))
    return texts


def scored_now(dataset: Artifact, rows: pd.DataFrame, models: Sequence[Artifact]) -> tuple[pd.DataFrame | None, str]:
    """Rewards from the backend: a form to ask for them, then `text_id` and `reward`, and the model's id."""
    if not models:
        st.info(
            "Rewards appear here once there is a reward model: `rmviz model add`, or `rmviz train reward`.",
            icon=":material/lightbulb:",
        )
        return None, ""
    with st.form("score", border=True):
        st.markdown("**No scan has scored this dataset yet.** Score it now; nothing is written to the workspace.")
        left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
        names = {model.id: model.name for model in models}
        model_id = left.selectbox("Reward model", list(names), format_func=lambda i: names[i])
        most = middle.number_input(
            "Rows at most", min_value=1, max_value=max(len(rows), 1), value=min(len(rows), 200), step=100
        )
        asked = right.form_submit_button("Score", type="primary")
    done = st.session_state.setdefault("_scored", {})
    if asked and model_id is not None:
        done[dataset.id] = (model_id, int(most))
    if dataset.id not in done:
        return None, ""
    model_id, count = done[dataset.id]
    return _scores(dataset, model_id, texts_of(rows.head(count))), model_id


def _scores(dataset: Artifact, model_id: str, texts: list[Text]) -> pd.DataFrame:
    rewards: list[float | None] = []
    with st.empty():
        for chunk, begin in enumerate(range(0, len(texts), CHUNK)):
            st.progress(begin / len(texts), f"Scoring: {begin:,} of {counted(len(texts), 'text')}")
            part = texts[begin : begin + CHUNK]
            rewards += live.scores(model_id, f"{dataset.id}/{len(part)}", chunk, part).rewards
        st.caption("")
    return pd.DataFrame(
        {"text_id": [text.text_id for text in texts], "reward": [math.nan if r is None else r for r in rewards]}
    )
