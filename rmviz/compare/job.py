"""The compare job: the same pairs scored by every model, and what the rewards say of the models."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd

from rmviz.compare.keep import save_comparison
from rmviz.compare.scoring import Scoring
from rmviz.compare.tables import margins_of, pair_table
from rmviz.configs.base import to_dict
from rmviz.configs.compare import CompareConfig, names_of
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(config: CompareConfig, workspace: Workspace, report: Report) -> Artifact:
    """Score the pairs by every model and keep rewards, accuracy, slices, calibration and matched features.

    Raises:
        ConfigError: Fewer than two models are named, one is named twice, or effects belong to none of them.
        DataError: The dataset has no pairs there, or no pair can be scored.
        ModelError: A model or an SAE cannot be loaded.
    """
    models = compared_models(config, workspace)
    effects = _effects(config, workspace, models)
    matches = tuple((effects[0].id, other.id) for other in effects[1:])
    scoring = Scoring(workspace.root, config, tuple(model.id for model in models), matches)
    _make_shards(scoring, report)
    dataset = workspace.resolve(config.dataset, "dataset")
    rewards, num_cut = scoring.rewards(report.folder)
    if not np.isfinite(margins_of(rewards)).any():
        raise DataError("no model gives a finite reward to both texts of any pair; there is nothing to compare")
    name = config.name or f"{', '.join(model.name for model in models[:3])}{' …' if len(models) > 3 else ''}"
    parents = (dataset.id, *(model.id for model in models), *(one.id for one in effects))
    with workspace.create("comparison", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        info: dict[str, Any] = {
            "dataset": dataset.id, "split": config.split, "seed": config.seed, "num_bins": config.num_bins,
            "models": model_records(models), "effects": _by_model(effects, models),
            "matches": _matches(scoring, report, draft.folder),
        }  # fmt: skip
        draft.metrics |= save_comparison(draft.folder, info, pair_table(scoring.pairs), rewards, num_cut)
    return draft.kept


def compared_models(config: CompareConfig, workspace: Workspace) -> list[Artifact]:
    """The models that a config names, in its order; for one name alone, all kept steps of its training, in theirs.

    Raises:
        ConfigError: They are fewer than two, or one is named twice.
    """
    named = [workspace.resolve(name, "reward_model") for name in names_of(config.models)]
    if len(named) == 1:
        run_key = training_of(named[0])
        steps = [model for model in workspace.list("reward_model") if run_key and training_of(model) == run_key]
        if len(steps) < 2:
            raise ConfigError(
                f"{named[0].name} is one reward model, and comparing needs two: name others, as in `rm-a, rm-b`, or a "
                "training that kept several checkpoints"
            )
        return sorted(steps, key=lambda model: (model.metrics.get("steps") or 0, model.created))
    twice = {model.name for model in named if sum(other.id == model.id for other in named) > 1}
    if twice:
        raise ConfigError(
            f"{', '.join(sorted(twice))} is named twice; name each reward model once (by id where names repeat)"
        )
    return named


def training_of(model: Artifact) -> str:
    """The key of the training job that made a model; empty where none did."""
    job, _, _ = model.key.partition("/")
    return job if job.startswith("train.") else ""


def model_records(models: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Id and name of each model, and its step where all are steps of one training (else None)."""
    trainings = {training_of(model) for model in models}
    steps = [model.metrics.get("steps") for model in models]
    in_line = len(trainings) == 1 and "" not in trainings and all(isinstance(step, int) for step in steps)
    return [
        {"id": model.id, "name": model.name, "step": step if in_line else None}
        for model, step in zip(models, steps, strict=True)
    ]


def _make_shards(scoring: Scoring, report: Report) -> None:
    total = len(scoring.models) * len(scoring.pairs)
    done = 0
    report(done, total)
    with closing(made_shards(scoring, range(scoring.num_shards), report.folder)) as shards:
        for number, figures in shards:
            done += scoring.size(number)
            report(done, total, figures)


def _effects(config: CompareConfig, workspace: Workspace, models: Sequence[Artifact]) -> list[Artifact]:
    """The effects that a config names, in the order of their models."""
    named = [workspace.resolve(name, "effects") for name in names_of(config.effects)]
    place = {model.id: index for index, model in enumerate(models)}
    places = [next((place[ref] for ref in one.parents if ref in place), None) for one in named]
    strangers = [one.name for one, at in zip(named, places, strict=True) if at is None]
    if strangers:
        raise ConfigError(f"the effects {', '.join(strangers)} are of none of the compared models; leave them out")
    if len(set(places)) < len(places):
        raise ConfigError("two of the effects are of the same model; name at most one for each")
    if len(named) == 1:
        raise ConfigError("matching features needs the effects of two models or more; name them all, or none")
    return [one for _, one in sorted(zip(places, named, strict=True), key=lambda both: both[0] or 0)]


def _by_model(effects: Sequence[Artifact], models: Sequence[Artifact]) -> dict[str, str]:
    return {model.id: one.id for model in models for one in effects if model.id in one.parents}


def _matches(scoring: Scoring, report: Report, folder: Any) -> list[dict[str, Any]]:
    """What is known of each match of features; their tables are put together."""
    found, tables = [], []
    start = len(scoring.models) * scoring.parts_each
    for which in range(len(scoring.matches)):
        place = shard_folder(report.folder, start + which)
        found.append(json.loads((place / "match.json").read_text(encoding="utf-8")))
        tables.append(load_table(place / "features.parquet").assign(match=which))
    if tables:
        save_table(pd.concat(tables, ignore_index=True), folder / "features.parquet")
    return found
