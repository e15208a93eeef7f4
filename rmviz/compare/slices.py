"""Parts of the data: by each of its columns, by topic, by length. Pure functions of tables and margins."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from rmviz.compare.statistics import accuracy, accuracy_difference, flipped

MOST_VALUES = 40
"""Values of a column that become slices; a column of text with more is no slicing."""

OWN = ("pair_id", "prompt", "chosen", "rejected")
"""Columns of pairs that are texts or ids; the others are the data's own."""

_BINS = 4


@dataclass(frozen=True)
class Slicing:
    """One way to cut the pairs into parts; with several words in a value, a pair lies in several parts."""

    column: str
    values: tuple[str, ...]
    members: Bool[np.ndarray, "value pair"]


def slicings(pairs: pd.DataFrame) -> list[Slicing]:
    """All ways to cut these pairs: by length, by which reply is longer, and by every column that is no free text.

    Columns of numbers are cut at their quartiles where they have many values. Text with many values is cut by its words
    where these are few, as in a column of topics; else it gives none. Missing values lie in no slice.
    """
    chosen, rejected = (pairs[side].str.len().to_numpy(float) for side in ("chosen", "rejected"))
    longer = np.select([chosen > rejected, chosen < rejected], ["chosen", "rejected"], "neither")
    found = [
        _binned("length of the replies, characters", (chosen + rejected) / 2),
        _named("longer reply", longer),
        _binned("length of the prompt, characters", pairs["prompt"].str.len().to_numpy(float)),
    ]
    found += [_of_column(str(name), pairs[name]) for name in pairs if name not in OWN]
    return [slicing for slicing in found if slicing is not None and len(slicing.values) > 1]


def slice_table(
    cuts: Sequence[Slicing], margins: Float[np.ndarray, "model pair"], first: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Each model in each slice: accuracy with interval, and its difference to the first model on the same pairs.

    Args:
        cuts: What `slicings` gives.
        margins: NaN where a model gave no number.
        first: The model that the others are held against.
        seed: Seed of the resamples.

    Returns:
        `column`, `value`, `model`, `accuracy`, `low`, `high`, `n`, `difference`, `difference_low`, `difference_high`,
        `num_common`, `num_flips`; NaN where a slice has no pair that could be scored.
    """
    rows = []
    for cut in cuts:
        for value, inside in zip(cut.values, cut.members, strict=True):
            for model, own in enumerate(margins):
                share = accuracy(own[inside])
                moved = accuracy_difference(margins[first][inside], own[inside], seed)
                rows.append(
                    {
                        "column": cut.column, "value": value, "model": model,
                        "accuracy": share.value, "low": share.low, "high": share.high, "n": share.n,
                        "difference": moved.value, "difference_low": moved.low, "difference_high": moved.high,
                        "num_common": moved.n,
                        "num_flips": int(np.abs(flipped(margins[first][inside], own[inside])).sum()),
                    }
                )  # fmt: skip
    columns = ["column", "value", "model", "accuracy", "low", "high", "n", "difference", "difference_low",
               "difference_high", "num_common", "num_flips"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _of_column(name: str, values: "pd.Series") -> Slicing | None:
    known = values.dropna()
    if not len(known):
        return None
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and known.nunique() > _BINS:
        return _binned(name, values.to_numpy(float))
    texts = np.where(values.isna(), "", values.astype(str)).astype(str)
    if len(set(texts)) <= MOST_VALUES:
        return _named(name, texts)
    words = [set(text.replace(",", " ").replace(";", " ").split()) for text in texts]
    vocabulary = sorted(set().union(*words))
    if len(vocabulary) > MOST_VALUES:
        return None
    members = np.array([[word in some for some in words] for word in vocabulary])
    return Slicing(name, tuple(vocabulary), members)


def _named(name: str, values: np.ndarray) -> Slicing:
    """A slice per value, in order; an empty one is no slice."""
    kept = tuple(sorted({str(value) for value in values} - {""}))
    return Slicing(name, kept, np.array([values == value for value in kept]).reshape(len(kept), len(values)))


def _binned(name: str, values: np.ndarray) -> Slicing | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    inner = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS))
    inner = inner[inner > known.min()]
    places = np.searchsorted(inner, values, side="right")
    edges = [known.min(), *inner, known.max()]
    labels = [f"{low:g} to {'below ' if high != edges[-1] else ''}{high:g}" for low, high in pairwise(edges)]
    inside = np.isfinite(values)
    return Slicing(name, tuple(labels), np.array([(places == place) & inside for place in range(len(labels))]))
