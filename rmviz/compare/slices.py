"""Several models in each part of the data. Pure functions of tables and margins."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from rmviz.compare.statistics import accuracy_difference, flipped
from rmviz.data.slices import Slicing
from rmviz.estimates import accuracy


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
