"""What compares figures of different units: rank correlation and standard scores."""

import numpy as np
import pandas as pd
from jaxtyping import Float


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Spearman's rank correlation; None for fewer than three values or where either side does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(pd.Series(a).rank(), pd.Series(b).rank())[0, 1])


def standardised(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Values less their mean, in units of their standard deviation; all 0 where they do not vary, NaN stays NaN."""
    known = values[np.isfinite(values)].astype(float)
    spread = float(known.std()) if len(known) else 0.0
    if spread <= 0:
        return np.where(np.isfinite(values), 0.0, np.nan)
    return np.where(np.isfinite(values), (values.astype(float) - known.mean()) / spread, np.nan)
