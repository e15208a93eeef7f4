"""The map job: search, in one run or many, and what is left of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from rmviz.configs.axes import Grid, grid_of, parse_grid
from rmviz.configs.base import to_dict
from rmviz.configs.map import MapConfig, offset_of
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.progress import CheckpointClock
from rmviz.models.load import from_artifact
from rmviz.qdaif import tables
from rmviz.qdaif.attempts import Attempt, Journal, attempt_frame
from rmviz.qdaif.open import opened_generator, opened_judge, seed_poem
from rmviz.qdaif.requests import Requests
from rmviz.qdaif.scoring import scorer
from rmviz.qdaif.search import Parts, Search
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report

METHODS = ("qdaif", "random", "fixed_seed", "quality_only")


@dataclass(frozen=True)
class Run:
    """One search of the job."""

    number: int
    method: str
    seed: int


def run(config: MapConfig, workspace: Workspace, report: Report) -> Artifact:
    """Search, and keep the map: every attempt, and the tables made from them.

    Raises:
        ConfigError: The axes, judge or policy will not do.
        DataError: No poem got a reward and a cell.
        BackendError: The server that writes the poems stopped answering; the job goes on when it is run again.
    """
    grid = grid_for(config)
    model = workspace.resolve(config.model, "reward_model")
    known = workspace.catalogue.find(ref=config.policy, kind="policy") if config.generator != "openai" else []
    policy = known[0] if known else None
    rm = from_artifact(model)
    parts = Parts(
        grid, opened_generator(config, grid, policy), opened_judge(config, grid, policy), scorer(rm, config.prompt)
    )
    settings = {"grid": asdict(grid), "model": rm.fingerprint}
    journal = Journal(report.folder, settings)
    searched(config, parts, journal, report)
    attempts = journal.attempts
    attempts = [one for one in attempts if one.run == 0]
    if not any(one.accepted for one in attempts):
        problems = ", ".join(sorted({one.problem for one in attempts}))
        raise DataError(
            f"none of {len(attempts)} poems got a reward and a cell ({problems}); see the judge and the policy"
        )
    name = config.name or f"{model.name} by {policy.name if policy else Path(config.policy).name}"
    parents = (model.id, policy.id) if policy else (model.id,)
    with workspace.create("map", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        draft.metrics |= written_tables(draft.folder, config, grid, journal)
    return draft.kept


def grid_for(config: MapConfig) -> Grid:
    """The cells that a config asks for.

    Raises:
        ConfigError: The axes file cannot be read, or its axes will not do.
    """
    if not config.axes_file:
        return parse_grid(config.rows, config.columns)
    try:
        return grid_of(yaml.safe_load(Path(config.axes_file).expanduser().read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the axes file {config.axes_file} cannot be read: {error}") from error


def runs_of(config: MapConfig) -> list[Run]:
    """The searches of a job, that of the map first."""
    others = [method for method in METHODS if method != config.method] if config.baselines else []
    kinds = [(method, repeat) for method in (config.method, *others) for repeat in range(config.num_repeats)]
    return [Run(number, method, config.seed + repeat) for number, (method, repeat) in enumerate(kinds)]


def searched(config: MapConfig, parts: Parts, journal: Journal, report: Report) -> None:
    """Do the steps that the journal does not have; each is in it before the next begins."""
    runs = runs_of(config)
    sizes = _step_sizes(config)
    total = config.num_attempts * len(runs)
    search, clock, done = None, CheckpointClock(), 0
    for number in range(len(runs) * len(sizes)):
        run, step = runs[number // len(sizes)], number % len(sizes)
        if step == 0 or search is None:
            search = _begun(config, parts, run)
        if number < len(journal.steps):
            search.replayed(journal.steps[number])
        else:
            if number == len(journal.steps):
                report(done, total)
            attempts, seconds = search.step(done, sizes[step])
            journal.add(attempts, seconds)
            last = number + 1 == len(runs) * len(sizes)
            if clock.due() or step % 5 == 4 or last:
                report(done + sizes[step], total, _progress(search))
        done += sizes[step]


def _step_sizes(config: MapConfig) -> list[int]:
    """Poems of each step of a run; the initial ones end with a step of their own."""
    initial = min(config.num_initial, config.num_attempts)
    sizes = []
    for number in (initial, config.num_attempts - initial):
        sizes += [min(config.batch_size, number - start) for start in range(0, number, config.batch_size)]
    return sizes


def _begun(config: MapConfig, parts: Parts, run: Run) -> Search:
    requests = Requests(
        run.method, parts.grid, run.seed, num_initial=config.num_initial, cross_share=config.cross_share,
        seed_poem=seed_poem(config, run.seed),
    )  # fmt: skip
    return Search(parts, requests, run=run.number, seed=run.seed, duplicate_overlap=config.duplicate_overlap)


def _progress(search: Search) -> dict[str, float]:
    stats = search.archive.stats()
    return {"coverage": stats.coverage, "qd_score": stats.qd_score, "best": stats.best, "run": float(search.run)}


def written_tables(folder: Path, config: MapConfig, grid: Grid, journal: Journal) -> dict[str, Any]:
    """Write the files of a map; its figures."""
    attempts = journal.attempts
    own = [run.number for run in runs_of(config) if run.method == config.method]
    by_run = {number: [one for one in attempts if one.run == number] for number in own}
    judged = [tables.cell_table(by_run[number], grid, config, "judged") for number in own]
    asked, _ = tables.cell_table(by_run[own[0]], grid, config, "asked")
    cells = judged[0][0]
    means = tables.mean_table(judged, grid, config.seed)
    offset = offset_of(config.qd_score_offset)
    if offset is None:
        offset = min(one.reward for one in attempts if np.isfinite(one.reward))
    curves = tables.curve_table(attempts, grid, config, offset)
    save_table(attempt_frame(attempts, grid), folder / "attempts.parquet", row_group_size=2000)
    save_table(pd.concat([cells, asked], ignore_index=True), folder / "cells.parquet")
    per_run = [table.assign(run=number) for number, (table, _) in zip(own, judged, strict=True)]
    save_table(pd.concat(per_run, ignore_index=True), folder / "run_cells.parquet")
    save_table(means, folder / "means.parquet")
    save_table(tables.confusion_table(by_run[own[0]], grid), folder / "confusion.parquet")
    save_table(curves, folder / "curves.parquet")
    save_table(tables.band_table(curves), folder / "bands.parquet")
    n = int(cells["n"].iloc[0])
    write_json(folder / "map.json", {
        "axes": [{"name": a.name, "labels": a.labels, "edges": a.edges} for a in grid.axes], "n": n,
        "qd_score_offset": offset, "runs": [asdict(run) for run in runs_of(config)], "own_runs": own,
        "seconds": _run_seconds(journal),
    })  # fmt: skip
    last = curves[curves["run"] == 0].iloc[-1]
    return {
        "num_attempts": len(attempts), "num_runs": len(runs_of(config)), "num_cells": grid.num_cells,
        "num_elites": round(last["coverage"] * grid.num_cells), "coverage": float(last["coverage"]),
        "qd_score": float(last["qd_score"]), "best": float(last["best"]), "n": n, "seed": config.seed,
        "method": config.method, **_shares(by_run[own[0]], grid), **_times(journal),
    }  # fmt: skip


def _run_seconds(journal: Journal) -> list[float]:
    """Seconds of the steps of each run."""
    totals: dict[int, float] = {}
    for step, seconds in zip(journal.steps, journal.seconds, strict=True):
        totals[step[0].run] = totals.get(step[0].run, 0.0) + seconds["all"]
    return [round(total, 3) for total in totals.values()]


def _shares(attempts: Sequence[Attempt], grid: Grid) -> dict[str, float]:
    """Share of right labels, of repeats, and of poems that the reward model had no number for."""
    asked = [one for one in attempts if one.asked >= 0 and one.problem not in ("empty", "refusal")]
    problems = [one.problem for one in attempts]
    return {
        "right_share": sum(one.asked == one.judged for one in asked) / max(1, len(asked)),
        "duplicate_share": sum(problem.endswith("duplicate") for problem in problems) / len(problems),
        "num_without_reward": float(problems.count("no reward")),
    }


def _times(journal: Journal) -> dict[str, float]:
    """Seconds of all steps, and the share of them that neither generator, judge nor reward model took."""
    total = sum(seconds["all"] for seconds in journal.seconds)
    parts = sum(seconds[name] for seconds in journal.seconds for name in ("generator", "judge", "reward"))
    return {"search_seconds": round(total, 3), "loop_share": round(1 - parts / max(total, 1e-9), 5)}
