"""Replies that a policy draws to learn from: drawn once, kept in a file, and read from there by a run that goes on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmviz.models.policy import Policy, Tokens
from rmviz.store.artifact import write_json
from rmviz.training.rewards import Scorer, paid


@dataclass(frozen=True)
class Group:
    """Replies to one prompt, each different one once, and what they are worth."""

    prompt: str
    rows: tuple[Tokens, ...]
    rewards: tuple[float, ...]


def grown(
    policy: Policy, scorer: Scorer, prompts: Sequence[str], file: Path, *, samples_per_prompt: int, max_new_tokens: int,
    temperature: float, seed: int,
) -> list[Group]:  # fmt: skip
    """Replies to each prompt, drawn from the policy as it is; what the file holds already is not drawn again."""
    if not file.exists():
        asked = [prompt for prompt in prompts for _ in range(samples_per_prompt)]
        replies = policy.sample(asked, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature)
        rewards = paid(scorer, asked, [reply.text for reply in replies])
        rows = [
            [reply.prompt, list(reply.tokens.ids), reply.tokens.start, float(r)]
            for reply, r in zip(replies, rewards, strict=True)
        ]
        write_json(file, rows)
    found: dict[str, dict[tuple[int, ...], tuple[Tokens, float]]] = {}
    for prompt, ids, start, reward in json.loads(file.read_text(encoding="utf-8")):
        found.setdefault(prompt, {}).setdefault(tuple(ids), (Tokens(tuple(ids), start), float(reward)))
    return [
        Group(prompt, tuple(row for row, _ in rows.values()), tuple(reward for _, reward in rows.values()))
        for prompt, rows in found.items()
    ]


def above(groups: Sequence[Group], percentile: float) -> list[Tokens]:
    """Replies at least as good as this share of those to the same prompt, the worst left out unless all are as good.

    A prompt whose replies are all worth the same teaches nothing, and is left out.
    """
    kept: list[Tokens] = []
    for group in groups:
        rewards = np.array(group.rewards)
        if rewards.min() == rewards.max():
            continue
        least = np.quantile(rewards, percentile)
        kept += [
            row for row, reward in zip(group.rows, rewards, strict=True) if reward >= least and reward > rewards.min()
        ]
    return kept


def best(groups: Sequence[Group]) -> list[Tokens]:
    """The best reply to each prompt, the first of equals."""
    return [group.rows[int(np.argmax(group.rewards))] for group in groups]


def contrasts(groups: Sequence[Group], percentile: float, rng: np.random.Generator) -> list[tuple[Tokens, Tokens]]:
    """Pairs to one prompt: a reply above its threshold over one below it, as many as there are above."""
    pairs: list[tuple[Tokens, Tokens]] = []
    for group in groups:
        rewards = np.array(group.rewards)
        least = np.quantile(rewards, percentile)
        high = [i for i in range(len(rewards)) if rewards[i] >= least and rewards[i] > rewards.min()]
        low = [i for i in range(len(rewards)) if i not in high]
        pairs += [(group.rows[i], group.rows[int(rng.choice(low))]) for i in high if low]
    return pairs


def tournament(groups: Sequence[Group], rng: np.random.Generator) -> list[tuple[Tokens, Tokens]]:
    """Pairs of a knock-out among the replies to each prompt: the better one goes on; equals make no pair.

    Source: Liu et al. 2024 (arXiv:2309.06657), section 3.3 (tournament ranking).
    """
    pairs: list[tuple[Tokens, Tokens]] = []
    for group in groups:
        left = [int(i) for i in rng.permutation(len(group.rows))]
        while len(left) > 1:
            winners = [left[-1]] if len(left) % 2 else []
            for one, other in zip(left[0::2], left[1::2], strict=False):
                high, low = (one, other) if group.rewards[one] >= group.rewards[other] else (other, one)
                winners.append(high)
                if group.rewards[high] > group.rewards[low]:
                    pairs.append((group.rows[high], group.rows[low]))
            left = winners
    return pairs
