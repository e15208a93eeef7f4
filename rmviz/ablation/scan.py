"""The effects job: every alive feature of an SAE, ablated on every text of a dataset, shard by shard."""

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from rmviz.ablation.audit import audit
from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.opened import SAEScan, opened_engine
from rmviz.ablation.rows import placed
from rmviz.ablation.summary import summary
from rmviz.configs.base import to_dict
from rmviz.configs.effects import EffectsConfig
from rmviz.data.load import dataset_texts
from rmviz.errors import DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.encoding import Encoded
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text

NUM_AUDITED = 64
"""Texts on which the cheap scores are held against the exact effects."""


def run(config: EffectsConfig, workspace: Workspace, report: Report) -> Artifact:
    """Scan a dataset; the rows, the texts as scored, the statistics and the audit of cheap scores as an artifact.

    Raises:
        DataError: There is no text to scan, or none that can be scored.
        ModelError: SAE and model do not fit.
    """
    scan = Scan(workspace.root, config, report.folder)
    num_shards = _scan_shards(scan, report)
    with workspace.create(
        "effects",
        name=config.name or f"{scan.sae.name} on {scan.dataset.name}",
        key=report.key,
        config=to_dict(config),
        parents=(scan.sae.id, scan.dataset.id, scan.model.id),
    ) as draft:
        draft.metrics |= _finish(draft.folder, scan, num_shards)
    return draft.kept


@dataclass(frozen=True)
class Scan(SAEScan):
    """The shards of one scan: `shard_size` texts each, and after them the audit, which reads what they found."""

    config: EffectsConfig

    @cached_property
    def texts(self) -> Sequence[Text]:
        """What is scanned."""
        texts = dataset_texts(self.dataset, self.config.split, self.config.num_pairs, self.config.seed)
        if not texts:
            raise DataError(
                f"dataset {self.dataset.name} has no texts in its {self.config.split} part; choose another with --split"
            )
        return texts

    @cached_property
    def engine(self) -> EffectEngine:
        """Model and SAE; how rows are rerun is settled on the first shard's texts, whichever is made first."""
        engine = opened_engine(Workspace(self.root), self.sae, max_tokens=self.config.max_tokens)
        engine.settle(engine.rm.encode(self.part(0)))
        return engine

    @property
    def sizes(self) -> list[int]:
        """Texts in each shard."""
        size = self.config.shard_size
        return [min(size, len(self.texts) - start) for start in range(0, len(self.texts), size)]

    def part(self, number: int) -> Sequence[Text]:
        """The texts of one shard."""
        return self.texts[number * self.config.shard_size : (number + 1) * self.config.shard_size]

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Rows and texts of a shard; for the number after the last, the audit."""
        if number == len(self.sizes):
            return self._make_audit(folder)
        begin = time.monotonic()
        rows, scored = _scanned(self.engine, self.part(number))
        seconds = max(time.monotonic() - begin, 1e-9)
        save_table(rows, folder / "rows.parquet")
        save_table(scored, folder / "texts.parquet")
        rewards = scored["reward"].to_numpy()
        good = rewards[np.isfinite(rewards)]
        return {
            "rows": float(len(rows)),
            "rows_per_second": len(rows) / seconds,
            "mean_reward": float(good.mean()) if len(good) else float("nan"),
        }

    def _make_audit(self, folder: Path) -> dict[str, float]:
        """The audit on the first texts that could be scored."""
        sample: list[Text] = []
        for number in range(len(self.sizes)):
            scored = load_table(shard_folder(self.folder, number) / "texts.parquet", columns=["text_id", "reward"])
            left_out = set(scored.loc[~np.isfinite(scored["reward"]), "text_id"])
            sample += [text for text in self.part(number) if text.text_id not in left_out]
            if len(sample) >= NUM_AUDITED:
                break
        if not sample:
            raise DataError(
                "no text could be scored: the reward or the activations are not finite numbers on any of them"
            )
        write_json(folder / "audit.json", audit(self.engine, sample[:NUM_AUDITED]))
        write_json(folder / "method.json", {"method": self.engine.method, "hookpoint": self.engine.sae.hookpoint})
        return {}


def _scan_shards(scan: Scan, report: Report) -> int:
    """Make the shards and the audit that are not there yet; how many shards there are."""
    sizes, total = scan.sizes, len(scan.texts) + min(NUM_AUDITED, len(scan.texts))
    report(0, total)
    done, num_rows = 0, 0.0
    with closing(made_shards(scan, range(len(sizes)), report.folder)) as shards:
        for number, figures in shards:
            done += sizes[number]
            num_rows += figures.get("rows", 0.0)
            report(done, total, {**figures, "rows": num_rows} if figures else {})
    with closing(made_shards(scan, [len(sizes)], report.folder)) as last:
        list(last)
    report(total, total)
    return len(sizes)


def _scanned(engine: EffectEngine, texts: Sequence[Text]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and texts of one shard, in the schema of the artifact."""
    encoded = engine.rm.encode(texts)
    found, rewards = engine.scan(encoded)
    ids = np.array([e.text_id for e in encoded], object)
    pairs = np.array([e.pair_id for e in encoded], object)
    sides = np.array([e.side for e in encoded], object)
    rows = pd.DataFrame(
        {
            "text_id": ids[found.text],
            "pair_id": pairs[found.text],
            "side": sides[found.text],
            "feature": found.feature,
            "first_position": found.first_position,
            "max_activation": found.max_activation,
            "effect": found.effect,
            "first_order": found.first_order,
        }
    )
    return rows, text_table(texts, encoded, rewards)


def text_table(texts: Sequence[Text], encoded: Sequence[Encoded], rewards: np.ndarray) -> pd.DataFrame:
    """Texts exactly as they were scored; `reward` is NaN where the model gave no finite number."""
    return pd.DataFrame(
        {
            "text_id": [e.text_id for e in encoded],
            "pair_id": [e.pair_id for e in encoded],
            "side": [e.side for e in encoded],
            "prompt": [t.prompt for t in texts],
            "reply": [t.reply for t in texts],
            "token_ids": [np.array(e.ids, np.int32) for e in encoded],
            "feature_positions": [list(e.feature_positions) for e in encoded],
            "tokens": [list(e.tokens) for e in encoded],
            "reply_start": np.array([e.reply_start for e in encoded], np.int32),
            "num_cut": np.array([e.num_cut for e in encoded], np.int32),
            "reward": np.asarray(rewards, np.float32),
        }
    )


def _finish(folder: Path, scan: Scan, num_shards: int) -> dict[str, Any]:
    """Move the shards into the artifact and summarise them."""
    (folder / "rows").mkdir()
    sources = [shard_folder(scan.folder, number) for number in range(num_shards)]
    shards = [folder / "rows" / f"{number:05d}.parquet" for number in range(num_shards)]
    for source, target in zip(sources, shards, strict=True):
        placed(source / "rows.parquet", target)
    _concatenate([source / "texts.parquet" for source in sources], folder / "texts.parquet")
    scored = load_table(folder / "texts.parquet", columns=["text_id", "pair_id", "side", "reward", "num_cut"])
    skipped = scored.loc[~np.isfinite(scored["reward"]), "text_id"].tolist()
    config = scan.config
    table = summary(shards, scored, num_resamples=config.num_resamples, seed=config.seed)
    save_table(table, folder / "summary.parquet")
    write_json(folder / "skipped.json", skipped)
    checked = shard_folder(scan.folder, num_shards)
    placed(checked / "audit.json", folder / "audit.json")
    rewards = scored["reward"][np.isfinite(scored["reward"])].to_numpy(float)
    return {
        "num_texts": len(scored),
        "num_pairs": int(table["num_pairs"].max()) if len(table) else 0,
        "num_features": len(table),
        "num_rows": int(table["num_texts"].sum()) if len(table) else 0,
        "num_skipped": len(skipped),
        "num_cut": int((scored["num_cut"] > 0).sum()),
        "reward_mean": float(rewards.mean()),
        "reward_std": float(rewards.std()),
        **json.loads((checked / "method.json").read_text(encoding="utf-8")),
    }


def _concatenate(sources: Sequence[Path], target: Path) -> None:
    """One table out of many, a part at a time."""
    writer = None
    try:
        for source in sources:
            part = pq.read_table(source)
            writer = writer or pq.ParquetWriter(target, part.schema, compression="zstd")
            writer.write_table(part.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
