"""The job that writes pink-elephant data and keeps it as a dataset, every stage and every text graph with it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rmviz.configs.base import to_dict
from rmviz.configs.elephants import PinkElephantsConfig
from rmviz.data.keep import PAIRS, keep_dataset
from rmviz.data.problems import Problem, Problems, excerpt
from rmviz.elephants.export import write_trl
from rmviz.elephants.read import PAIRS_OF_TERMS, STAGES, TRL, pair_id
from rmviz.elephants.writing import SCHEMA, Writing
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Report


def run(config: PinkElephantsConfig, workspace: Workspace, report: Report) -> Artifact:
    """Write the conversations shard by shard and keep those whose last turn was revised as preference pairs.

    The artifact holds, beside its pairs, `stages.parquet` (what each stage made of each conversation, why some are no pair,
    and the text graph), `terms.json` (the pairs of terms) and `trl.parquet` (the columns that TRL takes). Memory does not
    grow with the number of conversations but for one hash of each pair, by which repeats are found.

    Raises:
        DataError: No pair of terms came, or no conversation became a preference pair; the first reasons are named.
        BackendError: The server of the language model is gone, or the ceiling is reached; what it answered is kept.
    """
    writing = Writing(workspace.root, config, report.folder)
    report.folder.mkdir(parents=True, exist_ok=True)
    report(0, config.num_conversations, {"terms": float(len(writing.listed[0]))})
    _make(writing, report)
    problems, counts = Problems(), Counter[str]()
    artifact = keep_dataset(
        workspace, _pairs(writing, problems, counts), name=config.name, key=report.key, config=to_dict(config),
        heldout=config.heldout, seed=config.seed, problems=problems, parents=_parents(config, workspace),
        attach=lambda folder: _attach(writing, folder, counts),
    )  # fmt: skip
    report(config.num_conversations, config.num_conversations, {"pairs": float(artifact.metrics["num_pairs"])})
    return artifact


def _make(writing: Writing, report: Report) -> None:
    config, pairs, done = writing.config, 0.0, 0
    for stage in (range(writing.num_plan_shards), range(writing.num_plan_shards, writing.num_shards)):
        with closing(made_shards(writing, stage, writing.folder)) as made:  # conversations need all plans
            for number, figures in made:
                if number >= writing.num_plan_shards:
                    done, pairs = done + config.shard_size, pairs + figures.get("pairs", 0.0)
                    report(min(done, config.num_conversations), config.num_conversations, {"pairs": pairs})


def _rows(writing: Writing, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of all conversations, a shard in memory at a time."""
    for number in range(writing.num_plan_shards, writing.num_shards):
        table = pq.read_table(shard_folder(writing.folder, number) / STAGES, columns=columns)
        yield from table.to_pylist()


def _pairs(writing: Writing, problems: Problems, counts: Counter[str]) -> Iterator[Pair]:
    for row in _rows(writing, [name for name in SCHEMA.names if name != "graph"]):
        if row["problem"]:
            counts[row["problem"].split(":")[0]] += 1
            shown = excerpt(row["revision"] or row["original"] or row["conversation"])
            problems.add(Problem(file="", line=row["number"] + 1, reason=row["problem"], excerpt=shown))
            continue
        extra = {name: row[name] for name in ("topic", "pink", "grey", "plan", "critique", "graph_id")}
        yield Pair(
            pair_id=pair_id(row["number"]), prompt=row["prompt"], chosen=f" {row['revision']}",
            rejected=f" {row['original']}", extra=extra,
        )  # fmt: skip


def _attach(writing: Writing, folder: Path, counts: Counter[str]) -> Mapping[str, Any]:
    """Write the stages, the terms and the columns of TRL beside the pairs; figures about them."""
    with pq.ParquetWriter(folder / STAGES, SCHEMA, compression="zstd") as out:
        for number in range(writing.num_plan_shards, writing.num_shards):
            out.write_table(pq.read_table(shard_folder(writing.folder, number) / STAGES))
    terms, dropped = writing.listed
    write_json(
        folder / PAIRS_OF_TERMS,
        [{"topic": str(one.topic), "pink": str(one.pink), "grey": str(one.grey)} for one in terms],
    )
    write_trl(folder / PAIRS, folder / TRL)
    return {
        "num_conversations": writing.config.num_conversations,
        "num_topics": len({str(one.topic) for one in terms}),
        "num_terms": len(terms),
        "num_repeated_terms": dropped,
        **{
            f"num_lost_at_{stage}": counts[stage] for stage in ("plan", "conversation", "reply", "critique", "revision")
        },
    }


def _parents(config: PinkElephantsConfig, workspace: Workspace) -> tuple[str, ...]:
    found = workspace.catalogue.find(ref=config.policy, kind="policy") if config.asked == "transformers" else []
    return tuple(artifact.id for artifact in found[:1])
