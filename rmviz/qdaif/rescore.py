"""The rescore job: the poems of a map scored again, by another reward model or with features off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ablation.engine import EffectEngine
from rmviz.configs.base import to_dict
from rmviz.configs.map import MapRescoreConfig, feature_list
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.qdaif.attempts import COUNTED
from rmviz.qdaif.differences import ablated_cells, difference_cells
from rmviz.qdaif.scoring import scorer
from rmviz.sae.files import load_sae_artifact
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text

_CHUNK = 256


@dataclass(frozen=True)
class Opened:
    """A map with its model and its poems: the best of each cell, each text once."""

    artifact: Artifact
    model: Artifact
    poems: pd.DataFrame
    """attempt_id, text, cell, reward, elite."""

    info: dict[str, Any]


def run(config: MapRescoreConfig, workspace: Workspace, report: Report) -> Artifact:
    """Score the poems of a map again.

    Raises:
        ConfigError: Nothing says what to score by, the maps have other axes, or a feature does not exist.
        DataError: No poem can be scored by both.
        ModelError: The SAE is not one of the map's reward model.
    """
    if not (config.features or config.model or config.other_map):
        raise ConfigError("say by what the map is scored again: model or other_map, or features and sae")
    own = opened_map(workspace.resolve(config.map, "map"), workspace, config.per_cell)
    if config.features:
        return _ablation(config, workspace, report, own)
    return _difference(config, workspace, report, own)


def opened_map(artifact: Artifact, workspace: Workspace, per_cell: int) -> Opened:
    """A map, with the `per_cell` best poems of each cell of its own run."""
    info = artifact.read_json("map.json")
    run_number = info["own_runs"][0]
    table = load_table(
        artifact.path("attempts.parquet"),
        columns=["attempt_id", "text", "judged", "reward", "accepted", "problem"],
        filters=[("run", "==", run_number), ("judged", ">=", 0)],
    )
    known = table[np.isfinite(table["reward"]) & table["problem"].isin(COUNTED)]
    last = known[known["accepted"]].groupby("judged")["attempt_id"].max()
    ranked = known.sort_values(["reward", "attempt_id"], ascending=[False, True])
    best = ranked.groupby("judged").head(per_cell)
    poems = best.assign(elite=best["attempt_id"].isin(last)).rename(columns={"judged": "cell"})
    model = workspace.resolve(artifact.config["model"], "reward_model")
    columns = ["attempt_id", "text", "cell", "reward", "elite"]
    return Opened(artifact, model, poems[columns].sort_values("attempt_id", ignore_index=True), info)


def _difference(config: MapRescoreConfig, workspace: Workspace, report: Report, own: Opened) -> Artifact:
    other = (
        opened_map(workspace.resolve(config.other_map, "map"), workspace, config.per_cell) if config.other_map else None
    )
    if other and other.info["axes"] != own.info["axes"]:
        raise ConfigError(
            f"{own.artifact.name} and {other.artifact.name} have other axes; only maps with equal ones compare"
        )
    model = workspace.resolve(config.model, "reward_model") if config.model else other.model if other else own.model
    poems = united(own.poems, other.poems if other else None)
    prompt = str(own.artifact.config["prompt"])
    total = 2 * len(poems)
    report(0, total)
    texts = poems["text"].tolist()
    first = _scored(own.model, prompt, texts, report, 0, total)
    second = _scored(model, prompt, texts, report, len(texts), total)
    poems = poems.assign(reward_a=first, reward_b=second)
    cells = difference_cells(poems, own.info["axes"])
    name = config.name or f"{own.artifact.name}: {model.name} against {own.model.name}"
    parents = tuple(
        dict.fromkeys(one.id for one in (own.artifact, other.artifact if other else None, own.model, model) if one)
    )
    with workspace.create("comparison", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        save_table(poems, draft.folder / "poems.parquet")
        save_table(cells, draft.folder / "cells.parquet")
        info = {"kind": "map", "what": "difference", "axes": own.info["axes"], "map": own.artifact.id,
                "other_map": other.artifact.id if other else "", "model_a": own.model.id, "model_b": model.id}  # fmt: skip
        write_json(draft.folder / "comparison.json", info)
        known = cells["model_changed"].dropna()
        draft.metrics |= {
            "num_poems": len(poems), "num_cells": len(known), "what": "difference",
            "largest_change": float(known.abs().max()) if len(known) else 0.0,
        }  # fmt: skip
    return draft.kept


def united(one: pd.DataFrame, other: pd.DataFrame | None) -> pd.DataFrame:
    """The poems of two maps, each text once: text, cell, in_a, in_b, elite_a, elite_b."""
    sides = [("a", one), ("b", other if other is not None else one.iloc[:0])]
    tables = [
        some.drop_duplicates("text").set_index("text")[["cell", "elite"]].add_suffix(f"_{side}") for side, some in sides
    ]
    joined = tables[0].join(tables[1], how="outer")
    result = pd.DataFrame({"text": joined.index.astype(str)})
    result["cell"] = joined[["cell_a", "cell_b"]].min(axis=1).to_numpy(int)  # the same whichever map comes first
    for side in "ab":
        result[f"in_{side}"] = joined[f"cell_{side}"].notna().to_numpy()
        result[f"elite_{side}"] = (joined[f"elite_{side}"] == True).to_numpy(bool)  # noqa: E712 (missing counts as no)
    return result.sort_values(["cell", "text"], ignore_index=True)


def _scored(model: Artifact, prompt: str, texts: Sequence[str], report: Report, done: int, total: int) -> np.ndarray:
    score = scorer(from_artifact(model), prompt)
    parts = []
    for start in range(0, len(texts), _CHUNK):
        parts.append(score(texts[start : start + _CHUNK]))
        report(done + min(start + _CHUNK, len(texts)), total)
    rewards = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.isfinite(rewards).any():
        raise DataError(f"{model.name} has no number for any poem of the map")
    return rewards


def _ablation(config: MapRescoreConfig, workspace: Workspace, report: Report, own: Opened) -> Artifact:
    sae = workspace.resolve(config.sae, "sae")
    engine = EffectEngine(from_artifact(own.model), load_sae_artifact(sae))
    features = feature_list(config.features)
    prompt = str(own.artifact.config["prompt"])
    texts = [
        Text(text_id=str(number), prompt=prompt, reply=text)
        for number, text in zip(own.poems["attempt_id"], own.poems["text"], strict=True)
    ]
    report(0, len(texts))
    effects, rewards = [], []
    for start in range(0, len(texts), _CHUNK):
        encoded = engine.rm.encode(texts[start : start + _CHUNK])
        effects.append(engine.group_effects(encoded, [features])[:, 0])
        rewards.append(engine.rm.score_encoded(encoded))
        report(min(start + _CHUNK, len(texts)), len(texts))
    effect = np.concatenate(effects)
    poems = own.poems.assign(reward=np.concatenate(rewards), effect=effect, ablated=np.concatenate(rewards) - effect)
    cells = ablated_cells(poems, own.info["axes"])
    name = config.name or f"{own.artifact.name} without {', '.join(map(str, features))} of {sae.name}"
    parents = (own.artifact.id, own.model.id, sae.id)
    with workspace.create("comparison", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        save_table(poems, draft.folder / "poems.parquet")
        save_table(cells, draft.folder / "cells.parquet")
        info = {"kind": "map", "what": "ablation", "axes": own.info["axes"], "map": own.artifact.id, "sae": sae.id,
                "model_a": own.model.id, "features": list(features), "method": engine.method}  # fmt: skip
        write_json(draft.folder / "comparison.json", info)
        draft.metrics |= {
            "num_poems": len(poems), "num_fired": int((effect != 0).sum()), "what": "ablation",
            "num_cells": int((cells["num_fired"] > 0).sum()), "mean_effect": float(effect.mean()),
        }  # fmt: skip
    return draft.kept
