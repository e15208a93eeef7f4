"""The recipe reward-ensemble: does what is chosen by several reward models exploit them less than what one chooses?

On the planted world, whose true reward is known: best-of-n by one reward model, by an ensemble's mean, and by its mean less
its disagreement. All have the same labels: one pool for each seed, all of which every member is trained on, so that members
differ by their seed (head, order of pairs) alone, and one model is a member by itself, taken as the mean over members.
"""

import random
import time
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from rmviz.configs.base import to_dict
from rmviz.configs.ensemble import EnsembleConfig
from rmviz.configs.recipes import RecipeConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.jobs.elapsed import elapsed
from rmviz.models.ensemble import RECORD, Scale, conservative, on_scales, open_ensemble
from rmviz.models.policy_files import load_policy
from rmviz.qdaif.statistics import best_of_weights
from rmviz.ranks import standardised
from rmviz.recipes.counted import Counted, Execute
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Curves, Experiment, Figure, figure_of, keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text
from rmviz.world.recipe import demo_configs
from rmviz.world.tasks import task_named
from rmviz.world.truth import true_reward

_LM = "world-lm"
_NS = (1, 2, 4, 8, 16, 32, 64)
ONE, MEAN, LESS = _WAYS = ("one model", "mean", "mean less disagreement")
_NUM_MEMBERS, _PENALTY = 4, 1.0
_POOL, _HELDOUT = 1200, 0.5
"""Pairs of a seed's pool, and the share of them that is only measured on: few labels, so that the models err."""

_NUM_PROMPTS, _NUM_SAMPLES, _TEMPERATURE = 32, 64, 1.3


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int) -> Artifact:
    """Train the ensembles, sample replies, choose the best of n by each way, and pay them by the true reward.

    `promised` and `kept` are how far a chooser's own reward, and the true one, rise from n = 1 to the largest n, in standard
    deviations of each over all replies: the `gap` between them is over-optimisation.
    """
    start, step = time.monotonic(), Counted(execute, report, 1 + 2 * num_seeds)
    lm = step(*next((kind, config) for name, kind, config in demo_configs() if name == _LM))
    ensembles = [_ensemble(step, lm, own) for own in range(seed, seed + num_seeds)]
    texts = _replies(lm)
    gold = np.array([true_reward(text.reply) for text in texts])
    chosen = [_choices(open_ensemble(one, space).member_rewards(texts), one, gold) for one in ensembles]
    labels = [_num_labels(space, one) for one in ensembles]
    experiment = _experiment(chosen, ensembles, labels, seed, elapsed(report, start))
    step.end()
    config = RecipeConfig(name="reward-ensemble", num_seeds=num_seeds, seed=seed)
    return keep_experiment(space, experiment, name="reward-ensemble", key=report.key, config=to_dict(config))


def _ensemble(execute: Execute, lm: Artifact, seed: int) -> Artifact:
    """Members trained on all of one pool of labels; their seeds are shared with no other ensemble."""
    own = WorldDataConfig(name=f"labels-{seed + 1}", num_pairs=_POOL, heldout=_HELDOUT, seed=1000 + seed)
    pool = execute("world.data", own)
    return execute(
        "train.ensemble",
        EnsembleConfig(
            dataset=pool.id, base=lm.id, name=f"ensemble-{seed + 1}", format="transcript", max_length=128, batch_size=16,
            learning_rate=1e-3, num_members=_NUM_MEMBERS, penalty=_PENALTY, resample=False, seed=_NUM_MEMBERS * seed,
        ),
    )  # fmt: skip


def _num_labels(space: Workspace, ensemble: Artifact) -> int:
    """Pairs that each member was trained on: the same ones."""
    (number,) = {
        int(space.resolve(one, "reward_model").metrics["num_pairs"])
        for one in ensemble.read_json(RECORD)["members"]
    }  # fmt: skip
    return number


def _replies(lm: Artifact) -> list[Text]:
    """Replies of the world's language model, warmer than it was trained: `_NUM_SAMPLES` to each prompt, side by side."""
    policy = load_policy(lm)
    task, rng = task_named("world"), random.Random("ensemble")
    prompts = [task.prompt(rng) for _ in range(_NUM_PROMPTS)]
    asked = [prompt for prompt in prompts for _ in range(_NUM_SAMPLES)]
    found = policy.sample(asked, seed=0, max_new_tokens=96, temperature=_TEMPERATURE)
    return [Text(text_id=str(place), prompt=one.prompt, reply=one.text) for place, one in enumerate(found)]


_Chosen = Mapping[str, Mapping[str, Float[np.ndarray, " n"]]]
"""By way: `gold` (true reward), `proxy` and `risen` (own and true reward in standard deviations) by n."""


def _choices(
    rewards: Float[np.ndarray, "member text"], ensemble: Artifact, gold: Float[np.ndarray, " text"]
) -> _Chosen:
    record = ensemble.read_json(RECORD)
    scales = [Scale(*both) for both in zip(record["offsets"], record["factors"], strict=True)]
    choosers = {
        ONE: list(on_scales(rewards, scales)),
        MEAN: [conservative(rewards, 0.0, scales).astype(float)],
        LESS: [conservative(rewards, record["lambda"], scales).astype(float)],
    }
    found = {}
    for way, proxies in choosers.items():
        paid = np.mean([best_of(proxy, gold) for proxy in proxies], axis=0)
        own = np.mean([best_of(proxy, standardised(proxy)) for proxy in proxies], axis=0)
        found[way] = {"gold": paid, "proxy": own - own[0], "risen": (paid - paid[0]) / gold.std()}
    return found


def best_of(proxy: Float[np.ndarray, " text"], value: Float[np.ndarray, " text"]) -> Float[np.ndarray, " n"]:
    """Expected value of the reply that the proxy likes best among n of a prompt's samples, mean over prompts, for each n.

    Source: the unbiased estimator of Nakano et al. 2021, appendix I (arXiv:2112.09332).
    """
    proxies, values = (one.reshape(-1, _NUM_SAMPLES) for one in (proxy, value))
    ordered = np.take_along_axis(values, np.argsort(proxies, axis=1, kind="stable"), axis=1)
    return np.array([float((ordered @ best_of_weights(_NUM_SAMPLES, n)).mean()) for n in _NS])


def _experiment(
    chosen: Sequence[_Chosen], ensembles: Sequence[Artifact], labels: Sequence[int], seed: int, seconds: float
) -> Experiment:
    figures = _figures(chosen, ensembles)
    of = {figure.name: figure for figure in figures}
    found = [
        f"Of {_NS[-1]} replies, against the choice of one reward model, the one that the mean of {_NUM_MEMBERS} chooses is worth "
        f"{_told(of['gain_mean'])} and the one that mean less disagreement chooses {_told(of['gain_less'])} "
        f"({len(ensembles)} ensembles, each with the same {np.mean(labels):,.0f} labels as one model).",
        f"From 1 reply to {_NS[-1]} one model's own reward rises by {of['promised_one'].mean:.2f} standard deviations and the true "
        f"one by {of['kept_one'].mean:.2f}; for the mean by {of['promised_mean'].mean:.2f} and {of['kept_mean'].mean:.2f}, for mean "
        f"less disagreement by {of['promised_less'].mean:.2f} and {of['kept_less'].mean:.2f}: the gap is over-optimisation.",
        f"Members disagree by {of['disagreement'].mean:.3g} on held-out texts and by {of['disagreement_far'].mean:.3g} on the "
        "same words in random order.",
    ]
    points = [
        {"arm": way, "seed": seed + number, "x": n, "y": float(own[way]["gold"][place])}
        for number, own in enumerate(chosen) for way in _WAYS for place, n in enumerate(_NS)
    ]  # fmt: skip
    meaning = (
        "True reward of the reply that each chooser likes best among n, mean over prompts and unbiased over draws."
    )
    return Experiment(
        title="Reward ensemble", found=found, figures=figures,
        arms=[{"name": way, "members": 1 if way == ONE else _NUM_MEMBERS, "labels": float(np.mean(labels)),
               "penalty": _PENALTY if way == LESS else 0.0} for way in _WAYS],
        curves=[Curves(title="Best of n", meaning=meaning, x="replies to choose from", y="true reward", rows=points)],
        facts={"n": list(_NS), "num_prompts": _NUM_PROMPTS, "temperature": _TEMPERATURE},
        links=[one.id for one in ensembles], seeds=len(ensembles), seconds=seconds,
        command=f"rmviz recipe reward-ensemble --seeds {len(ensembles)} --seed {seed}",
    )  # fmt: skip


def _told(gain: Figure) -> str:
    """A difference, and whether its sign is sure."""
    sure = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
    interval = "" if gain.low is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
    return f"{gain.mean:+.2f}{interval}{'' if sure else ', which may be chance,'}"


def _figures(chosen: Sequence[_Chosen], ensembles: Sequence[Artifact]) -> list[Figure]:
    figures = []
    for way, short in zip(_WAYS, ("one", "mean", "less"), strict=True):
        figures += [
            figure_of(f"gold_{short}", f"True reward of the best of {_NS[-1]} by {way}.",
                      [own[way]["gold"][-1] for own in chosen], unit="reward"),
            figure_of(f"promised_{short}", f"Rise of the chooser's own reward from n = 1 to {_NS[-1]}, by {way}.",
                      [own[way]["proxy"][-1] for own in chosen], unit="sd"),
            figure_of(f"kept_{short}", f"Rise of the true reward from n = 1 to {_NS[-1]}, by {way}.",
                      [own[way]["risen"][-1] for own in chosen], unit="sd"),
            figure_of(f"gap_{short}", f"promised_{short} − kept_{short}: over-optimisation by {way}.",
                      [own[way]["proxy"][-1] - own[way]["risen"][-1] for own in chosen], unit="sd"),
        ]  # fmt: skip
    for name, way, other, meaning in (
        ("gain_mean", MEAN, ONE, "gold_mean − gold_one; above 0: the ensemble helps."),
        ("gain_less", LESS, ONE, "gold_less − gold_one; above 0: the ensemble helps."),
        ("gain_penalty", LESS, MEAN, "gold_less − gold_mean; above 0: the penalty helps."),
    ):
        paired = [own[way]["gold"][-1] - own[other]["gold"][-1] for own in chosen]
        figures.append(figure_of(name, f"{meaning} Paired by seed.", paired, unit="reward"))
    for name, metric, meaning, unit in (
        ("accuracy_members", "accuracy_members", "Held-out accuracy of one member, mean over members.", "share"),
        ("accuracy_mean", "accuracy_mean", "Held-out accuracy of the members' mean.", "share"),
        ("accuracy_less", "accuracy", "Held-out accuracy of the mean less disagreement.", "share"),
        ("disagreement", "disagreement", "Standard deviation of the members on held-out texts.", "reward"),
        ("disagreement_far", "disagreement_other", "The same on replies with their words in random order.", "reward"),
        ("error_correlation", "error_correlation", "Spearman of disagreement on a pair with the mean being wrong.", ""),
        ("unsure_correlation", "unsure_correlation", "The same, of disagreement over the size of the margin.", ""),
    ):
        values = [float(one.metrics[metric]) for one in ensembles if one.metrics.get(metric) is not None]
        figures.append(figure_of(name, meaning, values, unit=unit))
    return figures
