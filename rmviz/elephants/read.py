"""Reading what the pink-elephant job keeps beside its pairs."""

import json
from typing import Any

import pyarrow.parquet as pq

from rmviz.data.keep import PAIRS
from rmviz.elephants import graph
from rmviz.elephants.graph import Traced
from rmviz.errors import NotFoundError
from rmviz.store.artifact import Artifact

STAGES, PAIRS_OF_TERMS, TRL = "stages.parquet", "terms.json", "trl.parquet"


def has_graphs(artifact: Artifact) -> bool:
    """Whether the texts of a dataset know what made them."""
    return artifact.kind == "dataset" and STAGES in artifact.files


def conversation_numbers(artifact: Artifact, *, only_pairs: bool = True) -> list[int]:
    """Numbers of the conversations, ascending; of pairs, those that the dataset has: it keeps no repeats."""
    numbers = pq.read_table(artifact.path(STAGES), columns=["number"])["number"].to_pylist()
    if not only_pairs:
        return numbers
    kept = set(pq.read_table(artifact.path(PAIRS), columns=["pair_id"])["pair_id"].to_pylist())
    return [number for number in numbers if pair_id(number) in kept]


def pair_id(number: int) -> str:
    """The id of the pair that a conversation became."""
    return f"E{number:06d}"


def stage_row(artifact: Artifact, number: int) -> dict[str, Any]:
    """What each stage made of one conversation; the row groups of others are not read.

    Raises:
        NotFoundError: There is no such conversation.
    """
    rows = pq.read_table(artifact.path(STAGES), filters=[("number", "==", number)]).to_pylist()
    if not rows:
        raise NotFoundError(f"{artifact.name} has no conversation {number}; choose one of its pairs")
    return rows[0]


def text_graph(artifact: Artifact, number: int) -> Traced:
    """The last text that was made of a conversation; its lineage is all that it came from."""
    return graph.from_records(json.loads(stage_row(artifact, number)["graph"]))
