"""Parts of the data: by each of its columns, by topic, by length; and a model's accuracy in each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from rmviz.estimates import accuracy
from rmviz.types import JSON, Pair

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


def pair_columns(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Pairs as a table with a column for each of theirs, as `slicings` takes it."""
    own = ({"pair_id": p.pair_id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs)
    return pd.DataFrame([{**pair.extra, **texts} for pair, texts in zip(pairs, own, strict=True)])


def accuracy_by_slice(pairs: Sequence[Pair], margins: Float[np.ndarray, " pair"]) -> list[Mapping[str, JSON]]:
    """One model's accuracy in each part of the pairs: `column`, `value`, `accuracy`, `low`, `high` (95 %), `n`."""
    rows = []
    for cut in slicings(pair_columns(pairs)) if pairs else []:
        for value, inside in zip(cut.values, cut.members, strict=True):
            share = accuracy(margins[inside])
            if share.n:
                figures = {"accuracy": share.value, "low": share.low, "high": share.high, "n": share.n}
                rows.append({"column": cut.column, "value": value, **figures})
    return rows


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
