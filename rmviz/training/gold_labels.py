"""The job in which a gold model stands in for people: pairs of a policy's replies, and which of them it prefers."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import exp

from rmviz.configs.base import to_dict
from rmviz.configs.rl import PreferencesConfig
from rmviz.data.add import keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.models.policy import Reply
from rmviz.models.policy_files import load_policy
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.training.prompts import distinct_prompts
from rmviz.training.rewards import Scorer, opened_scorer, paid, unjudged
from rmviz.training.sources import parents_of, policy_source
from rmviz.types import Pair, Report

_BLOCK = 128
_MOST_TRIES = 20
"""Times the wanted pairs that are drawn before the policy counts as one that always writes the same."""


def run(config: PreferencesConfig, workspace: Workspace, report: Report) -> Artifact:
    """Draw pairs block by block, let the gold model prefer, and keep them as a dataset.

    Blocks depend on the seed and their number alone, and are kept: a run that is taken up again ends the same. Columns: `gold_chosen`,
    `gold_rejected` (gold rewards) and `turned` (whether the label was turned round). Metrics: `gold_mean` of all replies,
    `turned` (share), `agreement`, the share of pairs whose chosen reply the gold model really prefers.

    Raises:
        DataError: The policy writes the same reply to each prompt again and again, or there are no prompts.
    """
    dataset = workspace.resolve(config.dataset, "dataset")
    policy, scorer = load_policy(policy_source(workspace, config.policy)), opened_scorer(config.gold, workspace)
    prompts = distinct_prompts(dataset, config.split, 0, config.seed)
    if not prompts:
        raise DataError(f"the dataset {dataset.name} has no prompts in its {config.split} split; choose another one")
    labelled: list[Pair] = []
    for block in range(_MOST_TRIES * (1 + config.num_pairs // _BLOCK)):
        if len(labelled) >= config.num_pairs:
            break
        file = report.folder / f"block-{block}.json"
        if not file.exists():
            rng = random.Random(f"preferences {config.seed} {block}")
            asked = [prompt for prompt in rng.choices(prompts, k=_BLOCK) for _ in range(2)]
            replies = policy.sample(
                asked, seed=config.seed * 10_007 + block, max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
            )  # fmt: skip
            pairs = preferred(replies, scorer, config, rng, len(labelled))
            report.folder.mkdir(parents=True, exist_ok=True)
            write_json(file, [asdict(pair) for pair in pairs])
        labelled += [Pair(**values) for values in json.loads(file.read_text(encoding="utf-8"))]
        report(min(len(labelled), config.num_pairs), config.num_pairs)
    labelled = labelled[: config.num_pairs]
    if len(labelled) < config.num_pairs:
        raise DataError(
            f"the policy writes the same reply again and again: {len(labelled)} of {config.num_pairs} pairs differ; raise "
            "temperature, or ask for fewer pairs"
        )
    earlier = dataset_pairs(workspace.resolve(config.earlier, "dataset")) if config.earlier else []
    return keep_dataset(
        workspace, _together(earlier, labelled), name=config.name or f"{policy.name} by {scorer.name}", key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed,
        parents=parents_of(config, workspace),
        attach=lambda folder: _figures(labelled),
    )  # fmt: skip


def preferred(
    replies: Sequence[Reply], scorer: Scorer, config: PreferencesConfig, rng: random.Random, first: int
) -> list[Pair]:
    """Pairs of neighbouring replies, the preferred one chosen; equal replies, equal gold rewards, and replies without one make no pair."""
    prompts, texts = [reply.prompt for reply in replies], [reply.text for reply in replies]
    golds = paid(scorer, prompts, texts)
    missing = unjudged(scorer, prompts, texts)
    pairs: list[Pair] = []
    for place in range(0, len(replies), 2):
        one, other, gap = replies[place], replies[place + 1], float(golds[place] - golds[place + 1])
        draw, turn = rng.random(), rng.random() < config.noise
        if one.text == other.text or gap == 0 or missing[place : place + 2].any():
            continue
        likely = (
            1 / (1 + exp(-min(max(gap / config.label_temperature, -700), 700))) if config.label_temperature else gap > 0
        )
        first_wins = (draw < likely) != turn
        better, worse = (one, other) if first_wins else (other, one)
        high, low = (golds[place], golds[place + 1]) if first_wins else (golds[place + 1], golds[place])
        pairs.append(
            Pair(
                pair_id=f"G{config.seed}-{first + len(pairs):06d}", prompt=one.prompt, chosen=better.text, rejected=worse.text,
                extra={"gold_chosen": float(high), "gold_rejected": float(low), "turned": turn},
            )
        )  # fmt: skip
    return pairs


def _together(earlier: Sequence[Pair], labelled: Sequence[Pair]) -> Iterator[Pair]:
    yield from earlier
    yield from labelled


def _figures(pairs: Sequence[Pair]) -> dict[str, float]:
    golds = [(float(str(pair.extra["gold_chosen"])), float(str(pair.extra["gold_rejected"]))) for pair in pairs]
    return {
        "gold_mean": sum(map(sum, golds)) / (2 * len(golds)),
        "turned": sum(bool(pair.extra["turned"]) for pair in pairs) / len(pairs),
        "agreement": sum(high > low for high, low in golds) / len(pairs),
        "labels": len(pairs),
    }
