"""How much of the planted truth the tool finds: its own calibration."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.groups import firing_matrix, topic_of_features
from rmviz.ablation.rows import row_files
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.ranks import spearman
from rmviz.sae.files import load_sae_artifact
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Text
from rmviz.world import lexicon
from rmviz.world.grammar import swap_topic
from rmviz.world.organism import Organism
from rmviz.world.truth import MISALIGNED_TOPIC, TRUTH, topic_presence

TOPICS = tuple(lexicon.TOPICS)
NUM_TOP = 50
NUM_SWAPS = 3
"""Neutral topics that each text's topic is swapped for; their own small effects average out."""

FLOOR = 0.01
"""Organism effects below this share of the largest are held to the error that this share allows."""

Progress = Callable[[int, int], None]


def calibrate(workspace: Workspace, progress: Progress = lambda step, total: None) -> dict[str, Any]:
    """Compare what the tool says of the planted world and of the organism with what is true of them.

    Returns:
        `topic_spearman`: over topics, effect of switching off all features that fire on the topic (mean over texts that
        hold it) against the reward model's own response to swapping the topic's words for a neutral topic's.
        `topic_sign_agreement`: share of weighted topics whose effect has the planted sign. `topic_recall_at_50`: share
        of weighted topics that own one of the 50 features with the largest |mean effect where they fire|.
        `organism_max_error`: largest relative error of an effect on the organism. `misalignment_rank`: place of the
        misaligned topic, most negative effect first. `topics`: the figures behind, per topic.

    Raises:
        NotFoundError: The planted world has not been built (`rmviz demo --build-only`).
    """
    effects = workspace.resolve("world-effects", "effects")
    sae_artifact = workspace.resolve(effects.parents[0], "sae")
    rm = from_artifact(workspace.resolve(effects.parents[2], "reward_model"))
    engine = EffectEngine(rm, load_sae_artifact(sae_artifact))
    texts, presence, owners = _owners(effects, engine.sae.d_sae)
    progress(1, 4)
    found = _topic_effects(engine, texts, presence, owners)
    progress(2, 4)
    response = np.array([swap_response(rm, texts, presence, topic) for topic in TOPICS])
    progress(3, 4)
    planted = np.array([TRUTH.topics[topic] for topic in TOPICS])
    weighted = planted != 0
    largest = _largest(load_table(effects.path("summary.parquet")))
    owned = {TOPICS[owners[feature]] for feature in largest if owners[feature] >= 0}
    result = {
        "topic_spearman": spearman(found, response),
        "topic_sign_agreement": float((np.sign(found) == np.sign(planted))[weighted].mean()),
        "topic_recall_at_50": float(np.mean([topic in owned for topic in np.array(TOPICS)[weighted]])),
        "organism_max_error": organism_error(workspace.resolve("organism-effects", "effects"), workspace),
        "misalignment_rank": int((found < found[TOPICS.index(MISALIGNED_TOPIC)]).sum()) + 1,
        "num_texts": len(texts),
        "num_features": int((owners >= 0).sum()),
        "effects": effects.id,
        "topics": [
            {
                "topic": topic,
                "planted_weight": float(planted[i]),
                "swap_response": float(response[i]),
                "effect": float(found[i]),
                "num_features": int((owners == i).sum()),
                "num_texts": int(presence[:, i].sum()),
            }
            for i, topic in enumerate(TOPICS)
        ],
    }
    progress(4, 4)
    return result


def _owners(effects: Artifact, d_sae: int) -> tuple[list[Text], np.ndarray, np.ndarray]:
    """The scanned texts, which topics stand in them, and the topic of each feature (−1: none)."""
    table = load_table(effects.path("texts.parquet"), columns=["text_id", "prompt", "reply"])
    texts = [Text(text_id=i, prompt=p, reply=r) for i, p, r in table.itertuples(index=False)]
    presence = topic_presence([f"{text.prompt}\n{text.reply}" for text in texts])
    rows = pd.concat(
        [load_table(file, columns=["text_id", "feature", "max_activation"]) for file in row_files(effects)]
    )
    index = pd.Index(table["text_id"]).get_indexer(pd.Index(rows["text_id"]))
    energy = np.square(rows["max_activation"].to_numpy(float))  # strong firings say what a feature is about
    firing = firing_matrix(index, rows["feature"].to_numpy(), (len(texts), d_sae), energy)
    return texts, presence, topic_of_features(firing, presence)


def _topic_effects(engine: EffectEngine, texts: Sequence[Text], presence: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Mean effect of all features of a topic together, over the texts that hold it."""
    groups = [np.flatnonzero(owners == i).tolist() for i in range(len(TOPICS))]
    effects = engine.group_effects(engine.rm.encode(texts), groups)
    return np.array([effects[presence[:, i], i].mean() if presence[:, i].any() else 0.0 for i in range(len(TOPICS))])


def swap_response(rm: RewardModel, texts: Sequence[Text], presence: np.ndarray, topic: str) -> float:
    """What the reward model itself pays for a topic: mean reward − reward with its words swapped for a neutral topic's."""
    holding = [text for text, holds in zip(texts, presence[:, TOPICS.index(topic)], strict=True) if holds]
    if not holding:
        return 0.0
    neutral = [name for name, weight in TRUTH.topics.items() if weight == 0 and name != topic]
    swapped = []
    for text in holding:
        rng = random.Random(f"swap {topic} {text.text_id}")
        for other in rng.sample(neutral, NUM_SWAPS):
            prompt, reply = (swap_topic(part, topic, other, rng) for part in (text.prompt, text.reply))
            swapped.append(Text(text_id=f"{text.text_id}/{other}", prompt=prompt, reply=reply))
    return float(rm.score(holding).mean() - rm.score(swapped).mean())


def _largest(summary: pd.DataFrame) -> list[int]:
    """The features with the largest |mean effect where they fire|, of those that fire in two units at least."""
    steady = summary[summary["effective_n"] >= 2]
    order = steady["firing_effect"].abs().sort_values(ascending=False, kind="stable").index
    return [int(feature) for feature in steady.loc[order[:NUM_TOP], "feature"]]


def organism_error(effects: Artifact, workspace: Workspace) -> float:
    """Largest relative error of the engine's effects on the organism against its closed form."""
    model = workspace.resolve(effects.parents[2], "reward_model")
    truth = Organism.from_json(model.read_json("truth.json"))
    texts = load_table(effects.path("texts.parquet"), columns=["text_id", "token_ids"])
    true = np.stack([truth.effects([int(i) for i in ids]) for ids in texts["token_ids"]])
    found = np.zeros_like(true)
    for file in row_files(effects):
        rows = load_table(file, columns=["text_id", "feature", "effect"])
        index = pd.Index(texts["text_id"]).get_indexer(pd.Index(rows["text_id"]))
        found[index, rows["feature"].to_numpy()] = rows["effect"].to_numpy()
    scale = np.maximum(np.abs(true), FLOOR * np.abs(true).max())
    return float((np.abs(found - true) / scale).max())
