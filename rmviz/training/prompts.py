"""The prompts that a policy is trained on, and those it is watched on."""

import logging
from collections.abc import Sequence

import numpy as np

from rmviz.data.load import Split, dataset_prompts
from rmviz.errors import DataError
from rmviz.models.policy import Policy
from rmviz.store.artifact import Artifact

_log = logging.getLogger(__name__)


def distinct_prompts(dataset: Artifact, split: Split, num_prompts: int, seed: int) -> list[str]:
    """Distinct prompts of a split in random order: `num_prompts` of them, all when 0; a larger draw holds the smaller."""
    found = dataset_prompts(dataset, split)
    order = np.random.default_rng(seed).permutation(len(found))[: num_prompts or None]
    return [found[int(place)] for place in order]


def run_prompts(
    dataset: Artifact, policy: Policy, num_prompts: int, num_watched: int, room: int, seed: int
) -> tuple[list[str], list[str]]:
    """Prompts to train on, and held-out ones to watch (training ones where the dataset holds none out).

    Raises:
        DataError: There are fewer than two prompts.
    """
    train = distinct_prompts(dataset, "train", num_prompts, seed)
    if len(train) < 2:
        raise DataError(
            f"the dataset {dataset.name} has {len(train)} prompts to train on, and at least 2 are needed; add more data"
        )
    watched = distinct_prompts(dataset, "heldout", num_watched, seed)
    if len(watched) < 2:
        _log.warning("no held-out prompts: the policy is watched on prompts that it is trained on")
        watched = train[:num_watched]
    _warn_of_cuts(policy, [*train, *watched], room)
    return train, watched


def _warn_of_cuts(policy: Policy, prompts: Sequence[str], room: int) -> None:
    most = policy.max_length - room
    long = sum(len(given) == most for given in policy.contexts(prompts, room))
    if long:
        _log.warning(
            "%d of %d prompts are longer than the %d tokens that max_length leaves for them, and lose their start",
            long, len(prompts), most,
        )  # fmt: skip
