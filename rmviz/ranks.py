"""Rank correlation."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Spearman's rank correlation; None for fewer than three values or where either side does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
