"""What two reward models make of the same poems, cell by cell: pure functions of tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ranks import standardised


def difference_cells(poems: pd.DataFrame, axes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per cell: how it looks to both reward models, and what changed.

    Rewards of each model are standardised over all poems that both could score. `model_changed`: mean over the cell's
    poems of (second − first), the same poems. `search_changed`: elite of the second map − elite of the first, both
    valued by the mean of the two models. `own_changed`: elite of the second map as the second model sees it − elite of
    the first as the first sees it; it is `search_changed` plus the mean over both elites of (second − first). Without a
    second map the last two are NaN. All three change sign when the two sides are swapped.

    Args:
        poems: cell, reward_a, reward_b, elite_a, elite_b.
        axes: Axes as in `map.json`.
    """
    known = poems[np.isfinite(poems["reward_a"]) & np.isfinite(poems["reward_b"])]
    a, b = (standardised(known[f"reward_{side}"].to_numpy()) for side in "ab")
    known = known.assign(a=a, b=b)
    rows = []
    for cell, (row, column) in enumerate(_labels(axes)):
        some = known[known["cell"] == cell]
        first, second = some[some["elite_a"]], some[some["elite_b"]]
        both = len(first) and len(second)
        rows.append(
            {
                "cell": cell, "row": row, "column": column, "num_poems": len(some),
                "a": _mean(some["a"]), "b": _mean(some["b"]), "model_changed": _mean(some["b"] - some["a"]),
                "best_a": some["a"].max() if len(some) else np.nan, "best_b": some["b"].max() if len(some) else np.nan,
                "search_changed": (_mean(second["a"] + second["b"]) - _mean(first["a"] + first["b"])) / 2
                if both else np.nan,
                "own_changed": _mean(second["b"]) - _mean(first["a"]) if both else np.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def ablated_cells(poems: pd.DataFrame, axes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per cell: its best reward and mean reward with the features and without, and their mean effect.

    Args:
        poems: cell, reward, ablated, effect (reward with the features − without; 0 where none fires).
        axes: Axes as in `map.json`.
    """
    rows = []
    for cell, (row, column) in enumerate(_labels(axes)):
        some = poems[poems["cell"] == cell]
        rows.append(
            {
                "cell": cell, "row": row, "column": column, "num_poems": len(some),
                "num_fired": int((some["effect"] != 0).sum()),
                "best": some["reward"].max() if len(some) else np.nan,
                "best_ablated": some["ablated"].max() if len(some) else np.nan,
                "mean": _mean(some["reward"]), "mean_ablated": _mean(some["ablated"]), "effect": _mean(some["effect"]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _labels(axes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    rows, columns = axes[0]["labels"], axes[1]["labels"] if len(axes) > 1 else [""]
    return [(row, column) for row in rows for column in columns]


def _mean(values: "pd.Series[float]") -> float:
    return float(values.mean()) if len(values) else float("nan")
