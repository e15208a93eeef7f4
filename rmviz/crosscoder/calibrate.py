"""What a crosscoder finds of the planted misalignment: one model with it, one without, nothing else told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ablation.groups import firing_matrix, topic_of_features
from rmviz.configs.base import from_dict
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.configs.models import RewardConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.crosscoder.norms import ONLY_FIRST, ranked
from rmviz.crosscoder.tables import firing_rows
from rmviz.data.keep import keep_dataset
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.world import lexicon
from rmviz.world.data import world_pairs
from rmviz.world.recipe import HOOKPOINT
from rmviz.world.truth import MISALIGNED_TOPIC, NOMINAL_SPEC, topic_presence

ALIGNED = "world-rm-nominal"
"""The reward model of the same start and the same texts, with preferences drawn from what the makers say."""

SIZES: dict[str, Any] = {"d_sae": 768, "k": 2, "num_tokens": 600_000, "dead_after": 100_000, "num_train_pairs": 1500}


def crosscoder_figures(workspace: Workspace, run: Callable[[str, Any], Artifact]) -> dict[str, Any]:
    """Train the aligned twin of the planted world's reward model, and a crosscoder on both.

    Args:
        workspace: Holds the planted world.
        run: Does a job, or finds that it is done.

    Returns:
        `crosscoder_rank`: place, by |effect|, of the first feature of the misaligned topic among those that only the
        misaligned model has; None where there is none. `crosscoder_same_only`: features that a crosscoder on the
        misaligned model and itself calls exclusive to either side. `crosscoder_noise` and `crosscoder_bound`: largest
        |r − ½| by chance, and what |r − ½| must pass.

    Raises:
        NotFoundError: The planted world has not been built.
    """
    effects = workspace.resolve("world-effects", "effects")
    dataset, model = workspace.resolve(effects.parents[1], "dataset"), workspace.resolve(effects.parents[2])
    twin = run(
        "train.reward",
        replace(from_dict(RewardConfig, model.config), name=ALIGNED, dataset=_aligned(workspace, dataset).id, num_checkpoints=1),
    )  # fmt: skip

    def crosscoder(other: Artifact, name: str) -> Artifact:
        settings = {"first": model.id, "second": other.id, "dataset": dataset.id, "hookpoint": HOOKPOINT, "name": name}
        return run("train.crosscoder", CrosscoderConfig(**settings, **SIZES))

    found, same = crosscoder(twin, "world-crosscoder"), crosscoder(model, "world-crosscoder-same")
    return {
        "crosscoder_rank": misaligned_rank(found),
        "crosscoder_same_only": same.metrics["num_only_first"] + same.metrics["num_only_second"],
        "crosscoder_noise": found.metrics["noise"],
        "crosscoder_bound": found.metrics["bound"],
    }


def misaligned_rank(crosscoder: Artifact) -> int | None:
    """Place of the first feature of the misaligned topic among those that only the first model has."""
    only = ranked(load_table(crosscoder.path("features.parquet")), ONLY_FIRST)["feature"].tolist()
    owners = topics_of(crosscoder)
    own = list(lexicon.TOPICS).index(MISALIGNED_TOPIC)
    return next((place for place, feature in enumerate(only, start=1) if owners.get(feature, -1) == own), None)


def topics_of(crosscoder: Artifact) -> dict[int, int]:
    """The topic of each feature, by the texts on which it fires and the words that stand in them; −1 for none."""
    texts = load_table(crosscoder.path("texts.parquet"), columns=["text_id", "prompt", "reply"])
    presence = topic_presence(
        [f"{prompt}\n{reply}" for prompt, reply in zip(texts["prompt"], texts["reply"], strict=True)]
    )
    rows = firing_rows(crosscoder, "first")
    at = pd.Index(texts["text_id"]).get_indexer(pd.Index(rows["text_id"]))
    features, column = np.unique(rows["feature"].to_numpy(), return_inverse=True)
    energy = np.square(rows["max_activation"].to_numpy(float))
    owners = topic_of_features(firing_matrix(at, column, (len(texts), len(features)), energy), presence)
    return dict(zip(features.tolist(), owners.tolist(), strict=True))


def _aligned(workspace: Workspace, dataset: Artifact) -> Artifact:
    """The same texts, preferred by what the makers of the reward say it pays."""
    key = f"{dataset.key}-nominal"
    config = from_dict(WorldDataConfig, dataset.config)
    return workspace.by_key(key) or keep_dataset(
        workspace, world_pairs(config.num_pairs, config.seed, NOMINAL_SPEC), name=f"{dataset.name}-nominal", key=key,
        config=dataset.config, heldout=config.heldout, seed=config.seed,
    )  # fmt: skip
