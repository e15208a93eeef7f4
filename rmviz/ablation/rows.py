"""Effects for others: rows and texts as plain parquet, checkable with transformers and SAELens alone."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.errors import ConfigError
from rmviz.store.artifact import Artifact

ROWS = ("text_id", "pair_id", "side", "feature", "first_position", "max_activation", "effect", "first_order")
TEXTS = ("text_id", "pair_id", "side", "prompt", "reply", "token_ids", "feature_positions", "reward")


def row_files(effects: Artifact) -> list[Path]:
    """The parquet files with one row per (text, feature) that fires, in the order of the texts."""
    return [effects.path(name) for name in sorted(effects.files) if name.startswith("rows/")]


def placed(source: Path, target: Path) -> None:
    """Put a finished shard into an artifact; a link costs no copy where the file system has them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def export(effects: Artifact, rows: Path, texts: Path) -> dict[str, Any]:
    """Write an effects artifact's rows and texts as one parquet file each.

    `rows`: text_id, pair_id, side, feature, first_position (of the token), max_activation, effect (reward with −
    reward without the feature), first_order (gradient × activation). `texts`: text_id, pair_id, side, prompt, reply,
    token_ids (the model's whole input), feature_positions (indices of the tokens on which features are defined),
    reward.

    Returns:
        Numbers of rows and texts, and where they are.

    Raises:
        ConfigError: A target folder does not exist or cannot be written.
    """
    num_rows = _copied(row_files(effects), rows, lambda table: table.select(ROWS))
    num_texts = _copied([effects.path("texts.parquet")], texts, _as_positions)
    return {"rows": num_rows, "texts": num_texts, "rows_file": str(rows), "texts_file": str(texts)}


def _as_positions(table: pa.Table) -> pa.Table:
    where = [np.flatnonzero(mask).astype(np.int32) for mask in table["feature_positions"].to_pylist()]
    index = table.schema.get_field_index("feature_positions")
    return table.set_column(index, "feature_positions", pa.array(where, pa.list_(pa.int32()))).select(TEXTS)


def _parts(sources: list[Path]) -> Iterator[pa.Table]:
    for source in sources:
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=262_144):
                yield pa.Table.from_batches([batch])


def _copied(sources: list[Path], target: Path, change: Callable[[pa.Table], pa.Table]) -> int:
    """Write all parts, beside the target first, so that an interrupted export leaves nothing half-written."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    writer, count = None, 0
    try:
        for part in _parts(sources):
            table = change(part)
            writer = writer or pq.ParquetWriter(beside, table.schema, compression="zstd")
            writer.write_table(table)
            count += table.num_rows
        if writer is None:
            pq.write_table(pa.table({name: pa.array([], pa.null()) for name in ROWS}), beside)
        else:
            writer.close()
        beside.replace(target)
    except OSError as error:
        raise ConfigError(
            f"cannot write {target}: {error.strerror or error}; choose a file in a folder you can write to"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return count
