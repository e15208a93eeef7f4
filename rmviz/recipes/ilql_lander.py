"""`rmviz recipe ilql-lander`: implicit Q-learning on a world whose values are known, held against dynamic programming.

Unskilled flights are learnt from, once at τ = ½ in the world with slips, where Q and V must be the behaviour's own, and once at a
high τ in the world without slips, where they must come near the best ones. With shaping by the exact return so far, each move is
paid its own step reward, so Q and V are the world's, in its units.
"""

import random
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from rmviz.configs.base import to_dict
from rmviz.configs.ilql import IlqlConfig
from rmviz.configs.recipes import RecipeConfig
from rmviz.configs.world import TaskPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.estimates import wilson
from rmviz.jobs.elapsed import elapsed
from rmviz.models.policy import Policy
from rmviz.models.policy_files import load_policy
from rmviz.recipes.counted import Counted, Execute
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Experiment, Figure, figure_of, keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text
from rmviz.world.lander import MOVES, best_policy, evaluated
from rmviz.world.lander_task import ENVIRONMENT, LanderTask, expectile_values, flown_values
from rmviz.world.tasks import task_named

RUNS = {"slipping": ("lander", 0.5), "still": ("lander-still", 0.95)}
"""Task and τ of each run."""

NUM_FLIGHTS, NUM_STEPS = 10_000, 1_500
_TARGET = 0.05
_NEARLY_1 = 1 - 1e-9
_ASKED = 16
"""Flights begun in each place, to average over their numbers."""

_AGAINST = {
    "q": "Mean distance of learnt Q from that of dynamic programming at the same τ, over all places and moves",
    "v": "Mean distance of learnt V from that of dynamic programming at the same τ, over all places",
    "v_best": "Mean distance of learnt V from the value of the best policy, over all places",
}


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int) -> Artifact:
    """Both runs with every seed; what is done is not redone."""
    start, found = time.monotonic(), dict[str, list[dict[str, Any]]]()
    step, made = Counted(execute, report, 2 * len(RUNS) * num_seeds), list[str]()
    for own in range(seed, seed + num_seeds):
        for name, (task, tau) in RUNS.items():
            figures = lander_run(space, step, task, tau, NUM_FLIGHTS, NUM_STEPS, own)
            made.append(figures.pop("policy"))
            found.setdefault(name, []).append({**figures, "seed": own})
    step.end()
    experiment = Experiment(
        title="ILQL on the lander as a token MDP",
        found=[_sentence(name, rows) for name, rows in found.items()],
        figures=[one for name, rows in found.items() for one in _figures(name, rows)],
        tables={name: rows for name, rows in found.items()},
        facts={"flights": NUM_FLIGHTS, "steps": NUM_STEPS},
        links=made, seeds=num_seeds, seconds=elapsed(report, start),
        command=f"rmviz recipe ilql-lander --seeds {num_seeds} --seed {seed}",
    )  # fmt: skip
    config = RecipeConfig(name="ilql-lander", num_seeds=num_seeds, seed=seed)
    return keep_experiment(space, experiment, name="ilql-lander", key=report.key, config=to_dict(config))


def _sentence(name: str, rows: list[dict[str, Any]]) -> str:
    q, v, worst, worst_v, data, best = (
        100 * float(np.mean([row[key] for row in rows]))
        for key in ("q_mean_error", "v_mean_error", "q_error", "v_error", "data_q_error", "v_best_mean_error")
    )
    where = {
        "slipping": "With slips, at τ = ½, Q and V are to be those of the unskilled flights themselves",
        "still": f"Without slips, at τ = {rows[0]['tau']:g}, they are to come near those of the best policy",
    }[name]
    return (
        f"{where}: Q is {q:.1f} % off dynamic programming at the same τ on average (the worst move {worst:.1f} %; dynamic programming "
        f"on the flights themselves is at worst {data:.1f} % off), V {v:.1f} % (the worst place {worst_v:.1f} %), and V is {best:.1f} % "
        "off the best policy's, all as shares of the span of the exact Q."
    )


def _figures(name: str, rows: list[dict[str, Any]]) -> Iterator[Figure]:
    for key, words in _AGAINST.items():
        values = [row[f"{key}_mean_error"] for row in rows]
        target = "" if (name, key) == ("slipping", "v_best") else f"at most {_TARGET:g}"
        yield figure_of(
            f"{name}_{key}", f"{words}; a share of the span of the exact Q.", values, unit="share", target=target
        )
    for key, own in (("q", "Q"), ("v", "V")):
        words = f"Largest distance of learnt {own} from that of dynamic programming at the same τ; a share of the span of the exact Q."
        values = [row[f"{key}_error"] for row in rows]
        yield figure_of(f"{name}_{key}_worst", words, values, unit="share", target=f"at most {_TARGET:g}")
        words = (
            f"Largest distance of {own} by dynamic programming on the flights' own frequencies from that on the world's: what the "
            "number of flights leaves open; a share of the span of the exact Q."
        )
        yield figure_of(f"{name}_{key}_data_worst", words, [row[f"data_{key}_error"] for row in rows], unit="share")
    words = "Share of seeds in which some flight by the moves of highest Q never ends, so that it has no regret."
    share = sum(row["regret"] is None for row in rows) / len(rows)
    low, high = wilson(share, len(rows))
    yield Figure(
        name=f"{name}_endless", meaning=words, mean=share, low=low, high=high, n=len(rows), unit="share", target="0"
    )
    words = (
        "What the move of highest Q is paid less than the best one, exactly, as a mean over places, over the seeds whose flights "
        "all end; rewards."
    )
    yield figure_of(f"{name}_regret", words, [np.nan if row["regret"] is None else row["regret"] for row in rows])


def lander_run(
    space: Workspace, execute: Execute, task_name: str, tau: float, num_flights: int, num_steps: int, seed: int
) -> dict[str, Any]:
    """One run on unskilled flights of a lander, and how far its Q and V are from the exact ones."""
    task = task_named(task_name)
    assert isinstance(task, LanderTask)
    lm = execute(
        "task.policy",
        TaskPolicyConfig(task="lander", num_steps=100, batch_size=32, d_model=32, num_blocks=1, seed=seed),
    )
    data = _flights(space, task, num_flights, seed)
    config = IlqlConfig(
        policy=lm.id, dataset=data.id, name=f"ilql-{task_name}", reward_source="reward",
        reward=f"truth:{task_name}", shaping="token", environment=ENVIRONMENT, standardise=False, gamma=1.0, tau=tau,
        cql_weight=0.0, beta=8.0, learning_rate=1e-3, batch_size=64, num_steps=num_steps, num_looks=1, num_watched=16,
        max_new_tokens=40, seed=seed,
    )  # fmt: skip
    artifact = execute("train.ilql", config)
    figures = lander_figures(load_policy(artifact), task, tau, seed)
    return {"tau": tau, "policy": artifact.id, **figures, **_data_errors(task, dataset_texts(data, "train"), tau)}


def _data_errors(task: LanderTask, flights: Sequence[Text], tau: float) -> dict[str, float]:
    """How far exact values of the flights' own frequencies are from those of the world: no learner of them is surer."""
    step = float(task.step_reward)
    exact = expectile_values(task.lander, task.behaviour(), step, tau)
    flown = flown_values(task.lander, [(one.prompt, one.reply) for one in flights], step, tau)
    span = float(np.ptp(exact[0]))
    return {
        f"data_{name}_error": float(np.abs(own - true).max() / span)
        for name, own, true in zip(("q", "v"), flown, exact, strict=True)
    }


def lander_figures(policy: Policy, task: LanderTask, tau: float, seed: int = 0) -> dict[str, Any]:
    """Learnt Q and V beside the exact ones, at every free place and every move.

    Exact are the values that implicit Q-learning at this τ has on this world and this behaviour (at τ = ½ the behaviour's own);
    `…_best` compares with those of the best policy. Largest and mean distances, as shares of the span of the exact Q;
    `q_constant_error` is the mean distance of the best constant. `regret` is what the move of highest Q is paid
    less than the best one, exactly, as a mean over places.
    """
    q, v = learnt_values(policy, task, seed)
    lander, step = task.lander, task.step_reward
    exact_q, exact_v = expectile_values(lander, task.behaviour(), float(step), tau)
    best_q, best_v = expectile_values(lander, task.behaviour(), float(step), _NEARLY_1)
    ways = {place: list(MOVES)[int(row.argmax())] for place, row in zip(lander.free, q, strict=True)}
    span = float(np.ptp(exact_q))
    distances = {
        "q": q - exact_q,
        "v": v - exact_v,
        "q_best": q - best_q,
        "v_best": v - best_v,
        "exact_v_best": exact_v - best_v,
    }
    errors = {f"{name}_error": float(np.abs(one).max() / span) for name, one in distances.items()}
    means = {f"{name}_mean_error": float(np.abs(one).mean() / span) for name, one in distances.items()}
    constant = float(np.abs(exact_q - np.median(exact_q)).mean() / span)
    return {**errors, **means, "q_constant_error": constant, "span": span, "regret": _regret(task, ways)}


@torch.no_grad()
def learnt_values(
    policy: Policy, task: LanderTask, seed: int = 0
) -> tuple[Float[np.ndarray, "free move"], Float[np.ndarray, " free"]]:
    """What the policy's heads say of every move in every free place: mean over flights that begin there."""
    assert policy.guide is not None
    rng, heads = random.Random(f"asked {seed}"), policy.guide.heads
    moves = [policy.tokenizer(f" {move}", add_special_tokens=False)["input_ids"][0] for move in MOVES]
    q, v = [], []
    policy.guide.beta = 0.0
    for place in task.lander.free:
        rows = [policy.encode(task.prompt_from(place, rng), "up") for _ in range(_ASKED)]
        batch = policy.batch(rows)
        policy.logits(batch)
        hidden = policy.guide.hidden_states()
        before = torch.stack([states[row.start - 1] for states, row in zip(hidden, rows, strict=True)])
        q.append(heads.lower_q(before)[:, moves].mean(0).double().cpu().numpy())
        v.append(float(heads.values(before).mean()))
    return np.stack(q), np.array(v)


def _flights(space: Workspace, task: LanderTask, num_flights: int, seed: int) -> Artifact:
    key = f"recipe-{task.name}-{num_flights}-{seed}"

    def drawn() -> Iterator[Text]:
        for number in range(num_flights):
            rng = random.Random(f"{task.name} {seed} {number}")
            prompt = task.prompt(rng)
            yield Text(text_id=f"F{number:06d}", prompt=prompt, reply=task.reply(prompt, rng))

    return space.by_key(key) or keep_dataset(
        space, drawn(), name=f"{task.name}-flights", key=key, config={"num_flights": num_flights, "seed": seed}, heldout=0.01,
        seed=seed,
    )  # fmt: skip


def _regret(task: LanderTask, ways: dict[Any, str]) -> float | None:
    """Mean over places of what the best policy is paid beyond this one, exactly; None where some flight would never end."""
    try:
        own = evaluated(task.lander, ways)
    except (ZeroDivisionError, KeyError):
        return None
    best, step = best_policy(task.lander, task.step_reward), Fraction(task.step_reward)
    return float(np.mean([float(best.value(place, step) - own.value(place, step)) for place in task.lander.free]))
