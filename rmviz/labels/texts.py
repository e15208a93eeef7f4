"""Which texts a label is made from, and which it is scored on: halves of the scanned pairs that never mix."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from rmviz.features.choose import chosen_examples
from rmviz.features.texts import ScannedTexts
from rmviz.probes.figures import halves

MAKING, SCORING = 0, 1
"""The half that labels are made from, and the half that they are scored on."""

_BINS = 10


def half_of_texts(texts: ScannedTexts, seed: int) -> Int[np.ndarray, " text"]:
    """The half of each text, both texts of a pair in the same; −1 for those without a reward."""
    return np.where(texts.scored, halves(pd.Series(texts.pairs), seed), -1)


@dataclass(frozen=True)
class Sample:
    """Texts on which one feature is looked at: firing ones with activation and effect, and silent ones; one text a pair."""

    text: Int[np.ndarray, " text"]
    fires: Bool[np.ndarray, " text"]
    activation: np.ndarray
    effect: np.ndarray


def sampled(
    rows: dict[str, np.ndarray], texts: ScannedTexts, half: Int[np.ndarray, " text"], wanted: int, num: int, seed: int
) -> Sample:
    """As many firing as silent texts of a half, at most `num` of each.

    Firing texts come from all tenths of the feature's range of activation alike, its strongest one among them; a pair gives
    one text, and silent texts come from other pairs where there are enough.

    Args:
        rows: text, max_activation and effect of the texts in which the feature fires.
        texts: All texts.
        half: What `half_of_texts` gave.
        wanted: Which half.
        num: Texts of each kind at most.
        seed: Seed of the draw.
    """
    own = half[rows["text"]] == wanted
    text, activation, effect = (rows[name][own] for name in ("text", "max_activation", "effect"))
    silent = np.random.default_rng(seed).permutation(np.setdiff1d(np.flatnonzero(half == wanted), text))
    silent = silent[np.argsort(np.isin(texts.pairs[silent], texts.pairs[text]), kind="stable")]
    silent = silent[np.sort(np.unique(texts.pairs[silent], return_index=True)[1])]
    num = min(num, len(silent), len(np.unique(texts.pairs[text])))
    if not num:
        empty = np.zeros(0)
        return Sample(empty.astype(np.int64), empty.astype(bool), empty, empty)
    places, _ = chosen_examples(
        np.zeros(len(text), np.int64), text, texts.pairs[text], activation,
        num_bins=_BINS, per_bin=-(-num // _BINS), seed=seed,
    )  # fmt: skip
    places = places[np.argsort(-activation[places], kind="stable")]
    places = places[np.unique(np.linspace(0, len(places) - 1, min(num, len(places))).round().astype(int))]
    silent = silent[: len(places)]
    still = np.zeros(len(silent))
    return Sample(
        np.concatenate([text[places], silent]).astype(np.int64),
        np.arange(len(places) + len(silent)) < len(places),
        np.concatenate([activation[places], still]).astype(float),
        np.concatenate([effect[places], still]).astype(float),
    )
