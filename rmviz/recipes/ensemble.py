"""`rmviz recipe ensemble`: does a policy that is chosen by several reward models exploit them less than one's?

On the planted world, whose true reward is known: best-of-n by one reward model, by an ensemble's mean, and by its mean less
its disagreement, all trained on the same few labels.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rmviz.configs.ensemble import EnsembleConfig
from rmviz.models.ensemble import conservative, open_ensemble
from rmviz.models.policy_files import load_policy
from rmviz.qdaif.statistics import best_of_weights, summary_of
from rmviz.ranks import standardised
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Text
from rmviz.world.recipe import demo_configs
from rmviz.world.tasks import task_named
from rmviz.world.truth import true_reward

Execute = Callable[[str, Any], Artifact]
_STEPS = ("world", "world-lm")
_NS = (1, 2, 4, 8, 16, 32, 64)
_WAYS = ("one model", "mean", "mean less disagreement")
_NUM_PROMPTS, _NUM_SAMPLES, _TEMPERATURE = 32, 64, 1.3


def ensemble_recipe(
    space: Workspace, execute: Execute, num_seeds: int, num_members: int, num_pairs: int, penalty: float
) -> dict[str, Any]:
    """Train the ensembles, sample replies, choose the best of n by each way, and pay them by the true reward.

    Args:
        space: Where all is kept; a second call with the same numbers reads the result of the first.
        execute: Does a job, or finds that it is done.
        num_seeds: Ensembles, each with seeds of its own.
        num_members: Reward models in each.
        num_pairs: Labelled pairs that each member may draw from.
        penalty: λ.

    Returns:
        `gold`, by way and n: the true reward of the chosen reply, mean with 95 % interval over ensembles; `promised` and
        `kept`: how far the chooser's own reward and the true one rise from n = 1 to the largest n, in standard deviations
        of each over all replies (a gap is over-optimisation); `gain`: gold of the last way less that of one model at the
        largest n; `disagreement` on held-out texts and on shuffled ones; `accuracy`; `seconds`; `experiment`.
    """
    key = f"recipe.ensemble-{num_seeds}-{num_members}-{num_pairs}-{penalty:g}"
    if done := space.by_key(key):
        return {**done.read_json("report.json"), "experiment": done.id}
    start = time.monotonic()
    for name, kind, config in demo_configs():
        if name in _STEPS:
            execute(kind, config)
    settings = _settings(space, num_members, num_pairs, penalty)
    ensembles = [
        execute("train.ensemble", EnsembleConfig(**settings, name=f"ensemble-{seed + 1}", seed=100 * seed))
        for seed in range(num_seeds)
    ]
    texts = _replies(space)
    gold = np.array([true_reward(text.reply) for text in texts])
    curves = [_curves(open_ensemble(one, space).member_rewards(texts), one, gold) for one in ensembles]
    report = _report(curves, ensembles) | {
        "num_seeds": num_seeds, "num_members": num_members, "num_pairs": num_pairs, "penalty": penalty,
        "num_prompts": _NUM_PROMPTS, "num_samples": _NUM_SAMPLES, "temperature": _TEMPERATURE,
        "seeds": [int(one.metrics["seed"]) for one in ensembles],
        "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    parents = tuple(one.id for one in ensembles)
    with space.create("experiment", name="ensemble", key=key, config=settings, parents=parents) as draft:
        write_json(draft.folder / "report.json", report)
        draft.metrics |= {"what": "ensemble", "gain": report["gain"]["mean"], "seconds": report["seconds"]}
    return {**report, "experiment": draft.kept.id}


def _settings(space: Workspace, num_members: int, num_pairs: int, penalty: float) -> dict[str, Any]:
    return {
        "dataset": space.resolve("world", "dataset").id, "base": space.resolve("world-lm", "policy").id,
        "format": "transcript", "max_length": 128, "batch_size": 16, "learning_rate": 1e-3,
        "num_members": num_members, "num_pairs": num_pairs, "penalty": penalty,
    }  # fmt: skip


def _replies(space: Workspace) -> list[Text]:
    """Replies of the world's language model, warmer than it was trained: `_NUM_SAMPLES` to each prompt, side by side."""
    policy = load_policy(space.resolve("world-lm", "policy"))
    task, rng = task_named("world"), random.Random("ensemble")
    prompts = [task.prompt(rng) for _ in range(_NUM_PROMPTS)]
    asked = [prompt for prompt in prompts for _ in range(_NUM_SAMPLES)]
    found = policy.sample(asked, seed=0, max_new_tokens=96, temperature=_TEMPERATURE)
    return [Text(text_id=str(place), prompt=one.prompt, reply=one.text) for place, one in enumerate(found)]


_Curves = dict[str, dict[str, Float[np.ndarray, " n"]]]
"""By way: `gold` and `proxy` by n (proxy and `risen` gold in standard deviations over all replies)."""


def _curves(rewards: Float[np.ndarray, "member text"], ensemble: Artifact, gold: Float[np.ndarray, " text"]) -> _Curves:
    record = ensemble.read_json("ensemble.json")
    laid = (rewards - np.array(record["offsets"])[:, None]) * np.array(record["factors"])[:, None]
    choosers = {
        "one model": list(laid),
        "mean": [conservative(laid, 0.0).astype(float)],
        "mean less disagreement": [conservative(laid, record["lambda"]).astype(float)],
    }
    found = {}
    for way, proxies in choosers.items():
        paid = np.mean([best_of(proxy, gold) for proxy in proxies], axis=0)
        own = np.mean([best_of(proxy, standardised(proxy)) for proxy in proxies], axis=0)
        found[way] = {"gold": paid, "proxy": own, "risen": (paid - paid[0]) / gold.std()}
    return found


def best_of(proxy: Float[np.ndarray, " text"], value: Float[np.ndarray, " text"]) -> Float[np.ndarray, " n"]:
    """Expected value of the reply that the proxy likes best among n of a prompt's samples, mean over prompts, for each n.

    Source: the unbiased estimator of Nakano et al. 2021, appendix I (arXiv:2112.09332).
    """
    proxies, values = (one.reshape(-1, _NUM_SAMPLES) for one in (proxy, value))
    ordered = np.take_along_axis(values, np.argsort(proxies, axis=1, kind="stable"), axis=1)
    return np.array([float((ordered @ best_of_weights(_NUM_SAMPLES, n)).mean()) for n in _NS])


def _report(curves: Sequence[_Curves], ensembles: Sequence[Artifact]) -> dict[str, Any]:
    def over(value: Callable[[_Curves], float]) -> dict[str, Any]:
        return _summary(np.array([value(one) for one in curves]))

    def figure(name: str) -> dict[str, Any]:
        return _summary(np.array([one.metrics[name] for one in ensembles], dtype=float))

    last, first = _WAYS[-1], _WAYS[0]
    return {
        "n": list(_NS),
        "gold": {way: [over(lambda c, w=way, i=i: c[w]["gold"][i]) for i in range(len(_NS))] for way in _WAYS},
        "promised": {way: over(lambda c, w=way: c[w]["proxy"][-1] - c[w]["proxy"][0]) for way in _WAYS},
        "kept": {way: over(lambda c, w=way: c[w]["risen"][-1]) for way in _WAYS},
        "gain": over(lambda c: c[last]["gold"][-1] - c[first]["gold"][-1]),
        "gain_mean": over(lambda c: c["mean"]["gold"][-1] - c[first]["gold"][-1]),
        "accuracy": {"members": figure("accuracy_members"), "mean": figure("accuracy_mean"), last: figure("accuracy")},
        "disagreement": {"held out": figure("disagreement"), "words in random order": figure("disagreement_other")},
        "error_correlation": figure("error_correlation"),
        "unsure_correlation": figure("unsure_correlation"),
    }


def _summary(values: Float[np.ndarray, " ensemble"]) -> dict[str, Any]:
    """Mean with its 95 % interval over ensembles; no interval of one alone."""
    found = summary_of({"it": values})["it"]
    return found if len(values) > 1 else found | {"low": None, "high": None}
