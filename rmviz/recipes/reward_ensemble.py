"""The recipe reward-ensemble: does what is chosen by several reward models exploit them less than what one chooses?

On the planted world, whose true reward is known: best-of-n by one reward model, by an ensemble's mean, and by its mean less
its disagreement. Each member is trained on a draw of its own of the same few labels, so an ensemble sees more distinct ones than
one model does: it is not a comparison at one label budget.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rmviz.configs.ensemble import EnsembleConfig
from rmviz.jobs.elapsed import elapsed
from rmviz.models.ensemble import Scale, conservative, on_scales, open_ensemble
from rmviz.models.policy_files import load_policy
from rmviz.qdaif.statistics import best_of_weights
from rmviz.ranks import standardised
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Curves, Experiment, Figure, figure_of, keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text
from rmviz.world.recipe import demo_configs
from rmviz.world.tasks import task_named
from rmviz.world.truth import true_reward

Execute = Callable[[str, Any], Artifact]
_STEPS = ("world", "world-lm")
_NS = (1, 2, 4, 8, 16, 32, 64)
ONE, MEAN, LESS = _WAYS = ("one model", "mean", "mean less disagreement")
_NUM_MEMBERS, _NUM_PAIRS, _PENALTY = 4, 600, 1.0
_NUM_PROMPTS, _NUM_SAMPLES, _TEMPERATURE = 32, 64, 1.3


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int) -> Artifact:
    """Train the ensembles, sample replies, choose the best of n by each way, and pay them by the true reward.

    Each ensemble draws from few labels, so that its members err. `promised` and `kept` are how far a chooser's own reward,
    and the true one, rise from n = 1 to the largest n, in standard deviations of each over all replies: a gap between them
    is over-optimisation.
    """
    start = time.monotonic()
    steps = [(kind, config) for name, kind, config in demo_configs() if name in _STEPS]
    for number, (kind, config) in enumerate(steps):
        report(number, len(steps) + num_seeds + 1)
        execute(kind, config)
    settings = _settings(space)
    ensembles = []
    for number in range(num_seeds):
        report(len(steps) + number, len(steps) + num_seeds + 1)
        own = EnsembleConfig(**settings, name=f"ensemble-{seed + number + 1}", seed=100 * (seed + number))
        ensembles.append(execute("train.ensemble", own))
    report(len(steps) + num_seeds, len(steps) + num_seeds + 1)
    texts = _replies(space)
    gold = np.array([true_reward(text.reply) for text in texts])
    chosen = [_choices(open_ensemble(one, space).member_rewards(texts), one, gold) for one in ensembles]
    num_train = int(space.resolve("world", "dataset").metrics["num_train"])
    experiment = _experiment(chosen, ensembles, num_train, seed, elapsed(report, start))
    report(len(steps) + num_seeds + 1, len(steps) + num_seeds + 1)
    return keep_experiment(
        space,
        experiment,
        name="reward-ensemble",
        key=report.key,
        config={"num_seeds": num_seeds, "seed": seed, **settings},
    )


def _settings(space: Workspace) -> dict[str, Any]:
    return {
        "dataset": space.resolve("world", "dataset").id, "base": space.resolve("world-lm", "policy").id,
        "format": "transcript", "max_length": 128, "batch_size": 16, "learning_rate": 1e-3,
        "num_members": _NUM_MEMBERS, "num_pairs": _NUM_PAIRS, "penalty": _PENALTY,
    }  # fmt: skip


def _replies(space: Workspace) -> list[Text]:
    """Replies of the world's language model, warmer than it was trained: `_NUM_SAMPLES` to each prompt, side by side."""
    policy = load_policy(space.resolve("world-lm", "policy"))
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
    record = ensemble.read_json("ensemble.json")
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


def labels_seen(num_train: int, num_members: int) -> int:
    """Distinct labels that members see together, in expectation.

    Each draws `_NUM_PAIRS` of `num_train` pairs and trains on a bootstrap of its draw, which leaves out 1 in e of them.
    """
    drawn = min(_NUM_PAIRS, num_train)
    own = drawn * (1 - (1 - 1 / drawn) ** drawn)
    return round(num_train * (1 - (1 - own / num_train) ** num_members))


def _experiment(
    chosen: Sequence[_Chosen], ensembles: Sequence[Artifact], num_train: int, seed: int, seconds: float
) -> Experiment:
    one, all_ = (labels_seen(num_train, number) for number in (1, _NUM_MEMBERS))
    figures = _figures(chosen, ensembles)
    of = {figure.name: figure for figure in figures}
    gain, promised, kept = of["gain"], of["promised_one"], of["kept_one"]
    sure = gain.low is not None and (gain.low > 0 or (gain.high or 0) < 0)
    found = [
        f"Of {_NS[-1]} replies, the one that mean less disagreement chooses is worth {gain.mean:+.2f} against the choice of one "
        f"reward model{'' if sure else ', which may be chance'} ({len(ensembles)} ensembles of {_NUM_MEMBERS} members; an "
        f"ensemble has seen about {all_:,} distinct labels, one model about {one:,}, and part of a gain may come of that).",
        f"One model's own reward rises by {promised.mean:.2f} standard deviations and the true one by {kept.mean:.2f}; for mean "
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
        arms=[{"name": way, "members": 1 if way == ONE else _NUM_MEMBERS, "distinct labels (about)": one if way == ONE else all_,
               "penalty": _PENALTY if way == LESS else 0.0} for way in _WAYS],
        curves=[Curves(title="Best of n", meaning=meaning, x="replies to choose from", y="true reward", rows=points)],
        facts={"n": list(_NS), "num_prompts": _NUM_PROMPTS, "temperature": _TEMPERATURE},
        links=[one.id for one in ensembles], seeds=len(ensembles), seconds=seconds,
        command=f"rmviz recipe reward-ensemble --seeds {len(ensembles)} --seed {seed}",
    )  # fmt: skip


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
        ]  # fmt: skip
    less = [own[LESS]["gold"][-1] - own[ONE]["gold"][-1] for own in chosen]
    mean = [own[LESS]["gold"][-1] - own[MEAN]["gold"][-1] for own in chosen]
    figures += [
        figure_of("gain", f"gold_less − gold_one at n = {_NS[-1]}; above 0: the ensemble helps.", less, unit="reward"),
        figure_of("gain_penalty", "gold_less − gold_mean; above 0: the penalty helps.", mean, unit="reward"),
    ]
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
