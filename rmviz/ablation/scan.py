"""The effects job: every alive feature of an SAE, ablated on every text of a dataset, shard by shard."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from rmviz.ablation.audit import audit
from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.summary import summary
from rmviz.configs.base import to_dict
from rmviz.configs.effects import EffectsConfig
from rmviz.data.load import dataset_texts
from rmviz.errors import DataError
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact
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
    sae_artifact = workspace.resolve(config.sae, "sae")
    model_artifact = next(workspace.resolve(ref) for ref in sae_artifact.parents if ref.startswith("reward-model"))
    dataset = workspace.resolve(config.dataset, "dataset")
    texts = dataset_texts(dataset, config.split, config.num_pairs, config.seed)
    if not texts:
        raise DataError(f"dataset {dataset.name} has no texts in its {config.split} part; choose another with --split")
    rm, sae = from_artifact(model_artifact), load_sae_artifact(sae_artifact)
    engine = EffectEngine(rm, sae, max_tokens=config.max_tokens)
    _scan_shards(engine, texts, config, report)
    with workspace.create(
        "effects",
        name=config.name or f"{sae_artifact.name} on {dataset.name}",
        key=report.key,
        config=to_dict(config),
        parents=(sae_artifact.id, dataset.id, model_artifact.id),
    ) as draft:
        draft.metrics |= _finish(draft.folder, engine, texts, config, report.folder)
    return draft.kept


def _scan_shards(engine: EffectEngine, texts: Sequence[Text], config: EffectsConfig, report: Report) -> None:
    """Make the shards that are not there yet; each is written beside its place and renamed."""
    report(0, len(texts))
    num_rows = 0
    for number, start in enumerate(range(0, len(texts), config.shard_size)):
        some = texts[start : start + config.shard_size]
        folder = report.folder / f"shard-{number:05d}"
        metrics = {}
        if not folder.exists():
            begin = time.monotonic()
            rows, scored = _scanned(engine, some)
            seconds = max(time.monotonic() - begin, 1e-9)
            beside = folder.with_suffix(".half")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            save_table(rows, beside / "rows.parquet")
            save_table(scored, beside / "texts.parquet")
            beside.rename(folder)
            num_rows += len(rows)
            rewards = scored["reward"].to_numpy()
            good = rewards[np.isfinite(rewards)]
            metrics = {
                "rows": float(num_rows),
                "rows_per_second": len(rows) / seconds,
                "mean_reward": float(good.mean()) if len(good) else float("nan"),
            }
        report(start + len(some), len(texts), metrics)


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


def _finish(
    folder: Path, engine: EffectEngine, texts: Sequence[Text], config: EffectsConfig, done: Path
) -> dict[str, Any]:
    """Move the shards into the artifact and summarise them."""
    (folder / "rows").mkdir()
    shards, tables = [], []
    for number, source in enumerate(sorted(done.glob("shard-*[0-9]"))):
        shards.append(folder / "rows" / f"{number:05d}.parquet")
        _placed(source / "rows.parquet", shards[-1])
        tables.append(source / "texts.parquet")
    _concatenate(tables, folder / "texts.parquet")
    scored = load_table(folder / "texts.parquet", columns=["text_id", "pair_id", "side", "reward", "num_cut"])
    skipped = scored.loc[~np.isfinite(scored["reward"]), "text_id"].tolist()
    if len(skipped) == len(scored):
        raise DataError("no text could be scored: the reward or the activations are not finite numbers on any of them")
    table = summary(shards, scored, num_resamples=config.num_resamples, seed=config.seed)
    save_table(table, folder / "summary.parquet")
    write_json(folder / "skipped.json", skipped)
    left_out = set(skipped)
    sample = [text for text in texts if text.text_id not in left_out][:NUM_AUDITED]
    checked = audit(engine, sample)
    write_json(folder / "audit.json", checked)
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
        "method": engine.method,
        "hookpoint": engine.sae.hookpoint,
    }


def _placed(source: Path, target: Path) -> None:
    """Put a finished shard into the artifact; a link costs no copy where the file system has them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
