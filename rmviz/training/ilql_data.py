"""Replies as implicit Q-learning reads them: which of their tokens are actions, and what each is paid."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from rmviz.configs.ilql import IlqlConfig
from rmviz.data.load import dataset_pairs, dataset_texts
from rmviz.errors import DataError
from rmviz.models.encoding import Encoded
from rmviz.models.policy import Policy, Tokens
from rmviz.models.reward_model import RewardModel, length_buckets
from rmviz.store.artifact import Artifact
from rmviz.training.ilql_losses import shaped
from rmviz.training.rewards import Scorer, paid
from rmviz.types import Text

_log = logging.getLogger(__name__)
_AT_ONCE = 256


@dataclass(frozen=True)
class Episode:
    """One reply."""

    tokens: Tokens
    actions: Bool[np.ndarray, " token"]
    """Of the reply's tokens: which are the policy's own. The others are draws of the environment."""
    rewards: Float[np.ndarray, " action"]


@dataclass(frozen=True)
class Episodes:
    """The data of a run, and what is told of it."""

    rows: list[Episode]
    num_same: int
    """Pairs left out because both sides are the same."""
    reward_mean: float
    reward_std: float
    """Of whole replies, before they were standardised."""


def episodes(
    config: IlqlConfig, policy: Policy, dataset: Artifact, scorer: Scorer | None, told: Callable[[int], None]
) -> Episodes:
    """The replies of a dataset's training split, with a reward for each action.

    Args:
        config: How they are paid.
        policy: Whose tokens they become.
        dataset: Pairs; also texts without a pair where a reward is paid.
        scorer: What pays them; None where signs are paid.
        told: Called with the number of replies that are ready.

    Raises:
        DataError: Fewer than two replies, no pair with a prompt, no reply with an action, or all are paid the same.
    """
    texts, signs, num_same = _signed(config, policy, dataset) if scorer is None else (*_scored(config, dataset), 0)
    if len(texts) < 2:
        raise DataError(
            f"the dataset {dataset.name} has {len(texts)} replies to learn from, and at least 2 are needed; add more data"
        )
    whole = paid(scorer, [one.prompt for one in texts], [one.reply for one in texts]) if scorer else np.array(signs)
    mean, std = float(whole.mean()), float(whole.std())
    if std < 1e-12:
        raise DataError(
            f"all {len(texts)} replies of {dataset.name} are paid {mean:.4g}, so no token is better than another; choose "
            "another reward or other data"
        )
    scale = (mean, std) if config.standardise else (0.0, 1.0)
    rows: list[Episode] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        rows += _episodes(
            config, policy, some, (whole[start : start + _AT_ONCE] - scale[0]) / scale[1], scorer, scale[1]
        )
        told(start + len(some))
    rows = [one for one in rows if one.actions.any()]
    if len(rows) < 2:
        raise DataError(f"environment {config.environment!r} leaves the policy no token of its own in {dataset.name}")
    cut = sum(len(one.tokens.ids) == policy.max_length for one in rows)
    if cut:
        _log.warning(
            "%d of %d texts fill the %d tokens of max_length: what was longer has lost the start of its prompt or its end",
            cut, len(rows), policy.max_length,
        )  # fmt: skip
    return Episodes(rows, num_same, mean, std)


def _signed(config: IlqlConfig, policy: Policy, dataset: Artifact) -> tuple[list[Text], list[float], int]:
    pairs = dataset_pairs(dataset, "train", config.num_prompts, config.seed)
    if not pairs:
        raise DataError(
            f"the dataset {dataset.name} has no pair to train on; signs need chosen and rejected replies, or set "
            "reward_source to reward"
        )
    named = [pair for pair in pairs if pair.prompt]
    _tell_left_out(len(pairs) - len(named), len(pairs), "pairs")
    if not named:
        raise DataError(
            f"all {len(pairs)} pairs of {dataset.name} have an empty prompt, so the policy has nothing to answer; add data "
            "with prompts"
        )
    differ = [
        pair for pair in named if policy.encode(pair.prompt, pair.chosen) != policy.encode(pair.prompt, pair.rejected)
    ]
    if not differ:
        raise DataError(
            f"chosen and rejected are the same in all {len(named)} pairs of {dataset.name} (within max_length "
            f"{policy.max_length}), so signs tell nothing; choose other data"
        )
    return [text for pair in differ for text in pair.texts], [1.0, -1.0] * len(differ), len(named) - len(differ)


def _scored(config: IlqlConfig, dataset: Artifact) -> tuple[list[Text], list[float]]:
    texts = dataset_texts(dataset, "train", config.num_prompts, config.seed)
    named = [text for text in texts if text.prompt]
    _tell_left_out(len(texts) - len(named), len(texts), "texts")
    return named, []


def _tell_left_out(number: int, total: int, what: str) -> None:
    if number:
        _log.warning("%d of %d %s are left out: their prompt is empty", number, total, what)


def _episodes(
    config: IlqlConfig,
    policy: Policy,
    texts: Sequence[Text],
    whole: Float[np.ndarray, " text"],
    scorer: Scorer | None,
    scale: float,
) -> list[Episode]:
    tokens = [policy.encode(text.prompt, text.reply) for text in texts]
    apart = bool(config.environment) or config.shaping != "none"
    prefixes = [prefix_texts(policy, one.reply) if apart else [] for one in tokens]
    owns = [
        own_tokens(config.environment, some, _unended(policy, one.reply))
        if config.environment
        else np.ones(len(one.reply), dtype=bool)
        for one, some in zip(tokens, prefixes, strict=True)
    ]
    levels = potentials(scorer, policy, texts, prefixes) if scorer and config.shaping != "none" else [None] * len(texts)
    found = []
    for one, own, reward, level in zip(tokens, owns, whole.tolist(), levels, strict=True):
        rewards = np.zeros(int(own.sum()))
        if len(rewards):
            rewards[-1] = reward
            if level is not None:
                held = _by_turn(level, own) if config.shaping == "turn" else level
                rewards = _shaped(rewards, held[own] / scale, config.gamma)
        found.append(Episode(one, own, rewards))
    return found


def _shaped(rewards: np.ndarray, potentials: np.ndarray, gamma: float) -> np.ndarray:
    return shaped(torch.from_numpy(rewards), torch.from_numpy(potentials), gamma).numpy()


def prefix_texts(policy: Policy, reply: Sequence[int]) -> list[str]:
    """What has been written before each token of a reply, in order: the first is empty."""
    return [policy.tokenizer.decode(reply[:end], skip_special_tokens=True) for end in range(len(reply))]


def _unended(policy: Policy, reply: Sequence[int]) -> str | None:
    """All that a reply says which was cut before its end."""
    return None if reply[-1] == policy.eos_id else policy.tokenizer.decode(reply, skip_special_tokens=True)


def own_tokens(environment: str, prefixes: Sequence[str], unended: str | None = None) -> Bool[np.ndarray, " token"]:
    """Which tokens of a reply, given by what is written before each, do not end within a match of the environment.

    The last token ends the reply (EOS), which is always an action; `unended` is all that a reply says which has no EOS.
    """
    texts = [*prefixes, *([] if unended is None else [unended])]
    spans = [match.span() for match in re.finditer(environment, texts[-1], re.DOTALL)]
    own = [not any(low < len(text) <= high for low, high in spans) for text in texts[1:]]
    return np.array([*own, True] if unended is None else own)


def potentials(
    scorer: Scorer, policy: Policy, texts: Sequence[Text], prefixes: Sequence[Sequence[str]]
) -> list[Float[np.ndarray, " token"]]:
    """The score of each prefix of each reply.

    A causal reward model reads all prefixes in one forward (without the EOS that it may end whole texts with); any other
    scorer is asked about each.
    """
    if isinstance(scorer, RewardModel) and scorer.causal:
        return _read_potentials(scorer, texts, prefixes)
    asked = [(text.prompt, prefix) for text, some in zip(texts, prefixes, strict=True) for prefix in some]
    scores = paid(scorer, [prompt for prompt, _ in asked], [policy.as_reply(*one) for one in asked])
    return np.split(scores, np.cumsum([len(some) for some in prefixes])[:-1])


@torch.no_grad()
def _read_potentials(
    rm: RewardModel, texts: Sequence[Text], prefixes: Sequence[Sequence[str]]
) -> list[Float[np.ndarray, " token"]]:
    encoded = rm.encode(texts)
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for rows in length_buckets([len(one.ids) for one in encoded], 8192):
        curves = rm.head(rm.hidden_states(rm.collate([encoded[row] for row in rows])))[..., 0].double().cpu().numpy()
        for row, curve in zip(rows, curves, strict=True):
            found[row] = curve[_read_up_to(encoded[row], prefixes[row])]
    return found


def _read_up_to(encoded: Encoded, prefixes: Sequence[str]) -> np.ndarray:
    """Index of the last token of a text that lies whole within each prefix of its reply; blanks do not count."""
    start = encoded.reply_start
    shown = [
        _num_marks(token) if defined else 0
        for token, defined in zip(encoded.tokens[start:], encoded.feature_positions[start:], strict=True)
    ]
    ends = np.cumsum([0, *shown])
    written = np.array([_num_marks(prefix) for prefix in prefixes])
    lost = max(0, written[-1] - ends[-1])  # what the reward model cut off the reply's start
    last = np.searchsorted(ends, written - lost, side="right") - 1
    return np.clip(start - 1 + last, 0, len(encoded.ids) - 1)


def _num_marks(text: str) -> int:
    return sum(not mark.isspace() for mark in text)


def _by_turn(level: Float[np.ndarray, " token"], own: Bool[np.ndarray, " token"]) -> Float[np.ndarray, " token"]:
    """Each token's potential as it was when the environment last wrote."""
    starts = np.arange(len(own)) * np.concatenate([[True], ~own[:-1]])
    return level[np.maximum.accumulate(starts)]
