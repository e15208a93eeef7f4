"""Whose a feature is, by the lengths of its two decoders: pure arrays."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

KIND = "crosscoder"
"""What the figure `what` says of a crosscoder, beside other comparisons."""

SHARED, ONLY_FIRST, ONLY_SECOND = "shared", "only first", "only second"
Class = Literal["shared", "only first", "only second"]

LEAST = 1 / 6
"""Least distance from ½ of an exclusive feature's relative norm: one decoder at least twice as long as the other."""

_TIMES_NOISE = 2.0  # the largest of some hundred features of one run is often passed by another run's, twice it is not


def relative_norm(norms: Float[np.ndarray, "d_sae 2"]) -> Float[np.ndarray, " d_sae"]:
    """Relative norm r = |d_A| / (|d_A| + |d_B|): ½ where both models write a feature alike, 1 where only A does.

    Source: Lindsey et al. 2024, Sparse Crosscoders, section "model diffing".
    """
    total = norms.sum(axis=1)
    return np.divide(norms[:, 0], total, out=np.full(len(norms), 0.5), where=total > 0)


def noise_level(relative: Float[np.ndarray, " d_sae"], alive: Bool[np.ndarray, " d_sae"]) -> float:
    """The largest |r − ½| of a living feature of a crosscoder whose two sides are the same model; 0 where none lives.

    There r differs from ½ by nothing but the random start, the order of batches and the end of training before all is
    settled. That is the noise of r in a crosscoder of this size on these data, with nothing assumed of its shape.
    """
    return float(np.abs(relative[alive] - 0.5).max(initial=0.0))


def bound(noise: float) -> float:
    """How far from ½ a relative norm must be to count as exclusive: twice the noise, and at least `LEAST`."""
    return max(_TIMES_NOISE * noise, LEAST)


def classes(relative: Float[np.ndarray, " d_sae"], noise: float) -> list[Class]:
    """Whose each feature is."""
    limit = bound(noise)
    return [ONLY_FIRST if r > 0.5 + limit else ONLY_SECOND if r < 0.5 - limit else SHARED for r in relative.tolist()]


def ranked(table: pd.DataFrame, which: str) -> pd.DataFrame:
    """The features of a class, largest |effect| first: in the model that has them, for shared ones in either."""
    own = table[table["class"] == which]
    sizes = own[["effect_first", "effect_second"]].abs().fillna(0.0)
    size = (
        sizes["effect_first"] if which == ONLY_FIRST
        else sizes["effect_second"] if which == ONLY_SECOND
        else sizes.max(axis=1)
    )  # fmt: skip
    return own.iloc[np.argsort(-size.to_numpy(), kind="stable")].reset_index(drop=True)
