"""The repair job: a dataset in which the pairs that some features decide are dropped, or have their labels flipped."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.opened import SAEScan, opened_engine
from rmviz.configs.base import require, to_dict
from rmviz.configs.data import RepairConfig
from rmviz.configs.map import feature_list
from rmviz.data.keep import PAIRS, PROBLEMS
from rmviz.data.load import dataset_pairs
from rmviz.data.problems import Problems
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Report

CHANGED = "changed.parquet"
"""The pairs that were dropped or flipped: pair_id, split, margin, margin_without, what."""


def run(config: RepairConfig, workspace: Workspace, report: Report) -> Artifact:
    """Keep a dataset without the pairs that the features decide, or with those flipped; all else stays as it was.

    Raises:
        ConfigError: No feature is named, one does not exist, or retraining is asked for and the model was not trained here.
        DataError: There is no pair, none can be scored, none is decided, or no training pair would be left.
        ModelError: SAE and model do not fit.
    """
    require(bool(feature_list(config.features)), "features must name what is undone, as in `3, 17`, got nothing")
    scan = RepairScan(workspace.root, config, report.folder)
    if config.retrain and not retrainable(scan.model):
        raise ConfigError(
            f"{scan.model.name} was not trained here, so the settings of its training are not known; leave retrain off, "
            "and train on the result with `rmviz train reward`"
        )
    table = _scanned(scan, report)
    chosen = decided(table["margin"].to_numpy(), table["margin_without"].to_numpy(), config)
    if not chosen.any():
        raise DataError(
            f"the features decide none of the {len(table)} pairs in the {config.split} part of {scan.dataset.name}; "
            "take other features, or a lower min_share"
        )
    what = {"drop": "dropped", "flip": "flipped"}[config.how]
    parents = (scan.dataset.id, scan.sae.id, scan.model.id)
    name = config.name or f"{scan.dataset.name} {what}"
    with workspace.create("dataset", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        counts = write_repaired(scan.dataset.path(PAIRS), draft.folder / PAIRS, config, chosen)
        if not counts["num_train"] and scan.dataset.metrics.get("num_train"):
            raise DataError(f"no training pair of {scan.dataset.name} would be left; take fewer features, or flip")
        save_table(table[chosen].assign(what=what), draft.folder / CHANGED)
        write_json(draft.folder / PROBLEMS, Problems().to_json())
        draft.metrics |= counts | {
            "num_looked_at": len(table),
            f"num_{what}": int(chosen.sum()),
            "num_without_reward": int((~np.isfinite(table["margin"])).sum()),
            "method": scan.engine.method,
        }
    return draft.kept


def retrainable(model: Artifact) -> bool:
    """Whether the settings that a model was trained with are known here."""
    return {"dataset", "base", "num_epochs"} <= set(model.config)


@dataclass(frozen=True)
class RepairScan(SAEScan):
    """Shards of margins: of the model as it is, and with all the features off at once."""

    config: RepairConfig

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """What is looked at."""
        pairs = dataset_pairs(self.dataset, self.config.split)
        if not pairs:
            raise DataError(
                f"dataset {self.dataset.name} has no pairs in its {self.config.split} part; choose another with --split"
            )
        return pairs

    @cached_property
    def engine(self) -> EffectEngine:
        """Model and SAE; how rows are rerun is settled on the first shard's texts, whichever is made first."""
        engine = opened_engine(Workspace(self.root), self.sae, max_tokens=self.config.max_tokens)
        engine.settle(engine.rm.encode([text for pair in self.part(0) for text in pair.texts]))
        return engine

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-len(self.pairs) // self.config.shard_size)

    def part(self, number: int) -> Sequence[Pair]:
        """The pairs of one shard."""
        return self.pairs[number * self.config.shard_size : (number + 1) * self.config.shard_size]

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Margins of one shard."""
        part = self.part(number)
        encoded = self.engine.rm.encode([text for pair in part for text in pair.texts])
        rewards = self.engine.scan(encoded, features=[], first_order=False)[1].astype(float)
        lost = self.engine.group_effects(encoded, [feature_list(self.config.features)])[:, 0].astype(float)
        margin, effect = rewards[0::2] - rewards[1::2], lost[0::2] - lost[1::2]
        table = pd.DataFrame({"pair_id": [pair.pair_id for pair in part], "margin": margin})
        save_table(table.assign(margin_without=margin - effect), folder / "margins.parquet")
        return {"decided": float(decided(margin, margin - effect, self.config).sum())}


def _scanned(scan: RepairScan, report: Report) -> pd.DataFrame:
    """pair_id, margin and margin_without of every pair, in the order of the data."""
    report(0, scan.num_shards)
    with closing(made_shards(scan, range(scan.num_shards), scan.folder)) as shards:
        for done, (_, figures) in enumerate(shards, start=1):
            report(done, scan.num_shards, figures)
    files = [shard_folder(scan.folder, number) / "margins.parquet" for number in range(scan.num_shards)]
    table = pd.concat([load_table(file) for file in files], ignore_index=True)
    if not np.isfinite(table["margin"]).any():
        raise DataError("no pair could be scored: the reward or the activations are not finite numbers on any of them")
    return table


def decided(
    margin: Float[np.ndarray, " pair"], without: Float[np.ndarray, " pair"], config: RepairConfig
) -> Bool[np.ndarray, " pair"]:
    """Which pairs the features decide: they carry at least `min_share` of the margin, towards its own sign.

    Args:
        margin: Reward of chosen − reward of rejected.
        without: The same with all the features off at once. At a share of 1 it is 0, or of the other sign.
        config: `min_share`, and whether only pairs with a margin above 0 count. Ties are decided by nothing.
    """
    with np.errstate(invalid="ignore"):
        carried = np.sign(margin) * (margin - without)
        enough = (margin != 0) & (carried >= config.min_share * np.abs(margin))
        return enough & np.isfinite(without) & ((margin > 0) | (config.pairs == "both"))


def write_repaired(
    source: Path, target: Path, config: RepairConfig, chosen: Bool[np.ndarray, " pair"]
) -> dict[str, Any]:
    """Copy the pairs of a dataset, the chosen ones changed; counts as for every dataset.

    Args:
        source: The pairs of the dataset.
        target: Where the repaired ones go.
        config: `split` says to which rows `chosen` belongs, in their order; `how` what becomes of them.
        chosen: Which pairs are changed.
    """
    counts = {"num_train": 0, "num_heldout": 0, "num_pairs": 0, "num_texts": 0}
    start = 0
    with pq.ParquetFile(source) as old, pq.ParquetWriter(target, old.schema_arrow, compression="zstd") as new:
        for batch in old.iter_batches():
            looked_at = batch["rejected"].is_valid().to_numpy(zero_copy_only=False)
            if config.split != "all":
                looked_at &= batch["split"].to_numpy(zero_copy_only=False) == config.split
            change = np.zeros(len(batch), bool)
            change[looked_at] = chosen[start : start + int(looked_at.sum())]
            start += int(looked_at.sum())
            batch = batch.filter(pa.array(~change)) if config.how == "drop" else _flipped(batch, change)
            new.write_batch(batch)
            num_pairs = int(batch["rejected"].is_valid().to_numpy(zero_copy_only=False).sum())
            split = batch["split"].to_numpy(zero_copy_only=False)
            counts["num_pairs"] += num_pairs
            counts["num_texts"] += len(batch) + num_pairs
            for part in ("train", "heldout"):
                counts[f"num_{part}"] += int((split == part).sum())
    return {**counts, "num_bad": 0, "num_duplicates": 0, "kind": "pairs"}


def _flipped(batch: pa.RecordBatch, change: Bool[np.ndarray, " row"]) -> pa.RecordBatch:
    """The rows with chosen and rejected swapped where they change."""
    mask, sides = pa.array(change), (batch["chosen"], batch["rejected"])
    for name, (own, other) in (("chosen", sides), ("rejected", sides[::-1])):
        at = batch.schema.get_field_index(name)
        batch = batch.set_column(at, name, pc.call_function("if_else", [mask, other, own]))
    return batch
