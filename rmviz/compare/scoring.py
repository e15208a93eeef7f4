"""The same pairs, scored by every model, shard by shard: texts are what is compared, each model reads them its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rmviz.compare.matching import matched_features
from rmviz.configs.compare import CompareConfig
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.jobs.shards import shard_folder
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel, length_buckets
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text


@dataclass(frozen=True)
class Scoring:
    """The shards of one comparison: each model's parts of the pairs, model by model, then each pair of SAEs to match."""

    root: Path
    """Of the workspace."""

    config: CompareConfig
    models: tuple[str, ...]
    """Ids of the models."""

    matches: tuple[tuple[str, str], ...] = ()
    """Ids of the effects whose features are matched."""

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without pairs and models: each process opens its own."""
        return Scoring, (self.root, self.config, self.models, self.matches)

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """What is scored."""
        dataset = Workspace(self.root).resolve(self.config.dataset, "dataset")
        pairs = dataset_pairs(dataset, self.config.split, self.config.num_pairs, self.config.seed)
        if not pairs:
            raise DataError(
                f"dataset {dataset.name} has no pairs in its {self.config.split} part; comparing needs pairs (chosen, "
                "rejected): choose another part with --split, or another dataset"
            )
        return pairs

    @property
    def parts_each(self) -> int:
        """Shards of each model."""
        return -(-len(self.pairs) // self.config.shard_size)

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return len(self.models) * self.parts_each + len(self.matches)

    def size(self, number: int) -> int:
        """Pairs in a shard; none in one that matches features."""
        return len(self._part(number)) if number < len(self.models) * self.parts_each else 0

    @cached_property
    def _open(self) -> dict[str, RewardModel]:
        return {}

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Rewards of a shard; for the numbers after the last model's, the match of two SAEs."""
        which = number - len(self.models) * self.parts_each
        if which >= 0:
            return self._match(which, folder)
        rm = self._model(self.models[number // self.parts_each])
        texts = [text for pair in self._part(number) for text in pair.texts]
        rewards, num_cut = scored(rm, texts, self.config.max_tokens)
        save_table(pd.DataFrame({"reward": rewards, "num_cut": num_cut}), folder / "rewards.parquet")
        good = rewards[np.isfinite(rewards)]
        margins = rewards[0::2] - rewards[1::2]
        margins = margins[np.isfinite(margins)]
        return {"accuracy": float(((np.sign(margins) + 1) / 2).mean())} if len(margins) and len(good) else {}

    def rewards(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Rewards and cut tokens of all shards that are kept in a folder, each (model, pair, side)."""
        tables = [
            load_table(shard_folder(folder, number) / "rewards.parquet")
            for number in range(len(self.models) * self.parts_each)
        ]
        whole = pd.concat(tables, ignore_index=True)
        shape = (len(self.models), len(self.pairs), 2)
        return whole["reward"].to_numpy(float).reshape(shape), whole["num_cut"].to_numpy(int).reshape(shape)

    def _part(self, number: int) -> Sequence[Pair]:
        start = number % self.parts_each * self.config.shard_size
        return self.pairs[start : start + self.config.shard_size]

    def _model(self, ref: str) -> RewardModel:
        """A model; the one that was open before is let go first."""
        if ref not in self._open:
            self._open.clear()
            self._open[ref] = from_artifact(Workspace(self.root).resolve(ref, "reward_model"))
        return self._open[ref]

    def _match(self, which: int, folder: Path) -> dict[str, float]:
        self._open.clear()
        space = Workspace(self.root)
        effects: list[Artifact] = [space.resolve(ref, "effects") for ref in self.matches[which]]
        texts = [text for pair in self.pairs for text in pair.texts][: self.config.num_matched_texts]
        table, info = matched_features(space, effects[0], effects[1], texts, seed=self.config.seed)
        save_table(table, folder / "features.parquet")
        write_json(folder / "match.json", info)
        return {}


@torch.no_grad()
def scored(rm: RewardModel, texts: Sequence[Text], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards, float32, and how many tokens of each text did not fit; NaN for a text that the model cannot read.

    Unlike `RewardModel.score`, one reward that is no number, or one text without a token, does not stop the others.
    """
    encoded = _encoded(rm, texts)
    rewards = np.full(len(texts), np.nan, np.float32)
    known = [index for index, one in enumerate(encoded) if one is not None]
    readable = [one for one in encoded if one is not None]
    for rows in length_buckets([len(one.ids) for one in readable], max_tokens):
        values = rm.rewards(rm.collate([readable[row] for row in rows])).cpu().numpy()
        rewards[[known[row] for row in rows]] = np.where(np.isfinite(values), values, np.nan)
    return rewards, np.array([0 if one is None else one.num_cut for one in encoded])


def _encoded(rm: RewardModel, texts: Sequence[Text]) -> list[Encoded | None]:
    try:
        return list(rm.encode(texts))
    except DataError:  # one of them leaves no token: find out which
        return [_encoded_alone(rm, text) for text in texts]


def _encoded_alone(rm: RewardModel, text: Text) -> Encoded | None:
    try:
        return rm.encode([text])[0]
    except DataError:
        return None
