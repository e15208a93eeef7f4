"""One line of statistics per alive feature, from the rows of a scan; memory does not grow with their number."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from rmviz.ablation.statistics import Estimate, bootstrap_weights, effective_n, q_values, ratio_estimate

ROWS_AT_ONCE = 200_000
"""Rows of a group of features held at once: some 50 MB with all that is made of them."""

GROUP = 256
"""Most features summarised at once: resamples × features stay small."""


def summary(shards: Sequence[Path], texts: pd.DataFrame, *, num_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean effect, effect where firing, and effect on the margin of pairs, each with interval and q, per alive feature.

    Args:
        shards: Parquet files of rows (text_id, feature, max_activation, effect, first_order).
        texts: text_id, pair_id, side and reward of every scanned text; texts with a NaN reward do not count.
        num_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        One row per feature that fires, ascending; margin columns are NaN where the data has no pairs.
    """
    scored = texts[np.isfinite(texts["reward"])].reset_index(drop=True)
    if scored.empty:
        return pd.DataFrame(columns=_COLUMNS)
    units = _Units(scored)
    weights = bootstrap_weights(len(units.sizes), num_resamples, seed)
    parts = [units.estimates(rows, weights) for rows in _by_feature(shards)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_COLUMNS, *_P])
    for name in ("mean_effect", "firing_effect", "margin_effect"):
        table[f"{name}_q"] = q_values(table.pop(f"{name}_p").to_numpy(float))
    return table[_COLUMNS]


_PARTS = ("mean_effect", "firing_effect", "margin_effect")
_P = [f"{name}_p" for name in _PARTS]
_COLUMNS = [
    "feature",
    "num_texts",
    "text_share",
    *(f"{name}{suffix}" for name in _PARTS for suffix in ("", "_low", "_high", "_q")),
    "num_pairs",
    "effective_n",
    "mean_first_order",
    "max_activation",
]


class _Units:
    """Texts by the unit that a resample draws: a pair, or a text that has none."""

    def __init__(self, texts: pd.DataFrame) -> None:
        keys = np.where(texts["pair_id"] != "", texts["pair_id"], texts["text_id"])
        self.of_text, names = pd.factorize(keys)
        self.text_index = pd.Index(texts["text_id"])
        self.num_texts = len(texts)
        self.sizes = np.bincount(self.of_text, minlength=len(names)).astype(np.float32)
        side = texts["side"].map({"chosen": 1.0, "rejected": -1.0}).fillna(0.0).to_numpy()
        chosen = np.bincount(self.of_text, side > 0, minlength=len(names))
        rejected = np.bincount(self.of_text, side < 0, minlength=len(names))
        self.paired = (chosen == 1) & (rejected == 1)
        self.sign = np.where(self.paired[self.of_text], side, 0.0)

    def estimates(self, rows: pd.DataFrame, weights: np.ndarray) -> pd.DataFrame:
        text = self.text_index.get_indexer(pd.Index(rows["text_id"]))
        rows, text = rows[text >= 0], text[text >= 0]
        features, column = np.unique(rows["feature"].to_numpy(), return_inverse=True)
        shape = (len(self.sizes), len(features))
        unit, effect = self.of_text[text], rows["effect"].to_numpy(float)

        def table(values: np.ndarray) -> csr_array:
            return csr_array((values, (unit, column)), shape=shape)

        sums, counts = table(effect), table(np.ones(len(rows)))
        firing = np.bincount(column, minlength=len(features))
        signed = table(effect * self.sign[text])[np.flatnonzero(self.paired)]
        found = {
            "mean_effect": ratio_estimate(sums, self.sizes, weights),
            "firing_effect": ratio_estimate(sums, counts, weights),
            "margin_effect": self._margins(signed, weights),
        }
        strongest = np.zeros(len(features), np.float32)
        np.maximum.at(strongest, column, rows["max_activation"].to_numpy(np.float32))
        first_order = np.bincount(column, rows["first_order"].to_numpy(float), minlength=len(features))
        return pd.DataFrame(
            {
                "feature": features,
                "num_texts": firing,
                "text_share": firing / self.num_texts,
                **{f"{name}{end}": value for name, one in found.items() for end, value in _ends(one)},
                "num_pairs": int(self.paired.sum()),
                "effective_n": effective_n(sums),
                "mean_first_order": first_order / self.num_texts,
                "max_activation": strongest,
            }
        )

    def _margins(self, signed: csr_array, weights: np.ndarray) -> Estimate:
        """Mean over all pairs of effect on the chosen − effect on the rejected text."""
        drawn = weights if self.paired.all() else weights[:, self.paired]  # a copy as large as the weights
        return ratio_estimate(signed, np.ones(int(self.paired.sum()), np.float32), drawn)


def _ends(estimate: Estimate) -> Iterator[tuple[str, np.ndarray]]:
    yield from (("", estimate.mean), ("_low", estimate.low), ("_high", estimate.high), ("_p", estimate.p))


def _by_feature(shards: Sequence[Path]) -> Iterator[pd.DataFrame]:
    """All rows of a few features at a time, ascending by feature."""
    counts: dict[int, int] = {}
    for shard in shards:
        found, number = np.unique(pq.read_table(shard, columns=["feature"])["feature"].to_numpy(), return_counts=True)
        for feature, rows in zip(found.tolist(), number.tolist(), strict=True):
            counts[feature] = counts.get(feature, 0) + rows
    source = ds.dataset([str(shard) for shard in shards], format="parquet") if counts else None
    for first, last in _groups(sorted(counts.items())):
        assert source is not None
        inside = (ds.field("feature") >= first) & (ds.field("feature") <= last)
        yield source.to_table(
            columns=["text_id", "feature", "max_activation", "effect", "first_order"],
            filter=inside,
            batch_readahead=1,
            fragment_readahead=1,
        ).to_pandas()


def _groups(counts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and last feature of each group that is read at once."""
    start, total = 0, 0
    for i, (_, rows) in enumerate(counts):
        if i > start and (total + rows > ROWS_AT_ONCE or i - start >= GROUP):
            yield counts[start][0], counts[i - 1][0]
            start, total = i, 0
        total += rows
    if counts:
        yield counts[start][0], counts[-1][0]
