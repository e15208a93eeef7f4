"""Preference pairs as TRL's trainers take them, as messages and as text."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_TURN = re.compile(r"\n\n(Human|Assistant):")
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_TEXTS = ("prompt_text", "chosen_text", "rejected_text")
_ROWS = 2048
_FACTS = ("topic", "pink", "grey", "plan", "critique", "graph_id")
SCHEMA = pa.schema(
    [
        *((name, _MESSAGES) for name in ("prompt", "chosen", "rejected")),
        *((name, pa.string()) for name in (*_TEXTS, *_FACTS, "split")),
    ]
)
"""`prompt`, `chosen` and `rejected` as messages (what DPO and reward trainers take), the same as text, and the facts."""


def write_trl(pairs: Path, to: Path) -> None:
    """Write the kept pairs of a dataset in these columns, some rows at a time."""
    columns = ["prompt", "chosen", "rejected", "split", "extra"]
    with pq.ParquetFile(pairs) as source, pq.ParquetWriter(to, SCHEMA, compression="zstd") as out:
        for batch in source.iter_batches(_ROWS, columns=columns):
            out.write_batch(pa.RecordBatch.from_pylist([trl_row(row) for row in batch.to_pylist()], SCHEMA))


def trl_row(row: dict[str, Any]) -> dict[str, Any]:
    """One row of `SCHEMA` from a row of a dataset; plain strings, so that no trainer has to lay out anything."""
    texts = {f"{name}_text": row[name] for name in ("prompt", "chosen", "rejected")}
    replies = {name: [{"role": "assistant", "content": row[name].strip()}] for name in ("chosen", "rejected")}
    facts = json.loads(row["extra"] or "{}")
    return {
        "prompt": messages(row["prompt"]), **replies, **texts, "split": row["split"],
        **{name: str(facts.get(name, "")) for name in _FACTS},
    }  # fmt: skip


def messages(prompt: str) -> list[dict[str, str]]:
    """The turns of a transcript as messages; a prompt that is no transcript is one message of the user."""
    parts = _TURN.split(prompt)
    if len(parts) < 3:
        return [{"role": "user", "content": prompt.strip()}]
    roles = {"Human": "user", "Assistant": "assistant"}
    said = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": roles[role], "content": text.strip()} for role, text in said if text.strip()]
