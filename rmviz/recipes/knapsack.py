"""`rmviz recipe knapsack`: pairs from tree search against two samples per problem, and how far the exact reward leads."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rmviz.configs.world import TaskPolicyConfig
from rmviz.jobs.elapsed import elapsed
from rmviz.models.policy_files import load_policy
from rmviz.recipes.counted import Counted, Execute
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Experiment, Figure, figure_of, in_points, keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.types import Report
from rmviz.world.tasks import task_named

TASK = "knapsack"
ARMS = {"mcts": "tree search", "two_samples": "two samples"}
PPO = "PPO on the exact fill"
WAYS = {"greedy": 0.0, "sampled": 1.0}
"""How replies are drawn when a policy is measured, and at which temperature."""

NUM_HELDOUT = 400
"""Knapsacks on which every policy is measured; none of them is drawn for training."""

_MAX_NEW_TOKENS = 12
_SEARCH = {
    "num_problems": 256, "num_simulations": 32, "pairs": "siblings", "min_visits": 1, "pairs_per_problem": 0,
    "shard_size": 128, "num_trees": 50,
}  # fmt: skip
_DPO = {"learning_rate": 3e-4, "beta": 0.3, "batch_size": 16, "num_looks": 1, "num_watched": 32}
_NUM_STEPS = 100
"""Steps of DPO in both arms, however many pairs they have."""

_PPO = {
    "learning_rate": 2e-3, "num_steps": 60, "num_replies": 256, "num_epochs": 2, "kl_coef": 0.002, "batch_size": 128,
    "num_looks": 4, "num_watched": 64,
}  # fmt: skip
_GAIN = 0.15

Row = dict[str, Any]


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int, effort: float = 1.0) -> Artifact:
    """Both arms and PPO on the exact fill on every seed; an experiment whose tables hold every run.

    One untrained policy is the start of all. A seed is one of problems, draws and training, the same in both arms. The arm of
    two samples may spend as many policy calls as tree search spent on that seed, and DPO takes as many steps in both. `effort` is
    the share of all steps and problems that is done.
    """
    start, sizes = time.monotonic(), sized(effort)
    step = Counted(execute, report, 2 + 5 * num_seeds)
    policy = step("task.policy", {"task": TASK, "seed": seed, **sizes["policy"]})
    prompts = step("task.data", {"task": TASK, "num_pairs": 1000, "seed": seed, "name": "knapsacks"})
    before = measured(policy)
    rows: list[Row] = []
    for own in range(seed, seed + num_seeds):
        for arm, dataset in _pairs(step, policy, sizes["search"], own).items():
            trained = step("train.dpo", _dpo(policy, dataset, arm, sizes["dpo"], own))
            rows.append({"arm": ARMS[arm], "seed": own, **_spent(dataset), **measured(trained)})
        led = step("train.ppo", _ppo(policy, prompts, sizes["ppo"], own))
        rows.append({"arm": PPO, "seed": own, **measured(led)})
    command = f"rmviz recipe {TASK} --seeds {num_seeds} --seed {seed}{f' --effort {effort:g}' if effort != 1 else ''}"
    experiment = _experiment(before, rows, sizes, step.links, num_seeds, elapsed(report, start), command, effort)
    step.end()
    config = {"name": TASK, "num_seeds": num_seeds, "seed": seed, "effort": effort}
    return keep_experiment(space, experiment, name=TASK, key=report.key, config=config)


def sized(effort: float) -> dict[str, dict[str, Any]]:
    """The sizes of the recipe's steps at a share of its own."""

    def part(number: Any) -> int:
        return max(1, round(effort * number))

    return {
        "policy": {"num_steps": part(TaskPolicyConfig.num_steps)},
        "search": {**_SEARCH, "num_problems": part(_SEARCH["num_problems"])},
        "dpo": {**_DPO, "steps": part(_NUM_STEPS)},
        "ppo": {**_PPO, "num_steps": part(_PPO["num_steps"])},
    }


def measured(policy: Artifact) -> dict[str, float]:
    """Mean fill and share of valid packings on the held-out knapsacks, greedy and sampled, and the share of the optimum."""
    task, opened, found = task_named(TASK), load_policy(policy), dict[str, float]()
    rng = random.Random("held out of every training")
    prompts = [task.prompt(rng) for _ in range(NUM_HELDOUT)]
    best = np.array([task.best(prompt) for prompt in prompts], float)
    for way, temperature in WAYS.items():
        replies = opened.sample(
            prompts, seed=0, max_new_tokens=_MAX_NEW_TOKENS, temperature=temperature, batch_size=200
        )
        fills = np.array([task.reward(reply.prompt, reply.text) for reply in replies])
        found |= {
            way: float(fills.mean()),
            f"{way}_of_optimum": float((fills / best).mean()),
            f"{way}_valid": float((fills > 0).mean()),
        }
    return found


def _pairs(execute: Execute, policy: Artifact, search: Mapping[str, Any], seed: int) -> dict[str, Artifact]:
    """The datasets of both arms, at equal policy calls."""
    common = {
        "policy": policy.id, "reward": f"truth:{TASK}", "max_new_tokens": _MAX_NEW_TOKENS, "min_gap": 0.1, "seed": seed,
    }  # fmt: skip
    trees = execute("data.mcts", {**common, **search, "name": f"knapsack trees {seed}"})
    calls = int(trees.metrics["policy_calls"])
    sampled = execute(
        "data.mcts",
        {
            **common, "method": "two_samples", "name": f"knapsack samples {seed}", "max_calls": calls,
            "num_problems": calls, "shard_size": 512,
        },
    )  # fmt: skip
    return {"mcts": trees, "two_samples": sampled}


def _dpo(policy: Artifact, dataset: Artifact, arm: str, sizes: Mapping[str, Any], seed: int) -> dict[str, Any]:
    epochs = sizes["steps"] * _DPO["batch_size"] / max(1.0, dataset.metrics["num_train"])
    return {
        **_DPO, "policy": policy.id, "dataset": dataset.id, "num_epochs": epochs, "max_new_tokens": _MAX_NEW_TOKENS,
        "seed": seed, "name": f"knapsack {ARMS[arm]} {seed}",
    }  # fmt: skip


def _ppo(policy: Artifact, prompts: Artifact, sizes: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {
        **sizes, "policy": policy.id, "dataset": prompts.id, "reward": f"truth:{TASK}", "seed": seed,
        "max_new_tokens": _MAX_NEW_TOKENS, "name": f"knapsack PPO {seed}",
    }  # fmt: skip


def _spent(dataset: Artifact) -> dict[str, int]:
    names = {"policy_calls": "policy calls", "num_problems": "problems", "num_train": "pairs"}
    return {shown: int(dataset.metrics[name]) for name, shown in names.items()}


def _experiment(
    before: Mapping[str, float], rows: Sequence[Row], sizes: Mapping[str, Mapping[str, Any]], links: list[str], num_seeds: int,
    seconds: float, command: str, effort: float,
) -> Experiment:  # fmt: skip
    by_arm = {arm: [row for row in rows if row["arm"] == name] for arm, name in ARMS.items()}
    led = [row for row in rows if row["arm"] == PPO]
    differences = {way: differences_of(by_arm, way) for way in WAYS}
    return Experiment(
        title="Knapsack: pairs from tree search against two samples",
        found=[*_quick(effort), *(_sentence(way, one) for way, one in differences.items()), _ppo_sentence(before, led)],
        figures=[
            *_fills(before, led),
            *(
                figure_of(f"{arm}_{way}", f"Mean fill after DPO on pairs from {name}, {way}.", _column(by_arm[arm], way), unit="share")
                for arm, name in ARMS.items()
                for way in WAYS
            ),
            *differences.values(),
            *(
                figure_of(f"policy_calls_{arm}", f"Next-token distributions spent by {name}.", _column(by_arm[arm], "policy calls"))
                for arm, name in ARMS.items()
            ),
        ],
        arms=[
            {"name": ARMS["mcts"], **sizes["search"], **sizes["dpo"]},
            {"name": ARMS["two_samples"], **sizes["dpo"]},
            {"name": PPO, **sizes["ppo"]},
        ],
        tables={"every run": [{"arm": "untrained", **before}, *rows]},
        facts={"num_heldout": NUM_HELDOUT},
        links=links,
        seeds=num_seeds,
        seconds=seconds,
        command=command,
    )  # fmt: skip


def gains_of(before: Mapping[str, float], led: Sequence[Row]) -> dict[str, Figure]:
    """Fill after PPO − fill before, over seeds, by way."""
    return {
        way: figure_of(
            f"fill_gain{_ending(way)}", f"Fill after PPO − fill before, {way}.", [row[way] - before[way] for row in led],
            unit="share", target=f"at least {_GAIN}" if way == "sampled" else "",
        )
        for way in WAYS
    }  # fmt: skip


def _fills(before: Mapping[str, float], led: Sequence[Row]) -> list[Figure]:
    found, gains = list[Figure](), gains_of(before, led)
    for way in ("sampled", "greedy"):
        words, after = f"Mean fill of the untrained policy, {way}; all seeds share it.", _column(led, way)
        found += [
            Figure(name=f"fill_before{_ending(way)}", meaning=words, mean=before[way], n=1, unit="share"),
            figure_of(
                f"fill_after{_ending(way)}", f"Mean fill after PPO on the exact fill, {way}.", after, unit="share"
            ),
            gains[way],
        ]
    return found


def _ending(way: str) -> str:
    return "" if way == "sampled" else f"_{way}"


def differences_of(by_arm: Mapping[str, Sequence[Row]], way: str) -> Figure:
    """Fill of tree search − fill of two samples, seed by seed."""
    pairs = zip(by_arm["mcts"], by_arm["two_samples"], strict=True)
    return figure_of(
        f"difference_{way}",
        f"Fill after DPO on pairs from tree search − on pairs from two samples, {way}; above 0: tree search trains the better packer.",
        [one[way] - other[way] for one, other in pairs],
        unit="share",
    )


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _quick(effort: float) -> list[str]:
    return [] if effort == 1 else [f"At {effort:.0%} of the steps and problems, which is not the recipe's own result:"]


def _sentence(way: str, difference: Figure) -> str:
    """What a difference says, whichever way it fell."""
    mean, low, high = difference.mean or 0.0, difference.low, difference.high
    points = f"{100 * abs(mean):.1f} points of fill"
    if low is None or high is None:
        side = "above" if mean > 0 else "below" if mean < 0 else "off"
        return f"Replies {way}: tree search is {points} {side} two samples on the one seed that was run."
    between = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}, {difference.n} seeds"
    if low > 0 or high < 0:
        better = ARMS["mcts" if low > 0 else "two_samples"]
        return f"Replies {way}: at equal policy calls, pairs from {better} train the better packer by {points} ({between})."
    return f"Replies {way}: at equal policy calls the two kinds of pairs cannot be told apart (mean {100 * mean:+.1f} points, {between})."


def _ppo_sentence(before: Mapping[str, float], led: Sequence[Row]) -> str:
    gain = gains_of(before, led)["sampled"]
    after, optimum = (float(np.mean(_column(led, name))) for name in ("sampled", "sampled_of_optimum"))
    reached = "as wished" if (gain.mean or 0.0) >= _GAIN else "less than wished"
    return (
        f"PPO on the exact fill takes sampled replies from {before['sampled']:.2f} to {after:.2f} ({in_points(gain)}, {reached}), "
        f"{optimum:.0%} of the optimum."
    )
