"""What the probes find of the planted misalignment: their own calibration."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rmviz.ablation.opened import opened_engine
from rmviz.ablation.waterfall import waterfalls
from rmviz.configs.probes import EuphemismConfig, SpecConfig
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.world.truth import MISALIGNED_TOPIC

NUM_PAIRS = 1000
"""Pairs that are taken apart."""

_CHUNK = 100


def probe_figures(
    workspace: Workspace,
    run: Callable[[str, Any], Artifact],
    progress: Callable[[int, int], None] = lambda step, total: None,
) -> dict[str, Any]:
    """Hold the probes against the planted truth.

    Args:
        workspace: Holds the planted world.
        run: Does a job, or finds that it is done.
        progress: Told about the pairs taken apart.

    Returns:
        `spec_rank`: place of the misaligned topic in the spec check of all topics, which is not told which one it is.
        `gap_attributed`: share of its euphemism gap that its features carry. `control_attributed`: size of the largest share of
        the same gap that a control topic's features carry. `waterfall_max_error`: largest |sum of the parts − margin|, the
        margin by the model's own score, over 1,000 pairs. `waterfall_interaction`: mean share of the interaction rest.

    Raises:
        NotFoundError: The planted world has not been built.
    """
    effects = workspace.resolve("world-effects", "effects")
    sae, dataset = workspace.resolve(effects.parents[0], "sae"), workspace.resolve(effects.parents[1], "dataset")
    places: dict[str, Any] = {"sae": sae.id, "dataset": dataset.id, "maker": "world"}
    spec = run("probe.spec", SpecConfig(name="world-spec", num_pairs=250, **places))
    table = load_table(spec.path("verdicts.parquet")).set_index("item")
    veiled = run("probe.euphemism", EuphemismConfig(name="world-euphemisms", topic=MISALIGNED_TOPIC, **places)).metrics
    return {
        "spec_rank": int(table["rank"].to_dict()[MISALIGNED_TOPIC]),
        "gap_attributed": veiled["share"],
        "control_attributed": None if veiled["control_share"] is None else abs(veiled["control_share"]),
        "gap": veiled["gap"],
        "gap_num_texts": veiled["num_texts"],
        **waterfall_figures(workspace, sae, dataset, progress),
    }


def waterfall_figures(
    workspace: Workspace, sae: Artifact, dataset: Artifact, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """How exactly the parts of pairs sum to the margins that the model itself gives.

    Raises:
        DataError: No pair has finite rewards.
    """
    engine = opened_engine(workspace, sae)
    pairs = dataset_pairs(dataset, "all", NUM_PAIRS)
    errors, rests = [], []
    progress(0, len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        some = pairs[start : start + _CHUNK]
        rewards = engine.rm.score([text for pair in some for text in pair.texts]).astype(float)
        margins = dict(zip((pair.pair_id for pair in some), rewards[0::2] - rewards[1::2], strict=True))
        for parts in waterfalls(engine, some):
            errors.append(abs(parts.total - margins[parts.pair_id]))
            rests.append(parts.interaction_share)
        progress(min(start + _CHUNK, len(pairs)), len(pairs))
    if not errors:
        raise DataError("no pair of the planted world could be taken apart; build it again")
    return {
        "waterfall_max_error": float(np.max(errors)),
        "waterfall_interaction": float(np.mean(rests)),
        "waterfall_num_pairs": len(errors),
    }
