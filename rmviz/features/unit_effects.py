"""What one unit of a feature's activation is worth: the exact effects of a scan, per unit of activation."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.errors import ArtifactError
from rmviz.store.artifact import Artifact

_COLUMNS = ("feature", "max_activation", "effect")


def unit_effects(effects: Artifact) -> pd.DataFrame:
    """Reward per unit of each feature's strongest activation: Σ effect / Σ strongest activation over texts where it fires.

    Returns:
        `feature`, `unit_effect` (reward units per unit of activation), `firing_effect` (mean effect where it fires), `num_texts`.

    Raises:
        ArtifactError: A shard of the effects cannot be read.
    """
    total = pd.DataFrame()
    for path in (effects.path(name) for name in sorted(effects.files) if name.startswith("rows/")):
        try:
            rows = pq.read_table(path, columns=list(_COLUMNS)).to_pandas()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise ArtifactError(
                f"{path} cannot be read as rows of effects ({error}); make the effects again"
            ) from error
        part = rows.groupby("feature").agg(
            effect=("effect", "sum"), activation=("max_activation", "sum"), num_texts=("effect", "size")
        )
        total = part if total.empty else total.add(part, fill_value=0)
    if total.empty:
        return pd.DataFrame({"feature": [], "unit_effect": [], "firing_effect": [], "num_texts": []}).astype(
            {"feature": int}
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(
            {
                "feature": total.index.to_numpy(int),
                "unit_effect": (total["effect"] / total["activation"]).to_numpy(float),
                "firing_effect": (total["effect"] / total["num_texts"]).to_numpy(float),
                "num_texts": total["num_texts"].to_numpy(int),
            }
        )


def drift_worth(drift: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """What each drifting feature stands for in the reward, to first order: unit effect × change of its activation.

    The interval is that of the change; the unit effect counts as known. What features do together, the SAE's error, and a
    feature that fires more widely in a text are left out, so the parts need not sum to the whole.

    Args:
        drift: What `rmviz.training.looks.drift_table` gives.
        units: What `unit_effects` gives.

    Returns:
        `drift` with `unit_effect`, `firing_effect`, `worth`, `worth_low` and `worth_high` (reward units; NaN where the scan
        knows nothing of the feature), the largest |worth| first.
    """
    table = drift.merge(units[["feature", "unit_effect", "firing_effect"]], on="feature", how="left")
    ends = np.sort(np.stack([table["unit_effect"] * table[end] for end in ("low", "high")]), axis=0)
    table = table.assign(worth=table["unit_effect"] * table["change"], worth_low=ends[0], worth_high=ends[1])
    return table.iloc[np.argsort(-table["worth"].abs().fillna(-1).to_numpy(), kind="stable")].reset_index(drop=True)
