"""Keeping a dataset: streamed to parquet, duplicates dropped, split by prompt."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rmviz.data.problems import Problem, Problems, excerpt
from rmviz.errors import DataError
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text

PAIRS, PROBLEMS, RATINGS = "pairs.parquet", "problems.json", "ratings.parquet"
SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt", pa.string()),
        ("chosen", pa.string()),  # the text itself where a row has no pair
        ("rejected", pa.string()),  # null where a row has no pair
        ("split", pa.string()),
        ("position", pa.float64()),  # where the prompt's hash lies in [0, 1): below the held-out share it is held out
        ("file", pa.string()),
        ("line", pa.int64()),
        ("extra", pa.string()),  # further columns, one JSON object
    ]
)
_CHUNK_ROWS, _CHUNK_CHARACTERS = 2048, 8_000_000
_LINE_BITS = 40


@dataclass(frozen=True)
class Located:
    """A pair or a text, and where it was read."""

    item: Pair | Text
    file: str
    line: int


def keep_dataset(
    workspace: Workspace,
    pairs: Iterable[Pair | Text],
    *,
    name: str,
    key: str = "",
    config: Mapping[str, Any] | None = None,
    heldout: float,
    seed: int,
    problems: Problems | Iterable[Problem] = (),
    parents: Sequence[str] = (),
    attach: Callable[[Path], Mapping[str, Any]] = lambda folder: {},
) -> Artifact:
    """Keep pairs (or texts) as a dataset artifact; they are read once and never all held in memory.

    `attach` is called at the end with the artifact's folder: it may write further files, and gives further metrics.

    Raises:
        DataError: There is no usable pair or text; the first reasons are named.
    """
    located = (Located(item, "", number) for number, item in enumerate(pairs, start=1))
    return keep_located(
        workspace,
        located,
        name=name,
        key=key,
        config=config,
        heldout=heldout,
        seed=seed,
        problems=problems,
        parents=parents,
        attach=attach,
    )


def keep_located(
    workspace: Workspace,
    rows: Iterable[Located],
    *,
    name: str,
    key: str,
    config: Mapping[str, Any] | None,
    heldout: float,
    seed: int,
    problems: Problems | Iterable[Problem] = (),
    parents: Sequence[str] = (),
    attach: Callable[[Path], Mapping[str, Any]] = lambda folder: {},
) -> Artifact:
    """`keep_dataset` for rows that know their file and line; `problems` may grow while rows are read."""
    found = problems if isinstance(problems, Problems) else Problems(problems)
    with workspace.create("dataset", name=name, key=key, config=config, parents=tuple(parents)) as draft:
        writer = _Writer(draft.folder / PAIRS, heldout, seed, found)
        try:
            for row in rows:
                writer.add(row)
        finally:
            writer.close()
        if not writer.num_pairs + writer.num_texts:
            raise DataError(_nothing_usable(found))
        if heldout:
            writer.fill_both_splits()
        write_json(draft.folder / PROBLEMS, found.to_json())
        draft.metrics.update({**writer.metrics(), **attach(draft.folder)})
    return draft.kept


def prompt_position(prompt: str, seed: int) -> float:
    """Where a prompt lies in [0, 1): uniform over prompts, the same for the same prompt and seed."""
    digest = hashlib.blake2b(f"{seed}\0{prompt}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


class _Writer:
    """Streams rows to parquet and counts them."""

    def __init__(self, path: Path, heldout: float, seed: int, problems: Problems) -> None:
        self.path, self.heldout, self.seed, self.problems = path, heldout, seed, problems
        self.num_pairs = self.num_texts = 0
        self.num_rows = {"train": 0, "heldout": 0}
        self._seen: dict[int, int] = {}
        self._files: dict[str, int] = {}
        self._ends = (2.0, -1.0)  # lowest and highest position met
        self._chunk: list[dict[str, Any]] = []
        self._characters = 0
        self._parquet = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def add(self, row: Located) -> None:
        """Write one row, unless it is a duplicate or cannot be stored."""
        item = row.item
        pair = isinstance(item, Pair)
        prompt, chosen, rejected = item.prompt, (item.chosen if pair else item.reply), (item.rejected if pair else None)
        try:
            digest = _digest(prompt, chosen, rejected)
        except UnicodeEncodeError:
            self._refuse(row, "holds half a surrogate pair, which is not a character", chosen)
            return
        if digest in self._seen:
            self.problems.num_duplicates += 1
            self._refuse(row, f"duplicate of {self._place_named(self._seen[digest], row.file)}", chosen)
            return
        self._seen[digest] = self._place(row)
        position = prompt_position(prompt or min(chosen, rejected or chosen), self.seed)
        self._ends = (min(self._ends[0], position), max(self._ends[1], position))
        split = "heldout" if position < self.heldout else "train"
        self.num_rows[split] += 1
        self.num_pairs, self.num_texts = self.num_pairs + pair, self.num_texts + (not pair)
        values = {
            "pair_id": item.pair_id if pair else item.text_id,
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
        }
        values |= {"split": split, "position": position, "file": row.file, "line": row.line}
        self._chunk.append(values | {"extra": json.dumps(dict(item.extra)) if pair and item.extra else None})
        self._characters += len(prompt) + len(chosen) + len(rejected or "")
        if len(self._chunk) >= _CHUNK_ROWS or self._characters >= _CHUNK_CHARACTERS:
            self._flush()

    def close(self) -> None:
        """Finish the file."""
        self._flush()
        self._parquet.close()

    def fill_both_splits(self) -> None:
        """Move one prompt when so few were read that one side of the split is empty."""
        if all(self.num_rows.values()) or self._ends[0] == self._ends[1]:
            return
        low, high = self._ends
        only_low = self.num_rows["heldout"] == 0
        moved = self.path.with_suffix(".moved")
        self.num_rows = {"train": 0, "heldout": 0}
        with pq.ParquetFile(self.path) as old, pq.ParquetWriter(moved, SCHEMA, compression="zstd") as new:
            for batch in old.iter_batches():
                column = batch.column("position")
                held = pc.equal(column, low) if only_low else pc.less(column, high)  # type: ignore[attr-defined]
                split = pa.array(["heldout" if value else "train" for value in held.to_pylist()])
                for value in split.to_pylist():
                    self.num_rows[value] += 1
                new.write_batch(batch.set_column(SCHEMA.get_field_index("split"), "split", split))
        moved.replace(self.path)

    def metrics(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {
            "num_pairs": self.num_pairs,
            "num_texts": 2 * self.num_pairs + self.num_texts,
            "num_bad": self.problems.total,
            "num_duplicates": self.problems.num_duplicates,
            "num_train": self.num_rows["train"],
            "num_heldout": self.num_rows["heldout"],
            "kind": "pairs" if self.num_pairs else "texts",
        }

    def _flush(self) -> None:
        if self._chunk:
            self._parquet.write_table(pa.Table.from_pylist(self._chunk, schema=SCHEMA))
        self._chunk, self._characters = [], 0

    def _refuse(self, row: Located, reason: str, shown: str) -> None:
        self.problems.add(Problem(file=row.file, line=row.line, reason=reason, excerpt=excerpt(shown)))

    def _place(self, row: Located) -> int:
        """File and line in one integer: a million of them must fit into memory."""
        return self._files.setdefault(row.file, len(self._files)) << _LINE_BITS | row.line

    def _place_named(self, place: int, file: str) -> str:
        first_file = list(self._files)[place >> _LINE_BITS]
        line = f"line {place & (1 << _LINE_BITS) - 1}"
        return line if first_file == file else f"{line} of {first_file}"


def _digest(prompt: str, chosen: str, rejected: str | None) -> int:
    parts = [prompt, chosen] if rejected is None else [prompt, chosen, rejected]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _nothing_usable(problems: Problems) -> str:
    if not problems.total:
        return "the data has no row; give preference pairs (prompt, chosen, rejected) or texts (text)"
    reasons = "; ".join(str(problem) for problem, _ in zip(problems, range(3), strict=False))
    return f"none of the {problems.total} rows can be used: {reasons}"
