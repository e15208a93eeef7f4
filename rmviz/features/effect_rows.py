"""The (text, feature) rows of an effects artifact, read so that memory does not grow with their number."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from rmviz.errors import ArtifactError
from rmviz.features.choose import chosen_examples
from rmviz.features.texts import ScannedTexts
from rmviz.store.artifact import Artifact

NUM_EFFECT_BINS = 30
_ROWS_AT_ONCE = 4_000_000  # 100 MB of columns
_VALUES = ("first_position", "max_activation", "effect")


class EffectRows:
    """Rows by shard; texts and features are numbers, their places among the scanned texts and the alive features."""

    def __init__(self, effects: Artifact, texts: ScannedTexts, features: Int[np.ndarray, " feature"]) -> None:
        """Find the shards; `features` are the alive ones, sorted."""
        self.shards: list[Path] = [effects.path(name) for name in sorted(effects.files) if name.startswith("rows/")]
        self.texts, self.features = texts, features

    def read(self, columns: Sequence[str] = ()) -> Iterator[dict[str, np.ndarray]]:
        """Shard by shard: `text`, `feature` and the columns asked for.

        Raises:
            ArtifactError: A shard cannot be read.
        """
        for path in self.shards:
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=262_144, columns=["text_id", "feature", *columns]):
                        yield self._numbered(batch, columns)
            except (OSError, pa.ArrowException, KeyError) as error:
                raise ArtifactError(
                    f"{path} cannot be read as rows of effects ({error}); make the effects again"
                ) from error

    def _numbered(self, batch: pa.RecordBatch, columns: Sequence[str]) -> dict[str, np.ndarray]:
        ids = batch["text_id"]
        ids = ids.dictionary_decode() if isinstance(ids, pa.DictionaryArray) else ids
        options = pc.SetLookupOptions(value_set=self.texts.text_ids.cast(ids.type))
        text = pc.call_function("index_in", [ids], options).fill_null(-1).to_numpy(zero_copy_only=False)
        named = batch["feature"].to_numpy(zero_copy_only=False)
        feature = np.minimum(np.searchsorted(self.features, named), max(len(self.features) - 1, 0))
        known = (
            (text >= 0) & (self.features[feature] == named) if len(self.features) else np.zeros(len(named), dtype=bool)
        )
        values = {name: batch[name].to_numpy(zero_copy_only=False)[known] for name in columns}
        return {"text": text[known].astype(np.int32), "feature": feature[known].astype(np.int32), **values}

    def counts(self) -> tuple[Int[np.ndarray, " feature"], Int[np.ndarray, " text"]]:
        """Rows of each feature, and of each text."""
        per_feature, per_text = np.zeros(len(self.features), dtype=np.int64), np.zeros(len(self.texts), dtype=np.int64)
        for rows in self.read():
            per_feature += np.bincount(rows["feature"], minlength=len(per_feature))
            per_text += np.bincount(rows["text"], minlength=len(per_text))
        return per_feature, per_text

    def between(self, low: int, high: int) -> dict[str, np.ndarray]:
        """All rows of features `low` to `high`."""
        kept: list[dict[str, np.ndarray]] = []
        for rows in self.read(_VALUES):
            inside = (rows["feature"] >= low) & (rows["feature"] < high)
            kept.append({name: values[inside] for name, values in rows.items()})
        return {
            name: np.concatenate([part[name] for part in kept]) if kept else np.zeros(0, dtype=np.int64)
            for name in ("text", "feature", *_VALUES)
        }


def feature_ranges(per_feature: Int[np.ndarray, " feature"], at_once: int = _ROWS_AT_ONCE) -> list[tuple[int, int]]:
    """Ranges of features that together have at most `at_once` rows each (or are one feature)."""
    ranges: list[tuple[int, int]] = []
    low, total = 0, 0
    for feature, rows in enumerate(per_feature.tolist()):
        if total + rows > at_once and feature > low:
            ranges.append((low, feature))
            low, total = feature, 0
        total += rows
    return [*ranges, (low, len(per_feature))] if len(per_feature) > low else ranges


class Examples:
    """The rows chosen for the pages, sorted by feature, and each feature's distribution of effects."""

    def __init__(self, rows: EffectRows, *, num_bins: int, per_bin: int, seed: int) -> None:
        """Choose, reading the rows once per range of features."""
        per_feature, self.per_text = rows.counts()
        num_features = len(per_feature)
        self.effect_edges: Float[np.ndarray, "feature edge"] = np.zeros((num_features, NUM_EFFECT_BINS + 1))
        self.effect_counts: Int[np.ndarray, "feature bar"] = np.zeros((num_features, NUM_EFFECT_BINS), dtype=np.int64)
        chosen: list[dict[str, np.ndarray]] = []
        for low, high in feature_ranges(per_feature):
            part = rows.between(low, high)
            pairs = rows.texts.pairs[part["text"]]
            places, bins = chosen_examples(
                part["feature"],
                part["text"],
                pairs,
                part["max_activation"],
                num_bins=num_bins,
                per_bin=per_bin,
                seed=seed,
            )
            chosen.append({"bin": bins, **{name: values[places] for name, values in part.items()}})
            self._count_effects(part["feature"], part["effect"], low, high)
        empty = np.zeros(0, dtype=np.int64)
        columns = {
            name: np.concatenate([part[name] for part in chosen]) if chosen else empty
            for name in ("feature", "text", "bin", *_VALUES)
        }
        order = np.lexsort((-columns["max_activation"], -columns["bin"], columns["feature"]))
        self.feature: Int[np.ndarray, " example"] = columns["feature"][order]
        self.text: Int[np.ndarray, " example"] = columns["text"][order]
        self.bin: Int[np.ndarray, " example"] = columns["bin"][order]
        self.first_position: Int[np.ndarray, " example"] = columns["first_position"][order]
        self.activation: np.ndarray = columns["max_activation"][order]
        self.effect: np.ndarray = columns["effect"][order]

    def of(self, feature: int) -> range:
        """Places of a feature's examples, strongest first."""
        low, high = np.searchsorted(self.feature, [feature, feature + 1])
        return range(int(low), int(high))

    def _count_effects(self, feature: np.ndarray, effect: np.ndarray, low: int, high: int) -> None:
        order = np.argsort(feature, kind="stable")
        ends = np.searchsorted(feature[order], np.arange(low, high + 1))
        for place in range(low, high):
            values = effect[order[ends[place - low] : ends[place - low + 1]]].astype(np.float64)
            if len(values):
                self.effect_counts[place], self.effect_edges[place] = np.histogram(
                    values, bins=NUM_EFFECT_BINS, range=_range(values)
                )


def _range(values: np.ndarray) -> tuple[float, float]:
    """From the least to the greatest value, 0 included, so that the sign can be seen; never empty."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    # a range narrower than float64 can divide is widened
    return (low, high) if high - low > 1e-12 else (low - 1e-6, high + 1e-6)
