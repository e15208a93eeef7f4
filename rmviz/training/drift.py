"""Which SAE features of a reward model fire on a policy's replies, and how that changes: the watch for over-optimisation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from rmviz.activations.rows import rows_of
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact, model_of
from rmviz.store.workspace import Workspace
from rmviz.types import Text


class FeatureReader:
    """Reads replies with the reward model that an SAE belongs to."""

    def __init__(self, workspace: Workspace, sae: str) -> None:
        """Load the SAE and its model."""
        artifact = workspace.resolve(sae, "sae")
        self._sae, self._rm = load_sae_artifact(artifact), from_artifact(model_of(workspace, artifact))

    def firings(self, prompts: Sequence[str], replies: Sequence[str]) -> pd.DataFrame:
        """Columns `text` (its place), `feature` and `activation`: the strongest of each feature in each text where it fires."""
        texts = [
            Text(text_id=str(place), prompt=prompt, reply=reply)
            for place, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
        ]
        parts = []
        for rows in rows_of(self._rm, self._rm.encode(texts), self._sae.hookpoint):
            acts = self._sae.encode(rows.h)
            places = rows.text.unsqueeze(1).expand(acts.indices.shape)
            on = acts.values > 0
            columns = {"text": places, "feature": acts.indices, "activation": acts.values}
            parts.append(pd.DataFrame({name: values[on].cpu().numpy() for name, values in columns.items()}))
        table = pd.concat(parts, ignore_index=True)
        return table.groupby(["text", "feature"], as_index=False)["activation"].max()


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
