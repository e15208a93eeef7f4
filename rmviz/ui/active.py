"""The features that fire on the Playground's texts as one table, and the groups that can be told from it: no widgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rmviz.backend.wire import FeaturesAnswer

RANKS = {"effect": "Effect", "activation": "Activation"}
"""What the table is ranked by."""


@dataclass(frozen=True)
class Comparison:
    """How two texts are set against each other: what is taken from what, and what the columns are called."""

    title: str
    column: str
    sides: tuple[str, str]
    activations: tuple[str, str]
    plus: int
    minus: int


PAIR = Comparison("Margin A − B", "on margin", ("effect A", "effect B"), ("act A", "act B"), 0, 1)
EDIT = Comparison("Change, after − before", "moved", ("before", "after"), ("act before", "act after"), 1, 0)


def active_features(
    answers: Sequence[FeaturesAnswer], words: dict[int, str], comparison: Comparison | None = None, rank: str = "effect"
) -> pd.DataFrame:
    """One row per feature that fires in any of the texts, the largest effect by size first.

    Args:
        answers: Of one text, or of two that are compared.
        words: What each feature fires on.
        comparison: How two texts are compared: the table is ranked by the difference. An effect or an activation where a
            feature is silent is 0.
        rank: `effect`, or `activation`: the largest one, or where two texts are compared how far it moved.
    """
    sides = comparison.sides if comparison else ("effect",)
    acts = comparison.activations if comparison else ("max_activation",)
    found: dict[int, dict[str, Any]] = {}
    for side, act, answer in zip(sides, acts, answers, strict=True):
        for row in answer.rows:
            line = found.setdefault(
                row.feature,
                {
                    "feature": row.feature,
                    "top_tokens": words.get(row.feature, ""),
                    **dict.fromkeys((*sides, *acts), 0.0),
                },
            )
            line[side] = row.effect
            line[act] = row.max_activation or 0.0
            line["tokens"] = line.get("tokens", 0) + len(row.positions)
    table = pd.DataFrame(list(found.values()), columns=["feature", "top_tokens", *sides, *acts, "tokens"])
    main, by = sides[0], table[acts[0]].astype(float)
    if comparison:
        main = comparison.column
        table.insert(2, main, _taken(table, comparison.sides, comparison))
        by = _taken(table, comparison.activations, comparison)
    by = table[main].astype(float) if rank == "effect" else by
    return table.iloc[(-by.abs()).argsort(kind="stable")].reset_index(drop=True)


def moved_only(table: pd.DataFrame, comparison: Comparison, tolerance: float = 1e-7) -> pd.DataFrame:
    """The rows whose effect or activation differs between the two texts."""
    apart = [
        _taken(table, columns, comparison).abs() > tolerance for columns in (comparison.sides, comparison.activations)
    ]
    return table[apart[0] | apart[1]].reset_index(drop=True)


def searched(table: pd.DataFrame, query: str) -> pd.DataFrame:
    """The rows whose id is a word of the query, or whose tokens hold all its words."""
    words = query.casefold().split()
    ids = table["feature"].astype(str).isin(words)
    holds = pd.Series(True, index=table.index)
    for word in words:
        holds &= table["top_tokens"].str.casefold().str.contains(word, regex=False)
    return table[ids | holds].reset_index(drop=True)


def raising(table: pd.DataFrame, column: str, sign: int) -> list[int]:
    """The features that raise the reward or the margin (sign 1), or lower it (−1)."""
    values = table[column].astype(float) * sign
    return [int(feature) for feature in table.loc[values > 0, "feature"]]


def firing_at(answer: FeaturesAnswer, position: int) -> list[int]:
    """The features that fire on one token."""
    return [row.feature for row in answer.rows if position in row.positions]


def _taken(table: pd.DataFrame, columns: tuple[str, str], comparison: Comparison) -> "pd.Series[float]":
    return table[columns[comparison.plus]].astype(float) - table[columns[comparison.minus]].astype(float)
