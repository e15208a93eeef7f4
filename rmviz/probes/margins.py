"""The probe of margins: what k features explain of them, and which feature makes the wrong pairs wrong."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.margins import NONE, Decisive, Margins, decisive, explained, wrong_pairs
from rmviz.ablation.opened import SAEScan, opened_engine
from rmviz.configs.base import to_dict
from rmviz.configs.margins import MarginsConfig
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.encoding import Encoded
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Report

WHAT = "margins"
"""What the artifact says it is, under `what`."""
TOLD = (1, 10, 100)
"""Sizes of sets of features whose share stands among the artifact's figures."""


def run(config: MarginsConfig, workspace: Workspace, report: Report) -> Artifact:
    """Take the margins of a dataset; shares of k features, wrong pairs and their groups as an artifact.

    Raises:
        DataError: There is no pair, or none with finite rewards.
        ModelError: SAE and model do not fit.
    """
    scan = MarginScan(workspace.root, config, report.folder)
    total = 2 * scan.num_shards
    report(0, total)
    for first in (0, scan.num_shards):
        numbers = range(first, first + scan.num_shards)
        with closing(made_shards(scan, numbers, scan.folder)) as shards:
            for done, (_, figures) in enumerate(shards, start=first + 1):
                report(done, total, figures)
    with workspace.create(
        "probe",
        name=config.name or f"margins of {scan.model.name} on {scan.dataset.name}",
        key=report.key,
        config=to_dict(config),
        parents=(scan.sae.id, scan.dataset.id, scan.model.id),
    ) as draft:
        draft.metrics |= _finish(draft.folder, scan)
    return draft.kept


@dataclass(frozen=True)
class MarginScan(SAEScan):
    """Shards of one probe: shard i holds the effects on some margins, shard n + i these margins with features off.

    Which features, follows from all shards of the first stage together.
    """

    config: MarginsConfig

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """What is taken."""
        config = self.config
        pairs = dataset_pairs(self.dataset, config.split, config.num_pairs, config.seed)
        if not pairs:
            raise DataError(
                f"dataset {self.dataset.name} has no pairs in its {config.split} part; choose another with --split"
            )
        return pairs

    @cached_property
    def engine(self) -> EffectEngine:
        """Model and SAE; how rows are rerun is settled on the first shard's texts, whichever is made first."""
        engine = opened_engine(Workspace(self.root), self.sae, max_tokens=self.config.max_tokens)
        engine.settle(_encoded(engine, self.pairs[: self.config.shard_size]))
        return engine

    @property
    def num_shards(self) -> int:
        """Shards of each of the two stages."""
        return -(-len(self.pairs) // self.config.shard_size)

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """One shard of the first stage, or of the second."""
        stage, shard = divmod(number, self.num_shards)
        start = shard * self.config.shard_size
        places = np.arange(start, min(start + self.config.shard_size, len(self.pairs)))
        return self._make_without(places, folder) if stage else self._make_effects(places, folder)

    def _make_effects(self, places: np.ndarray, folder: Path) -> dict[str, float]:
        encoded = _encoded(self.engine, [self.pairs[place] for place in places])
        rows, rewards = self.engine.scan(encoded, first_order=False)
        rewards = rewards.astype(float)
        scored = {
            "pair": places, "chosen_reward": rewards[0::2], "rejected_reward": rewards[1::2],
            "num_cut": [one.num_cut + other.num_cut for one, other in zip(encoded[0::2], encoded[1::2], strict=True)],
        }  # fmt: skip
        save_table(pd.DataFrame(scored), folder / "scored.parquet")
        signed = np.where(rows.text % 2 == 0, 1.0, -1.0) * rows.effect
        effects = pd.DataFrame({"pair": places[rows.text // 2], "feature": rows.feature, "effect": signed})
        save_table(effects.groupby(["pair", "feature"], as_index=False).sum(), folder / "effects.parquet")
        margin = rewards[0::2] - rewards[1::2]
        margin = margin[np.isfinite(margin)]
        return {"mean_margin": float(margin.mean()), "accuracy": float((margin > 0).mean())} if len(margin) else {}

    def _make_without(self, places: np.ndarray, folder: Path) -> dict[str, float]:
        chosen = self.decisive
        own = np.flatnonzero(np.isin(self.kept[chosen.measured], places))
        columns = [f"set_{i}" for i in range(len(chosen.sets))]
        lost = np.zeros((2 * len(own), len(columns)))
        if len(own) and columns:
            pairs = [self.pairs[place] for place in self.kept[chosen.measured[own]]]
            lost = self.engine.group_effects(_encoded(self.engine, pairs), chosen.sets).astype(float)
        without = self.margins.margin[chosen.measured[own], None] - (lost[0::2] - lost[1::2])
        save_table(pd.DataFrame(without, columns=columns), folder / "without.parquet")
        return {}

    def stage(self, name: str) -> pd.DataFrame:
        """A table of all shards, in the order of the pairs: scored and effects of the first stage, without of the second."""
        start = self.num_shards if name == "without" else 0
        files = [shard_folder(self.folder, start + i) / f"{name}.parquet" for i in range(self.num_shards)]
        return pd.concat([load_table(file) for file in files], ignore_index=True)

    @cached_property
    def scored(self) -> pd.DataFrame:
        """Of every pair: pair (its place), chosen_reward, rejected_reward, num_cut, margin."""
        table = self.stage("scored")
        return table.assign(margin=table["chosen_reward"] - table["rejected_reward"])

    @cached_property
    def kept(self) -> np.ndarray:
        """Places of the pairs that have finite rewards."""
        kept = np.flatnonzero(np.isfinite(self.scored["margin"].to_numpy(float)))
        if not len(kept):
            raise DataError(
                "no pair could be scored: the rewards or the activations are not finite numbers on any of them"
            )
        return kept

    @cached_property
    def margins(self) -> Margins:
        """The pairs that have finite rewards."""
        rows = self.stage("effects")
        shape = (len(self.pairs), self.engine.sae.d_sae)
        effects = csr_array(
            (rows["effect"].to_numpy(float), (rows["pair"].to_numpy(), rows["feature"].to_numpy())), shape
        )
        margin = self.scored["margin"].to_numpy(float)
        return Margins([self.pairs[i].pair_id for i in self.kept], margin[self.kept], csr_array(effects[self.kept]))

    @cached_property
    def decisive(self) -> Decisive:
        """Which features are taken off together, and in which pairs."""
        return decisive(self.margins, self.config.seed)


def _encoded(engine: EffectEngine, pairs: Sequence[Pair]) -> list[Encoded]:
    return engine.rm.encode([text for pair in pairs for text in pair.texts])


def _finish(folder: Path, scan: MarginScan) -> dict[str, Any]:
    """Write the tables; the figures of the artifact."""
    config, margins = scan.config, scan.margins
    without = scan.stage("without").to_numpy(float)
    shares = explained(margins, scan.decisive, without, num_resamples=config.num_resamples, seed=config.seed)
    wrong, groups = wrong_pairs(margins)
    texts = pd.DataFrame(
        [(pair.pair_id, pair.prompt, pair.chosen, pair.rejected) for pair in scan.pairs],
        columns=["pair_id", "prompt", "chosen", "rejected"],
    )
    pairs = scan.scored.drop(columns="pair")
    pairs.insert(0, "pair_id", texts["pair_id"])
    rewards = pairs[["pair_id", "chosen_reward", "rejected_reward", "num_cut"]]
    save_table(pairs, folder / "pairs.parquet")
    save_table(shares, folder / "explained.parquet")
    save_table(groups, folder / "groups.parquet")
    save_table(wrong.merge(rewards, on="pair_id").merge(texts, on="pair_id"), folder / "wrong.parquet")
    write_json(
        folder / "probe.json",
        {
            "what": WHAT, "model": scan.model.id, "sae": scan.sae.id, "dataset": scan.dataset.id,
            "hookpoint": scan.engine.sae.hookpoint, "method": scan.engine.method,
        },
    )  # fmt: skip
    righted = groups.loc[groups["feature"] != NONE, "num_pairs"]
    figures = {
        "what": WHAT, "num_pairs": len(margins.margin), "num_left_out": len(scan.pairs) - len(margins.margin),
        "num_cut": int((pairs["num_cut"] > 0).sum()), "num_ties": int((margins.margin == 0).sum()),
        "num_wrong": len(wrong), "num_by_one_feature": int(righted.sum()),
    }  # fmt: skip
    return figures | {
        f"share_{k}": float(share)
        for k, share in zip(shares["k"].tolist(), shares["share"].tolist(), strict=True)
        if k in TOLD
    }
