"""What each feature of a crosscoder does in either model, and where it fires: shard by shard."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rmviz.ablation.plan import length_chunks
from rmviz.activations.hooks import residuals
from rmviz.activations.rows import feature_mask
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.crosscoder.model import FILE, SideEngine, load_crosscoder
from rmviz.data.load import dataset_texts
from rmviz.errors import DataError
from rmviz.features.words import word_of
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Text

SIDES = ("first", "second")
NUM_EXAMPLES = 5
"""Texts kept of each feature: those in which it fires most strongly."""

ANY = -1
"""In the place of a feature: all tokens, whatever fires."""

_CONTEXT = 12


@dataclass(frozen=True)
class CrosscoderScan:
    """The shards of one crosscoder's scan: `shard_size` texts each."""

    root: Path
    """Of the workspace."""

    config: CrosscoderConfig
    hookpoint: str
    folder: Path
    """Where the crosscoder lies while its job runs."""

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without texts and models: each process opens its own."""
        return CrosscoderScan, (self.root, self.config, self.hookpoint, self.folder)

    @cached_property
    def texts(self) -> Sequence[Text]:
        """Held-out texts; all of them where none is held out."""
        dataset = Workspace(self.root).resolve(self.config.dataset, "dataset")
        for split in ("heldout", "all"):
            if texts := dataset_texts(dataset, split, self.config.num_pairs, self.config.seed):
                return texts
        raise DataError(f"dataset {dataset.name} has no texts; add data first")

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-len(self.texts) // self.config.shard_size)

    def part(self, number: int) -> Sequence[Text]:
        """The texts of one shard."""
        return self.texts[number * self.config.shard_size : (number + 1) * self.config.shard_size]

    @cached_property
    def models(self) -> tuple[RewardModel, RewardModel]:
        """Both models; one that is named twice is opened once."""
        space = Workspace(self.root)
        first = from_artifact(space.resolve(self.config.first, "reward_model"))
        same = self.config.second == self.config.first
        return first, first if same else from_artifact(space.resolve(self.config.second, "reward_model"))

    @cached_property
    def joint(self) -> SparseAutoencoder:
        """The crosscoder."""
        return load_crosscoder(self.folder / FILE, self.hookpoint)[0].to(self.models[0].device)

    @cached_property
    def engines(self) -> tuple[SideEngine, SideEngine]:
        """One engine per model; how rows are rerun is settled on the first shard's texts."""
        first, second = (
            SideEngine(self.models, self.joint, side, max_tokens=self.config.max_tokens) for side in (0, 1)
        )
        for engine in (first, second):
            engine.settle(engine.rm.encode(self.part(0)))
        return first, second

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Effects in both models, the words that fire and the strongest texts of each feature."""
        texts = self.part(number)
        encoded = self.models[0].encode(texts)
        scored = pd.DataFrame(
            {"text_id": [e.text_id for e in encoded], "pair_id": [e.pair_id for e in encoded],
             "side": [e.side for e in encoded], "prompt": [t.prompt for t in texts], "reply": [t.reply for t in texts]}
        )  # fmt: skip
        tables: dict[str, pd.DataFrame] = {}
        for name, engine in zip(SIDES, self.engines, strict=True):
            rows, rewards = engine.scan(encoded, first_order=False)
            scored[f"reward_{name}"] = rewards
            tables[f"rows-{name}"] = pd.DataFrame(
                {"text_id": scored["text_id"].to_numpy()[rows.text], "feature": rows.feature,
                 "max_activation": rows.max_activation, "effect": rows.effect, "first_order": rows.first_order}
            )  # fmt: skip
        tables["texts"] = scored
        firings = firing_table(self.models, self.joint, encoded, self.config.max_tokens)
        tables["words"] = word_counts(firings, encoded)
        tables["examples"] = examples_of(firings, encoded)
        for name, table in tables.items():
            save_table(table, folder / f"{name}.parquet")
        return {"rows": float(sum(len(tables[f"rows-{name}"]) for name in SIDES))}


@torch.no_grad()
def firing_table(
    models: tuple[RewardModel, RewardModel], joint: SparseAutoencoder, encoded: Sequence[Encoded], max_tokens: int
) -> pd.DataFrame:
    """Every activation above zero: text (its index), position, feature, activation."""
    parts = []
    for chunk in length_chunks([len(e.ids) for e in encoded], max_tokens):
        some = [encoded[i] for i in chunk]
        halves = [residuals(rm, rm.collate(some, side="right"), joint.hookpoint)[0].float() for rm in models]
        both = torch.cat([half.to(joint.device) for half in halves], dim=-1)
        defined = feature_mask(some).to(both.device) & both.isfinite().all(-1)
        places = defined.nonzero()
        acts = joint.encode(both[defined])
        at, column = (acts.values > 0).nonzero(as_tuple=True)
        found = places[at].cpu().numpy()
        parts.append(
            pd.DataFrame(
                {"text": np.array(chunk)[found[:, 0]], "position": found[:, 1],
                 "feature": acts.indices[at, column].cpu().numpy(), "activation": acts.values[at, column].cpu().numpy()}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def word_counts(firings: pd.DataFrame, encoded: Sequence[Encoded]) -> pd.DataFrame:
    """How often each feature fires on each word, and under `ANY` how often the word stands there at all."""
    words = [[word_of(token) for token in one.tokens] for one in encoded]
    fired = pd.DataFrame(
        {"feature": firings["feature"].astype("int64"),
         "word": [words[text][at] for text, at in zip(firings["text"], firings["position"], strict=True)]}
    )  # fmt: skip
    base = [word for own, one in zip(words, encoded, strict=True)
            for word, defined in zip(own, one.feature_positions, strict=True) if defined]  # fmt: skip
    both = pd.concat([fired, pd.DataFrame({"feature": ANY, "word": base})], ignore_index=True)
    return both.groupby(["feature", "word"]).size().rename("count").reset_index()


def examples_of(firings: pd.DataFrame, encoded: Sequence[Encoded]) -> pd.DataFrame:
    """The texts in which each feature fires most strongly, each with the tokens around its strongest firing.

    Returns:
        feature, text_id, activation, start (of the window), tokens and acts (of the window), num_tokens, num_cut.
    """
    columns = ["feature", "text_id", "activation", "start", "tokens", "acts", "num_tokens", "num_cut"]
    peaks = firings.sort_values(["feature", "activation"], ascending=[True, False], kind="stable")
    peaks = peaks.drop_duplicates(["feature", "text"]).groupby("feature").head(NUM_EXAMPLES)
    own = firings.merge(peaks[["feature", "text"]], on=["feature", "text"])
    acts_of = {
        key: (part["position"].to_numpy(int), part["activation"].to_numpy(float))
        for key, part in own.groupby(["feature", "text"])
    }
    rows = []
    for feature, text, position, activation in peaks[["feature", "text", "position", "activation"]].to_numpy().tolist():
        one = encoded[int(text)]
        start = max(0, min(int(position) - _CONTEXT, len(one.ids) - 2 * _CONTEXT - 1))
        acts = np.zeros(len(one.ids), np.float32)
        positions, values = acts_of[feature, text]
        acts[positions] = values
        window = slice(start, start + 2 * _CONTEXT + 1)
        rows.append((int(feature), one.text_id, activation, start, list(one.tokens[window]), acts[window].tolist(),
                     len(one.ids), one.num_cut))  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
