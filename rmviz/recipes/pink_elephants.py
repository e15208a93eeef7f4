"""The recipe pink-elephants: how often a policy names the forbidden term at pairs of terms that it was not trained on.

A small language model is pretrained on the task elephants. Its own replies in new conversations are revised; from these
pairs, or paid by the task's exact reward, ILQL, DPO and ReST learn. Each is asked about held-out pairs of terms.
"""

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rmviz.estimates import wilson
from rmviz.jobs.elapsed import elapsed
from rmviz.models.policy import Policy, Reply
from rmviz.models.policy_files import load_policy
from rmviz.recipes.counted import Counted, Execute
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Experiment, Figure, figure_of, in_points, keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.training.watch import kl_and_entropy, mean_log_prob
from rmviz.types import Report
from rmviz.world.elephants import Elephants, mention_rate, mentions, terms

NUM_ASKED = 256
"""Conversations about held-out pairs that each policy is asked."""

MAX_NEW_TOKENS = 56
_LM = {"task": "elephants", "num_steps": 1600, "learning_rate": 6e-3}
_DATA = {"num_conversations": 1600, "max_new_tokens": MAX_NEW_TOKENS}
_RUN = {"max_new_tokens": MAX_NEW_TOKENS, "num_looks": 2}
_TRUTH = {"reward": "truth:elephants"}
_ILQL = {"learning_rate": 2e-3, "beta": 16.0}
_SAMPLES = 6


@dataclass(frozen=True)
class Arm:
    """A way of training: the job kind, what to call it, and its settings."""

    kind: str
    title: str
    settings: Mapping[str, Any]


ARMS: dict[str, Arm] = {
    "ilql_sign": Arm(
        "train.ilql",
        "ILQL paid ±1, by the settings that failed",
        {"reward_source": "sign", "tau": 0.7, "polyak": 0.001, "learning_rate": 5e-5, "beta": 1.0},
    ),
    "ilql_sign_alike": Arm("train.ilql", "ILQL paid ±1, set as the shaped one", {"reward_source": "sign", **_ILQL}),
    "ilql_shaped": Arm(
        "train.ilql",
        "ILQL paid the reward, shaped by token",
        {"reward_source": "reward", "shaping": "token", **_TRUTH, **_ILQL},
    ),
    "dpo": Arm(
        "train.dpo",
        "DPO on the revised pairs",
        {"learning_rate": 2e-4, "beta": 1.0, "num_epochs": 6.0, "sft_weight": 1.0},
    ),
    "rest": Arm("train.rest", "ReST paid the reward", {**_TRUTH, "learning_rate": 3e-4}),
}
"""`ilql_sign` has the defaults of trlX, the library of the first try, with which the language model only clones both sides;
`ilql_sign_alike` differs from `ilql_shaped` in what is paid alone."""


@dataclass(frozen=True)
class Measured:
    """What a policy writes at held-out pairs of terms."""

    mention: float
    """Share of replies that name the forbidden term."""

    reward: float
    """Mean exact reward."""

    grey: float
    """Share of replies that name the grey term."""

    fluency: float
    """Nats per token that the untrained language model gives the replies: a mean log-likelihood, below 0."""

    kl: float
    """Nats per token from the untrained language model."""

    replies: tuple[Reply, ...]


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int) -> Artifact:
    """Run all arms for each seed and keep what was found as an experiment."""
    start = time.monotonic()
    step = Counted(execute, report, num_seeds * (2 + len(ARMS)))
    before: list[Measured] = []
    after: dict[str, list[Measured]] = {name: [] for name in ARMS}
    for own in range(seed, seed + num_seeds):
        lm = step("task.policy", {**_LM, "seed": own, "name": f"elephants-lm-{own}"})
        data = step("data.pink_elephants", {**_DATA, "policy": lm.id, "seed": own, "name": f"pink-elephants-{own}"})
        reference = load_policy(lm)
        prompts = asked(own)
        before.append(measured(reference, reference, prompts, own))
        for name, arm in ARMS.items():
            settings = {**_RUN, **arm.settings, "policy": lm.id, "dataset": data.id, "seed": own}
            made = step(arm.kind, {**settings, "name": f"elephants-{name}-{own}"})
            after[name].append(measured(load_policy(made), reference, prompts, own))
    experiment = Experiment(
        title="Pink elephants",
        found=found(before, after),
        figures=figures(before, after),
        arms=[{"name": name, "what": arm.title, "kind": arm.kind, **arm.settings} for name, arm in ARMS.items()],
        tables={
            "every run": every_run(before, after, seed),
            "replies about held-out pairs": samples(before[0], {name: runs[0] for name, runs in after.items()}),
        },
        links=step.links,
        seeds=num_seeds,
        seconds=elapsed(report, start),
        command=f"rmviz recipe pink-elephants --seeds {num_seeds} --seed {seed}",
    )
    step.end()
    config = {"name": "pink-elephants", "num_seeds": num_seeds, "seed": seed}
    return keep_experiment(space, experiment, name="pink-elephants", key=report.key, config=config)


def asked(seed: int) -> list[str]:
    """The conversations about held-out pairs of terms that the policies of a seed are asked."""
    task, rng = Elephants(), random.Random(f"asked {seed}")
    return [task.heldout_prompt(rng) for _ in range(NUM_ASKED)]


def measured(policy: Policy, reference: Policy, prompts: Sequence[str], seed: int) -> Measured:
    """What a policy writes to these prompts, drawn at temperature 1."""
    task = Elephants()
    replies = policy.sample(prompts, seed=seed, max_new_tokens=MAX_NEW_TOKENS)
    texts = [reply.text for reply in replies]
    rows = [reply.tokens for reply in replies]
    kl, _ = kl_and_entropy(policy, reference, rows)
    return Measured(
        mention=mention_rate(prompts, texts),
        reward=sum(map(task.reward, prompts, texts)) / len(texts),
        grey=sum(mentions(text, terms(prompt)[2]) for prompt, text in zip(prompts, texts, strict=True)) / len(texts),
        fluency=mean_log_prob(reference, rows),
        kl=float(kl.sum() / sum(len(row.reply) for row in rows)),
        replies=tuple(replies),
    )


def cuts(before: Sequence[Measured], runs: Sequence[Measured]) -> list[float]:
    """By which share each run cut the mention rate: 1 is all of it, below 0 it rose."""
    return [
        1 - run.mention / was.mention if was.mention else float("nan") for was, run in zip(before, runs, strict=True)
    ]


def fluency_losses(before: Sequence[Measured], runs: Sequence[Measured]) -> list[float]:
    """By which share the nats per token of each run's replies rose, by the untrained language model; below 0 they fell.

    0.1 is 10 % more nats per token: of -0.50 it makes -0.55.
    """
    return [run.fluency / was.fluency - 1 for was, run in zip(before, runs, strict=True)]


def figures(before: Sequence[Measured], after: Mapping[str, Sequence[Measured]]) -> list[Figure]:
    """All figures, over seeds."""
    where = f"in {NUM_ASKED} conversations about held-out pairs of terms"
    found = [
        rate(
            "mention_before", f"Replies of the untrained language model that name the forbidden term, {where}.", before
        ),
        figure_of(
            "fluency_before",
            "Mean log-likelihood per token of its own replies (nats).",
            [one.fluency for one in before],
            unit="nats",
        ),
    ]
    for name, runs in after.items():
        wished = name in ("dpo", "ilql_shaped")
        title = ARMS[name].title
        values = (
            ("mention_cut", "Share by which that fell", cuts(before, runs), "share", "at least 0.8"),
            (
                "fluency_after",
                "Their mean log-likelihood per token before training",
                [r.fluency for r in runs],
                "nats",
                "",
            ),
            (
                "fluency_loss",
                "Share by which the nats per token of the replies, before training, rise (0.1 is 10 % more; below 0: they fall)",
                fluency_losses(before, runs),
                "share",
                "below 0.1",
            ),
            ("reward_after", "Mean exact reward, 0 to 1", [one.reward for one in runs], "share", ""),
            ("kl", "Nats per token from the untrained language model", [one.kl for one in runs], "nats", ""),
        )
        found.append(rate(f"mention_after_{name}", f"{title}: replies that name the forbidden term, {where}.", runs))
        found += [
            figure_of(f"{what}_{name}", f"{title}: {words}.", numbers, unit=unit, target=target if wished else "")
            for what, words, numbers, unit, target in values
        ]
    return [*found, by_reward(after)]


def by_reward(after: Mapping[str, Sequence[Measured]]) -> Figure:
    """What the reward alone changes: two arms of ILQL that differ in nothing else."""
    both = zip(after["ilql_sign_alike"], after["ilql_shaped"], strict=True)
    return figure_of(
        "mention_by_reward",
        "Mention rate after ILQL paid ±1 less that after ILQL paid the shaped reward, all else alike; above 0: the shaped reward "
        "teaches more.",
        [sign.mention - shaped.mention for sign, shaped in both],
        unit="share",
    )


def rate(name: str, meaning: str, runs: Sequence[Measured]) -> Figure:
    """A mention rate with its 95 % interval: over seeds, or of a single seed over its conversations (Wilson)."""
    if len(runs) > 1:
        return figure_of(name, meaning, [one.mention for one in runs], unit="share")
    num = len(runs[0].replies)
    low, high = wilson(runs[0].mention, num)
    return Figure(name=name, meaning=meaning, mean=runs[0].mention, low=low, high=high, n=num, unit="share")


def found(before: Sequence[Measured], after: Mapping[str, Sequence[Measured]]) -> list[str]:
    """What was found: a sentence per arm, and what the reward alone changes."""
    first = mean([one.mention for one in before])
    sentences = [f"Before training {first:.0%} of the replies about held-out pairs name the forbidden term."]
    for name, runs in after.items():
        lost = mean(fluency_losses(before, runs))
        sentences.append(
            f"{ARMS[name].title}: {mean([one.mention for one in runs]):.0%}, {_cut_words(cuts(before, runs))}; "
            f"their nats per token {'rise' if lost >= 0 else 'fall'} by {abs(lost):.0%}."
        )
    return [*sentences, _by_reward_words(by_reward(after))]


def _by_reward_words(apart: Figure) -> str:
    told = f"ILQL paid ±1 and ILQL paid the shaped reward, all else alike, name the term {in_points(apart)} apart"
    if apart.low is None or apart.high is None:
        return f"{told} (±1 less shaped) in one seed, which says little."
    if apart.low <= 0 <= apart.high:
        return f"{told} (±1 less shaped): the interval holds 0, so neither is shown better."
    return f"{told} (±1 less shaped): the {'shaped reward' if apart.low > 0 else 'sign'} alone teaches more."


def _cut_words(found: Sequence[float]) -> str:
    """How far mentions fell, over the seeds that had any."""
    known = [one for one in found if math.isfinite(one)]
    if not known:
        return "where none named it before"
    cut, few = mean(known), len(known) < len(found)
    over = f" (over the {len(known)} of {len(found)} seeds with mentions before)" if few else ""
    return f"{abs(cut):.0%} {'fewer' if cut >= 0 else 'more'}{over}"


def every_run(before: Sequence[Measured], after: Mapping[str, Sequence[Measured]], seed: int) -> list[dict[str, Any]]:
    """What each policy of each seed writes."""
    arms = {"untrained": before, **after}
    shown = ("mention", "grey", "reward", "fluency", "kl")
    return [
        {"arm": name, "seed": seed + place, **{what: getattr(runs[place], what) for what in shown}}
        for place in range(len(before))
        for name, runs in arms.items()
    ]


def samples(before: Measured, after: Mapping[str, Measured]) -> list[dict[str, str]]:
    """The first replies of each policy, side by side."""
    return [
        {
            "last turn": reply.prompt.rsplit("Human:", 1)[1].removesuffix("\n\nAssistant:").strip(),
            "forbidden": terms(reply.prompt)[1],
            "before": reply.text,
            **{name: one.replies[place].text for name, one in after.items()},
        }
        for place, reply in enumerate(before.replies[:_SAMPLES])
    ]


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)
