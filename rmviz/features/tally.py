"""What one pass over the texts adds up: counts per feature and per (feature, word), and windows around examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_HISTOGRAM_BINS = 30
_TABLE_LIMIT = 4_000_000  # (feature, word) entries kept at most: 64 MB


@dataclass(frozen=True)
class Firings:
    """Firings in a few texts, one per (position, feature), in no order; features are numbered among the alive ones."""

    feature: Int[np.ndarray, " firing"]
    text: Int[np.ndarray, " firing"]
    position: Int[np.ndarray, " firing"]
    word: Int[np.ndarray, " firing"]
    template: Bool[np.ndarray, " firing"]
    activation: Float[np.ndarray, " firing"]


class FeatureTally:
    """Counts per feature; memory is `O(features)`, whatever the number of texts."""

    def __init__(self, max_activation: Float[np.ndarray, " feature"]) -> None:
        """Start at zero; the edges of the histograms run evenly from 0 to each feature's strongest activation."""
        n = len(max_activation)
        self.max_activation = np.maximum(np.asarray(max_activation, dtype=np.float64), 1e-12)
        self.firings = np.zeros(n, dtype=np.int64)
        self.template_firings = np.zeros(n, dtype=np.int64)
        self.activation = np.zeros(n, dtype=np.float64)
        self.histogram = np.zeros((n, NUM_HISTOGRAM_BINS), dtype=np.int64)

    def add(self, firings: Firings) -> None:
        """Count these firings."""
        n, feature = len(self.firings), firings.feature
        self.firings += np.bincount(feature, minlength=n)
        self.template_firings += np.bincount(feature[firings.template], minlength=n)
        self.activation += np.bincount(feature, weights=firings.activation, minlength=n)
        places = (firings.activation / self.max_activation[feature] * NUM_HISTOGRAM_BINS).astype(np.int64)
        places = feature * NUM_HISTOGRAM_BINS + np.clip(places, 0, NUM_HISTOGRAM_BINS - 1)
        self.histogram += np.bincount(places, minlength=n * NUM_HISTOGRAM_BINS).reshape(n, NUM_HISTOGRAM_BINS)

    @property
    def mean_activation(self) -> Float[np.ndarray, " feature"]:
        """Mean activation over the tokens on which the feature fires; 0 where it never did."""
        return self.activation / np.maximum(self.firings, 1)

    @property
    def template_share(self) -> Float[np.ndarray, " feature"]:
        """Share of firings that fall on template tokens; 0 where it never fired."""
        return self.template_firings / np.maximum(self.firings, 1)

    def edges(self, feature: int) -> Float[np.ndarray, " edge"]:
        """Edges of one feature's activation histogram."""
        return np.linspace(0, self.max_activation[feature], NUM_HISTOGRAM_BINS + 1)


class WordTally:
    """How often, and how strongly, each feature fires on each word.

    At most `limit` entries are kept; when there are more, the words that a feature fires on least often are forgotten
    first, so that counts of rare words are lower bounds then.
    """

    def __init__(self, num_features: int, num_words: int, limit: int = _TABLE_LIMIT) -> None:
        """Start empty."""
        self.num_features, self.num_words, self.limit = num_features, num_words, limit
        self.keys = np.zeros(0, dtype=np.int64)
        self.counts = np.zeros(0, dtype=np.int64)
        self.sums = np.zeros(0, dtype=np.float64)
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._num_pending = 0

    def add(self, firings: Firings) -> None:
        """Count these firings."""
        keys, places = np.unique(firings.feature.astype(np.int64) * self.num_words + firings.word, return_inverse=True)
        sums = np.bincount(places, weights=firings.activation, minlength=len(keys))
        self._pending.append((keys, np.bincount(places, minlength=len(keys)), sums))
        self._num_pending += len(keys)
        if self._num_pending > self.limit // 2:
            self.merge()

    def merge(self) -> None:
        """Bring what was added lately into the sorted table."""
        parts = [(self.keys, self.counts, self.sums), *self._pending]
        keys, places = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        counts = np.bincount(places, weights=np.concatenate([part[1] for part in parts]), minlength=len(keys)).astype(
            np.int64
        )
        sums = np.bincount(places, weights=np.concatenate([part[2] for part in parts]), minlength=len(keys))
        self._pending, self._num_pending = [], 0
        kept = self._strongest(keys, counts) if len(keys) > self.limit else slice(None)
        self.keys, self.counts, self.sums = keys[kept], counts[kept], sums[kept]

    def _strongest(self, keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Places, in order, of the words that each feature fires on most often."""
        per_feature = max(8, self.limit // (2 * max(self.num_features, 1)))
        feature = keys // self.num_words
        order = np.lexsort((-counts, feature))
        starts = np.searchsorted(feature, np.arange(self.num_features))
        return np.sort(order[np.arange(len(keys)) - starts[feature[order]] < per_feature])

    def of(self, feature: int) -> tuple[Int[np.ndarray, " word"], Int[np.ndarray, " word"], Float[np.ndarray, " word"]]:
        """The words that a feature fires on, how often, and the sum of its activations there; after `merge`."""
        low, high = np.searchsorted(self.keys, [feature * self.num_words, (feature + 1) * self.num_words])
        return self.keys[low:high] - feature * self.num_words, self.counts[low:high], self.sums[low:high]


class Windows:
    """Activations around the strongest firing of each example, filled in while the texts go by."""

    def __init__(
        self,
        feature: Int[np.ndarray, " example"],
        text: Int[np.ndarray, " example"],
        first_position: Int[np.ndarray, " example"],
        lengths: Int[np.ndarray, " text"],
        num_features: int,
        context: int,
    ) -> None:
        """Prepare empty windows of `2 × context + 1` tokens, around `first_position` until firings are seen."""
        self._num_features, self._context = num_features, context
        keys = text.astype(np.int64) * num_features + feature
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self._lengths = lengths[text]
        self.starts = self._start(np.arange(len(keys)), first_position)
        self.activations = np.zeros((len(keys), 2 * context + 1), dtype=np.float16)

    def add(self, firings: Firings) -> None:
        """Note the firings that belong to an example; all firings of a text must come in one call."""
        keys = firings.text.astype(np.int64) * self._num_features + firings.feature
        places = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        hits = np.flatnonzero(self._keys[places] == keys) if len(self._keys) else np.zeros(0, dtype=np.int64)
        example, position, activation = self._order[places[hits]], firings.position[hits], firings.activation[hits]
        order = np.lexsort((-position, activation, example))
        last = np.ones(len(order), dtype=bool)
        last[:-1] = np.diff(example[order]) != 0
        peaks = order[last]
        self.starts[example[peaks]] = self._start(example[peaks], position[peaks])
        offset = position - self.starts[example]
        inside = (offset >= 0) & (offset < self.activations.shape[1])
        # float16 overflows at 65,504, and an infinite number is no JSON
        self.activations[example[inside], offset[inside]] = np.minimum(activation[inside], 65_000)

    def _start(self, example: np.ndarray, position: np.ndarray) -> np.ndarray:
        latest = self._lengths[example] - (2 * self._context + 1)
        return np.maximum(0, np.minimum(position - self._context, latest)).astype(np.int32)


def save_pass(path: Path, done: int, tally: FeatureTally, words: WordTally, windows: Windows) -> None:
    """Keep the state of a pass in which `done` texts were counted, in one step."""
    words.merge()
    beside = path.with_suffix(".half.npz")
    arrays: dict[str, Any] = {f"{group}.{name}": part for group, name, part in _parts(tally, words, windows)}
    np.savez(beside, **arrays, done=np.int64(done))
    beside.replace(path)


def load_pass(path: Path, tally: FeatureTally, words: WordTally, windows: Windows) -> int:
    """Bring back what `save_pass` kept; how many texts were counted then, 0 where nothing (usable) was kept."""
    if not path.exists():
        return 0
    try:
        with np.load(path, allow_pickle=False) as kept:
            loaded = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, BadZipFile):
        return 0  # the pass begins again, which costs time and nothing else
    objects = {"tally": tally, "words": words, "windows": windows}
    for group, name, _ in _parts(tally, words, windows):
        setattr(objects[group], name, loaded[f"{group}.{name}"])
    return int(loaded["done"])


def _parts(tally: FeatureTally, words: WordTally, windows: Windows) -> list[tuple[str, str, np.ndarray]]:
    named = {
        "tally": (tally, ("firings", "template_firings", "activation", "histogram")),
        "words": (words, ("keys", "counts", "sums")),
        "windows": (windows, ("starts", "activations")),
    }
    return [(group, name, getattr(owner, name)) for group, (owner, names) in named.items() for name in names]
