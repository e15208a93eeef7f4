"""Margins of many pairs: how much of them a few features explain, and which feature makes the wrong pairs wrong. Pure arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from rmviz.ablation.statistics import bootstrap_weights, ratio_estimate

NUM_FEATURES = (1, 2, 3, 5, 10, 20, 50, 100, 200)
"""Sizes of the sets of features that are switched off together."""

NONE = -1
"""In the place of a feature: no single one rights the pair."""


@dataclass(frozen=True)
class Margins:
    """Pairs with the effects of single features on their margins: effect on the chosen − effect on the rejected text."""

    pair_ids: Sequence[str]
    margin: Float[np.ndarray, " pair"]
    effects: csr_array
    """(pair, feature)."""


@dataclass(frozen=True)
class Decisive:
    """The features that decide most, chosen on a random half of the pairs, and the other half, to measure them on."""

    measured: Int[np.ndarray, " pair"]
    sets: list[list[int]]
    """The k most decisive features, for growing k; the last set has all that carry anything."""


def decisive(margins: Margins, seed: int = 0) -> Decisive:
    """Choose the most decisive features.

    A pair's margin is taken with the model's own sign, so that it is what the model decides by, and features are ranked by
    how much of it they carry. Ties (margin 0) decide nothing and do not count; with fewer than two other pairs there is no set.
    """
    decided = np.flatnonzero(margins.margin != 0)
    if len(decided) < 2:
        return Decisive(np.zeros(0, np.int64), [])
    decided = np.random.default_rng(seed).permutation(decided)
    ranked_on, measured = np.sort(decided[: len(decided) // 2]), np.sort(decided[len(decided) // 2 :])
    carried = np.asarray(np.sign(margins.margin[ranked_on]) @ margins.effects[ranked_on]).ravel()
    order = np.argsort(-carried, kind="stable")
    order = order[carried[order] > 0]
    sizes = [k for k in NUM_FEATURES if k < len(order)] + ([len(order)] if len(order) else [])
    return Decisive(measured, [order[:k].tolist() for k in sizes])


def explained(
    margins: Margins,
    chosen: Decisive,
    without: Float[np.ndarray, "pair set"],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of the margins the k most decisive features explain together.

    The share is Σ sign · (margin − margin without) / Σ |margin| over the measured pairs, on which nothing was chosen; it can
    pass 1, because features may speak for and against.

    Args:
        margins: All pairs.
        chosen: What `decisive` gave for them.
        without: Margin of each measured pair with all features of a set off at once.
        num_resamples: Bootstrap resamples of pairs.
        seed: Seed of the bootstrap.

    Returns:
        k, share, share_low, share_high, num_pairs (measured) and features (comma-separated), one row per set.
    """
    if not chosen.sets:
        return pd.DataFrame(columns=["k", "share", "share_low", "share_high", "num_pairs", "features"])
    margin = margins.margin[chosen.measured]
    lost = np.sign(margin)[:, None] * (margin[:, None] - without)
    weights = bootstrap_weights(len(margin), num_resamples, seed)
    found = ratio_estimate(csr_array(lost), np.abs(margin).astype(np.float32), weights)
    return pd.DataFrame(
        {
            "k": [len(features) for features in chosen.sets], "share": found.mean, "share_low": found.low,
            "share_high": found.high, "num_pairs": len(margin),
            "features": [",".join(map(str, features)) for features in chosen.sets],
        }
    )  # fmt: skip


def wrong_pairs(margins: Margins) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs that the model gets wrong (margin < 0), grouped by the feature whose removal would right them.

    A feature rights a pair when the margin without it, margin − effect, is above 0. Of several that do, the pair belongs to the
    one that leaves the largest margin. Ties are neither right nor wrong.

    Returns:
        Pairs: pair_id, margin, feature (−1: no single one rights it), effect, margin_without, num_righting; most wrong first.
        Groups: feature, num_pairs (that belong to it), num_righted (all that its removal rights), num_broken (right pairs
        that its removal would turn wrong), largest first.
    """
    effects = margins.effects.tocsr()
    pairs: list[dict[str, Any]] = []
    for pair in np.flatnonzero(margins.margin < 0).tolist():
        own = slice(effects.indptr[pair], effects.indptr[pair + 1])
        feature, effect = effects.indices[own], effects.data[own]
        without = margins.margin[pair] - effect
        best = int(without.argmax()) if len(without) and without.max() > 0 else NONE
        pairs.append(
            {
                "pair_id": margins.pair_ids[pair], "margin": float(margins.margin[pair]),
                "feature": int(feature[best]) if best >= 0 else NONE, "effect": float(effect[best]) if best >= 0 else np.nan,
                "margin_without": float(without[best]) if best >= 0 else np.nan, "num_righting": int((without > 0).sum()),
            }
        )  # fmt: skip
    columns = ["pair_id", "margin", "feature", "effect", "margin_without", "num_righting"]
    table = pd.DataFrame(pairs, columns=columns).sort_values(["margin", "pair_id"], ignore_index=True)
    row, feature, effect = effects.tocoo().row, effects.tocoo().col, effects.tocoo().data
    margin = margins.margin[row]
    righted = np.bincount(feature[(margin < 0) & (margin - effect > 0)], minlength=effects.shape[1])
    broken = np.bincount(feature[(margin > 0) & (margin - effect < 0)], minlength=effects.shape[1])
    groups = [
        {
            "feature": one, "num_pairs": number, "num_righted": int(righted[one]) if one >= 0 else 0,
            "num_broken": int(broken[one]) if one >= 0 else 0,
        }
        for one, number in zip(*(part.tolist() for part in np.unique(table["feature"].to_numpy(int), return_counts=True)), strict=True)
    ]  # fmt: skip
    groups.sort(key=lambda group: (-group["num_pairs"], group["feature"]))
    return table, pd.DataFrame(groups, columns=["feature", "num_pairs", "num_righted", "num_broken"])
