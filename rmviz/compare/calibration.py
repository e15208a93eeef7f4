"""Does a margin mean what Bradley and Terry say it means? Pure functions of margins.

By Bradley–Terry people choose the reply with the higher reward with probability σ(|margin|). Pairs are put in bins of
that probability, and each bin's mean is held against the share of its pairs that people really ranked so.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from rmviz.estimates import right, wilson

_FEWEST = 10  # pairs in a bin; fewer pairs make fewer bins
_DRAWS = 400
_STEEPEST = 50.0  # in units of 1 / spread of the margins; a steeper slope counts as infinite


def calibration_bins(margins: Float[np.ndarray, " pair"], num_bins: int) -> pd.DataFrame:
    """Predicted against observed, one row per bin of equally many pairs, from unsure to sure; empty without margins.

    Returns:
        `predicted` (mean σ(|margin|), ½ to 1), `observed` (share of pairs that people ranked as the model does, a tie
        counting half), `low`, `high` (95 % score interval of it), `n`.
    """
    margins = margins[np.isfinite(margins)]
    rows = []
    for part in _parts(np.abs(margins), num_bins):
        share = float(right(margins[part]).mean())
        low, high = wilson(share, len(part))
        predicted = float(sigmoid(np.abs(margins[part])).mean())
        rows.append({"predicted": predicted, "observed": share, "low": low, "high": high, "n": len(part)})
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n"])


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error: mean |observed − predicted| over pairs, 0 to 1; NaN without bins.

    Source: Naeini et al. 2015.
    """
    if not len(bins):
        return float("nan")
    return float(np.average(np.abs(bins["observed"] - bins["predicted"]), weights=bins["n"]))


def calibration_noise(margins: Float[np.ndarray, " pair"], num_bins: int, seed: int = 0) -> float:
    """The error that a calibrated model with such margins stays below in 95 % of samples of this size."""
    sizes = np.abs(margins[np.isfinite(margins)])
    parts = _parts(sizes, num_bins)
    if not parts:
        return float("nan")
    probability = sigmoid(sizes)
    drawn = np.random.default_rng(seed).random((_DRAWS, len(sizes))) < probability
    gaps = [np.abs(drawn[:, part].mean(axis=1) - probability[part].mean()) * len(part) for part in parts]
    return float(np.quantile(np.sum(gaps, axis=0) / len(sizes), 0.95))


def calibration_slope(margins: Float[np.ndarray, " pair"]) -> float:
    """The factor on all margins that makes them most likely: 1 calibrated, below 1 too sure, above 1 not sure enough.

    NaN where no factor is best: without margins, or when all pairs, or none, are ranked as people did.
    """
    known = margins[np.isfinite(margins)]
    spread = float(np.sqrt((known**2).mean())) if len(known) else 0.0
    if spread == 0:
        return float("nan")
    scaled = known / spread

    def gradient(slope: float) -> float:
        return float((scaled * sigmoid(-slope * scaled)).sum())

    low, high = -_STEEPEST, _STEEPEST
    if gradient(low) <= 0 or gradient(high) >= 0:
        return float("nan")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient(middle) > 0 else (low, middle)
    return (low + high) / 2 / spread


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x), without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))


def _parts(sizes: np.ndarray, num_bins: int) -> list[np.ndarray]:
    """Indices of the pairs of each bin."""
    if not len(sizes):
        return []
    order = np.argsort(sizes, kind="stable")
    return np.array_split(order, min(num_bins, max(1, len(sizes) // _FEWEST)))
