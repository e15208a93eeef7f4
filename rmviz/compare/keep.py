"""What a comparison of models keeps on disk, and its key figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from rmviz.compare.slices import slice_table
from rmviz.compare.tables import Rewards, calibration_table, margins_of, model_table, reward_table
from rmviz.data.slices import slicings
from rmviz.store.artifact import write_json
from rmviz.store.tables import save_table

KIND = "models"
"""What `kind` in comparison.json, and the figure `what`, say of a comparison of models, beside those of maps."""


def save_comparison(
    folder: Path,
    info: dict[str, Any],
    pairs: pd.DataFrame,
    rewards: Rewards,
    num_cut: Int[np.ndarray, "model pair side"],
) -> dict[str, Any]:
    """Write pairs, rewards and all tables that follow from them; the key figures of the last model against the first.

    Args:
        folder: Of the artifact that is being made.
        info: `models` (as in `model_table`), `num_bins`, `seed`, and whatever else comparison.json is to hold.
        pairs: What `pair_table` gives.
        rewards: Of each model and text.
        num_cut: Tokens of each text that did not fit into each model.
    """
    seed, num_bins = info["seed"], info["num_bins"]
    table = model_table(info["models"], pairs, rewards, num_bins, seed=seed)
    save_table(pairs, folder / "pairs.parquet")
    save_table(reward_table(pairs, rewards, num_cut), folder / "rewards.parquet")
    save_table(table, folder / "models.parquet")
    save_table(slice_table(slicings(pairs), margins_of(rewards), seed=seed), folder / "slices.parquet")
    save_table(calibration_table(margins_of(rewards), num_bins), folder / "calibration.parquet")
    write_json(folder / "comparison.json", {"kind": KIND, **info})
    return _figures(table, len(pairs))


def _figures(table: pd.DataFrame, num_pairs: int) -> dict[str, Any]:
    first, last = table.iloc[0], table.iloc[-1]
    figures = {"accuracy_first": first["accuracy"], "accuracy_last": last["accuracy"],
               "difference": last["difference"], "low": last["difference_low"], "high": last["difference_high"]}  # fmt: skip
    return {
        "what": KIND, "num_models": len(table), "num_pairs": num_pairs,
        "num_flips": int(last["num_gained"] + last["num_lost"]), "num_missing": int(table["num_missing"].sum()),
        **{name: float(value) if np.isfinite(value) else None for name, value in figures.items()},
    }  # fmt: skip
