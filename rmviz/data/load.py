"""Reading a dataset artifact: as a table, as pairs, or as single texts."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.data.keep import PAIRS, PROBLEMS, RATINGS
from rmviz.errors import ArtifactError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.types import Pair, Text

Split = Literal["train", "heldout", "all"]
_COLUMNS = ("pair_id", "prompt", "chosen", "rejected", "split", "file", "line")


def dataset_frame(artifact: Artifact, split: Split = "all", *, beginning: str = "") -> pd.DataFrame:
    """All rows as a table: pair_id, prompt, chosen, rejected, split, file, line, and the data's further columns.

    A text without a pair stands in `chosen`, with a null `rejected`.

    Args:
        artifact: A dataset.
        split: Which part.
        beginning: Only rows whose id begins so; where ids stand in order, little else is read.
    """
    filters = [] if split == "all" else [("split", "==", split)]
    if beginning:
        after = beginning[:-1] + chr(ord(beginning[-1]) + 1)
        filters += [("pair_id", ">=", beginning), ("pair_id", "<", after)]
    table = pq.read_table(artifact.path(PAIRS), columns=[*_COLUMNS, "extra"], filters=filters or None).to_pandas()
    extra = pd.DataFrame(
        [json.loads(text) if isinstance(text, str) else {} for text in table.pop("extra")], index=table.index
    )
    return table.join(extra.rename(columns={name: f"{name} (data)" for name in _COLUMNS}))


def dataset_problems(artifact: Artifact) -> dict[str, Any]:
    """`{"total": int, "problems": [{file, line, reason, excerpt}]}`: all bad rows counted, the first 1,000 listed."""
    return artifact.read_json(PROBLEMS)


def dataset_ratings(artifact: Artifact) -> pd.DataFrame | None:
    """What the pairs were made from, where they were made by ratings.

    Columns: `item`, `prompt`, `elo`, `elo_low`, `elo_high`, `strength`, `low`, `high` (nats), `num_comparisons`, `won` (ties
    count half) and `group`; best first in each group.
    """
    return load_table(artifact.path(RATINGS)) if RATINGS in artifact.files else None


def dataset_pairs(artifact: Artifact, split: Split = "all", num_pairs: int = 0, seed: int = 0) -> list[Pair]:
    """Pairs in the order of the data; texts without a pair are left out.

    Args:
        artifact: A dataset.
        split: Which part.
        num_pairs: Draw this many without replacement (a larger draw with the same seed holds the smaller); 0 takes all.
        seed: Seed of the draw.
    """
    return [item for item in _items(artifact, split, num_pairs, seed, pairs_only=True) if isinstance(item, Pair)]


def dataset_texts(artifact: Artifact, split: Split = "all", num_pairs: int = 0, seed: int = 0) -> list[Text]:
    """Single texts: chosen and rejected of each pair next to each other, and the texts that have no pair.

    Args:
        artifact: A dataset.
        split: Which part.
        num_pairs: Draw this many pairs (or texts without a pair); 0 takes all.
        seed: Seed of the draw.
    """
    texts: list[Text] = []
    for item in _items(artifact, split, num_pairs, seed, pairs_only=False):
        texts.extend(item.texts if isinstance(item, Pair) else (item,))
    return texts


def dataset_prompts(artifact: Artifact, split: Split = "all") -> list[str]:
    """Distinct prompts that are not empty, in the order of the data; the replies are not read."""
    filters = None if split == "all" else [("split", "==", split)]
    path = artifact.path(PAIRS)
    try:
        column = pq.read_table(path, columns=["prompt"], filters=filters)["prompt"]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return [prompt for prompt in column.unique().to_pylist() if prompt]


def _items(artifact: Artifact, split: Split, num_rows: int, seed: int, *, pairs_only: bool) -> Iterator[Pair | Text]:
    path = artifact.path(PAIRS)
    try:
        with pq.ParquetFile(path) as file:
            wanted = _wanted(file, split, num_rows, seed, pairs_only)
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)] - start
                if len(inside):
                    rows = file.read_row_group(group, columns=["pair_id", "prompt", "chosen", "rejected", "extra"])
                    yield from _as_items(rows.take(pa.array(inside)).to_pylist())
                start = stop
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read as a table ({error}); add the data again")


def _wanted(file: pq.ParquetFile, split: Split, num_rows: int, seed: int, pairs_only: bool) -> np.ndarray:
    """Row numbers, ascending."""
    keep = np.ones(file.metadata.num_rows, bool)
    if split != "all":
        keep &= file.read(columns=["split"])["split"].to_numpy(zero_copy_only=False) == split
    if pairs_only:
        keep &= file.read(columns=["rejected"])["rejected"].is_valid().to_numpy()
    rows = np.flatnonzero(keep)
    if 0 < num_rows < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:num_rows])
    return rows


def _as_items(rows: Iterable[dict[str, Any]]) -> Iterator[Pair | Text]:
    for row in rows:
        extra = json.loads(row.pop("extra") or "{}")
        if row["rejected"] is None:
            yield Text(text_id=row["pair_id"], prompt=row["prompt"], reply=row["chosen"])
        else:
            yield Pair(**row, extra=extra)
