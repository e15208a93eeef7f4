"""One pass of model and SAE over the scanned texts: every firing of every alive feature, a few texts at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from rmviz.activations.hooks import residuals
from rmviz.errors import ModelError
from rmviz.features.tally import Firings
from rmviz.features.texts import ScannedTexts
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder

TEXTS_AT_ONCE = 128
_MAX_TOKENS = 4096


@dataclass(frozen=True)
class FiringPass:
    """What a pass needs; it holds no state of its own."""

    rm: RewardModel
    sae: SparseAutoencoder
    texts: ScannedTexts
    features: Int[np.ndarray, " feature"]
    """Alive features, sorted; firings name a feature by its place in this list."""

    word_of_token: Int[np.ndarray, " token"]

    def firings(self, start: int = 0) -> Iterator[tuple[int, list[Firings]]]:
        """From text `start` on: how many texts are done, and the firings of the latest ones, each text in one piece.

        Raises:
            ModelError: The model reads a text as other tokens than when the effects were measured.
        """
        place = np.full(self.sae.d_sae, -1, dtype=np.int64)
        place[self.features] = np.arange(len(self.features))
        for low in range(start, len(self.texts), TEXTS_AT_ONCE):
            high = min(low + TEXTS_AT_ONCE, len(self.texts))
            encoded = self._encoded(low, high)
            yield high, [self._of_batch([encoded[i] for i in batch], low + batch, place) for batch in _batches(encoded)]

    def _encoded(self, low: int, high: int) -> list[Encoded]:
        encoded = self.rm.encode(self.texts.texts(low, high))
        for text, one in zip(range(low, high), encoded, strict=True):
            if not np.array_equal(self.texts.ids_of(text), one.ids):
                raise ModelError(
                    f"{self.rm.name} reads text {one.text_id!r} as other tokens than when the effects were measured: "
                    "its tokenizer, format or length limit has changed; measure the effects again"
                )
        return encoded

    @torch.no_grad()
    def _of_batch(self, encoded: list[Encoded], texts: np.ndarray, place: np.ndarray) -> Firings:
        h, _ = residuals(self.rm, self.rm.collate(encoded, side="right"), self.sae.hookpoint)
        defined = np.zeros(h.shape[:2], dtype=bool)
        for row, text in enumerate(texts):
            defined[row, : self.texts.lengths[text]] = self.texts.defined_in(int(text))
        rows, positions = np.nonzero(defined)
        acts = self.sae.encode(h[torch.from_numpy(defined).to(h.device)].float())
        values, features = acts.values.float().cpu().numpy(), place[acts.indices.cpu().numpy()]
        token, slot = np.nonzero((values > 0) & (features >= 0) & np.isfinite(values))
        text = texts[rows[token]]
        flat = self.texts.offsets[text] + positions[token]
        return Firings(
            feature=features[token, slot],
            text=text,
            position=positions[token],
            word=self.word_of_token[flat],
            template=self.texts.template[flat],
            activation=values[token, slot],
        )


def _batches(encoded: Sequence[Encoded]) -> Iterator[Int[np.ndarray, " text"]]:
    """Places of the texts in batches of like length, each at most `_MAX_TOKENS` with its padding (or one text)."""
    batch: list[int] = []
    for i in sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids)):
        if batch and (len(batch) + 1) * len(encoded[i].ids) > _MAX_TOKENS:
            yield np.array(batch)
            batch = []
        batch.append(i)
    if batch:
        yield np.array(batch)
