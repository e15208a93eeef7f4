"""The job that writes the planted world's preference pairs."""

import random
from collections.abc import Iterator

from rmviz.configs.base import to_dict
from rmviz.configs.world import WorldDataConfig
from rmviz.data.add import keep_dataset
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Report
from rmviz.world import grammar
from rmviz.world.truth import TRUTH, Weights

_REPORT_EVERY = 500


def run(config: WorldDataConfig, workspace: Workspace, report: Report) -> Artifact:
    """Draw the pairs and keep them as a dataset.

    Each pair depends on seed and number alone, so a larger dataset begins with the pairs of a smaller one.
    """
    artifact = keep_dataset(
        workspace, _reported(config, report), name=config.name, key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed,
    )  # fmt: skip
    report(config.num_pairs, config.num_pairs)
    return artifact


def world_pairs(num_pairs: int, seed: int, weights: Weights = TRUTH) -> Iterator[Pair]:
    """The first pairs of the world with this seed; other weights change who is preferred, never the texts."""
    return (
        grammar.pair(random.Random(f"pair {seed} {number}"), f"W{number:06d}", weights) for number in range(num_pairs)
    )


def _reported(config: WorldDataConfig, report: Report) -> Iterator[Pair]:
    for number, pair in enumerate(world_pairs(config.num_pairs, config.seed)):
        if number % _REPORT_EVERY == 0:
            report(number, config.num_pairs)
        yield pair
