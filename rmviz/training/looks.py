"""What a watched run leaves to be read: figures, replies and firing features at each look, and how they changed. No torch."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

LOOKS, SAMPLES, FIRINGS = "looks.parquet", "samples.parquet", "firings.parquet"
PER_REPLY = ("reward", "gold", "kl", "length", "ended")
"""Columns of the replies; their `kl` is per reply (nats), which the figures call `kl_reply`."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A paired change over the same prompts, later look − earlier look, with Student's 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def is_watched(artifact: Artifact) -> bool:
    """Whether a policy comes from a run that was watched."""
    return artifact.kind == "policy" and {LOOKS, SAMPLES} <= artifact.files.keys()


def looks_of(artifact: Artifact) -> pd.DataFrame:
    """The figures by `step`, in order."""
    return load_table(artifact.path(LOOKS)).sort_values("step", ignore_index=True)


def samples_of(artifact: Artifact) -> pd.DataFrame:
    """The replies: `step`, `text` (the place of its prompt), `prompt`, `reply`, and of `PER_REPLY` what was measured."""
    table = load_table(artifact.path(SAMPLES)).sort_values("step", kind="stable", ignore_index=True)
    return table.assign(text=table.groupby("step").cumcount())


def change_of(samples: pd.DataFrame, column: str, first: int, last: int) -> Change:
    """How the mean of one column of `samples_of` changed between two looks; NaN ends where there is one prompt."""
    wide = samples[samples["step"].isin([first, last])].pivot(index="text", columns="step", values=column).astype(float)
    return paired_change((wide[last] - wide[first]).to_numpy())


def paired_change(differences: Float[np.ndarray, " text"]) -> Change:
    """Mean of paired differences, with Student's 95 % interval."""
    known = differences[np.isfinite(differences)]
    if len(known) < 2:
        value = float(known.mean()) if len(known) else float("nan")
        return Change(value=value, low=float("nan"), high=float("nan"), n=len(known))
    mean, half = (
        float(known.mean()),
        float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))),
    )
    return Change(value=mean, low=mean - half, high=mean + half, n=len(known))


def mean_bands(samples: pd.DataFrame, column: str) -> pd.DataFrame:
    """`step`, `mean`, `low`, `high` and `n` of one column over the prompts of each look (Student's 95 %)."""
    groups = samples.dropna(subset=[column]).groupby("step")[column]
    rows = []
    for step, values in groups:
        found = paired_change(values.to_numpy(float))
        rows.append({"step": step, "mean": found.value, "low": found.low, "high": found.high, "n": found.n})
    return pd.DataFrame(rows, columns=["step", "mean", "low", "high", "n"])


def drift_table(firings: pd.DataFrame, first: int, last: int, num_texts: int) -> pd.DataFrame:
    """How each feature's strongest activation per text changed between two looks at the same prompts.

    Args:
        firings: Columns `step`, `text`, `feature`, `activation`.
        first: Step of the earlier look.
        last: Step of the later look.
        num_texts: Texts at each look.

    Returns:
        By feature: `share_before`, `share_after` (texts in which it fires), `before`, `after` (mean activation, 0 where
        silent), `change`, its 95 % interval `low`, `high` and `p` (paired t over texts) and `q` (Benjamini–Hochberg); the
        smallest p first.
    """
    features = np.unique(firings.loc[firings["step"].isin([first, last]), "feature"].to_numpy(int))
    before, after = (_dense(firings[firings["step"] == step], features, num_texts) for step in (first, last))
    differences = after - before
    change, spread = differences.mean(0), differences.std(0, ddof=1) / np.sqrt(num_texts)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, change / spread, np.where(change == 0, 0.0, np.inf))
    p = 2 * stats.t.sf(np.abs(t), num_texts - 1)
    half = stats.t.ppf(0.975, num_texts - 1) * spread
    table = pd.DataFrame(
        {
            "feature": features, "share_before": (before > 0).mean(0), "share_after": (after > 0).mean(0),
            "before": before.mean(0), "after": after.mean(0), "change": change, "low": change - half, "high": change + half,
            "p": p, "q": stats.false_discovery_control(p) if len(p) else p,
        }
    )  # fmt: skip
    return table.sort_values(["p", "change"], ascending=[True, False], ignore_index=True)


def _dense(firings: pd.DataFrame, features: np.ndarray, num_texts: int) -> np.ndarray:
    matrix = np.zeros((num_texts, len(features)))
    matrix[firings["text"].to_numpy(int), np.searchsorted(features, firings["feature"].to_numpy(int))] = firings[
        "activation"
    ]
    return matrix
