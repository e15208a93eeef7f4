"""`rmviz recipe ilql-lander`: implicit Q-learning on a world whose values are known, held against dynamic programming.

Unskilled flights are learnt from, once at τ = ½ in the world with slips, where Q and V must be the behaviour's own, and once at a
high τ in the world without slips, where they must come near the best ones. With shaping by the exact return so far, each move is
paid its own step reward, so Q and V are the world's, in its units.
"""

import random
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from rmviz.configs.ilql import IlqlConfig
from rmviz.configs.world import TaskPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.models.policy import Policy
from rmviz.models.policy_files import load_policy
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Text
from rmviz.world.lander import MOVES, best_policy, evaluated
from rmviz.world.lander_task import ENVIRONMENT, LanderTask, expectile_values
from rmviz.world.tasks import task_named

Execute = Callable[[str, Any], Artifact]
_NEARLY_1 = 1 - 1e-9
_ASKED = 16
"""Flights begun in each place, to average over their numbers."""


def lander_recipe(
    space: Workspace, execute: Execute, *, num_flights: int = 10_000, num_steps: int = 1_500, tau: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Both runs, and how far their Q and V are from the exact ones; what is done is not redone.

    Args:
        space: Where everything is kept.
        execute: Does one job.
        num_flights: Unskilled flights to learn from.
        num_steps: Training steps of each run.
        tau: Expectile of the run without slips.
        seed: Of flights, weights and draws.
    """
    start = time.monotonic()
    runs = {"slipping": ("lander", 0.5), "still": ("lander-still", tau)}
    found = {
        f"{name}_{key}": value
        for name, (task, own) in runs.items()
        for key, value in lander_run(space, execute, task, own, num_flights, num_steps, seed).items()
    }
    facts = {"flights": num_flights, "steps": num_steps, "seed": seed, "seconds": round(time.monotonic() - start, 1)}
    return {**found, **facts}


def lander_run(
    space: Workspace, execute: Execute, task_name: str, tau: float, num_flights: int, num_steps: int, seed: int
) -> dict[str, Any]:
    """One run on unskilled flights of a lander, and how far its Q and V are from the exact ones."""
    task = task_named(task_name)
    assert isinstance(task, LanderTask)
    lm = execute(
        "task.policy", TaskPolicyConfig(task="lander", num_steps=100, batch_size=32, d_model=32, num_blocks=1, seed=seed)
    )
    config = IlqlConfig(
        policy=lm.id, dataset=_flights(space, task, num_flights, seed).id, name=f"ilql-{task_name}", reward_source="reward",
        reward=f"truth:{task_name}", shaping="token", environment=ENVIRONMENT, standardise=False, gamma=1.0, tau=tau,
        cql_weight=0.0, beta=8.0, learning_rate=1e-3, batch_size=64, num_steps=num_steps, num_looks=1, num_watched=16,
        max_new_tokens=40, seed=seed,
    )  # fmt: skip
    artifact = execute("train.ilql", config)
    figures = lander_figures(load_policy(artifact), task, tau, seed)
    return {"tau": tau, "policy": artifact.id, **figures}


def lander_figures(policy: Policy, task: LanderTask, tau: float, seed: int = 0) -> dict[str, Any]:
    """Learnt Q and V beside the exact ones, at every free place and every move.

    Exact are the values that implicit Q-learning at this τ has on this world and this behaviour (at τ = ½ the behaviour's own);
    `…_best` compares with those of the best policy. Largest and mean distances, as shares of the span of the exact Q. `regret`
    is what the move of highest Q is paid less than the best one, exactly, as a mean over places.
    """
    q, v = learnt_values(policy, task, seed)
    lander, step = task.lander, task.step_reward
    exact_q, exact_v = expectile_values(lander, task.behaviour(), float(step), tau)
    best_q, best_v = expectile_values(lander, task.behaviour(), float(step), _NEARLY_1)
    ways = {place: list(MOVES)[int(row.argmax())] for place, row in zip(lander.free, q, strict=True)}
    span = float(np.ptp(exact_q))
    distances = {
        "q": q - exact_q, "v": v - exact_v, "q_best": q - best_q, "v_best": v - best_v, "exact_v_best": exact_v - best_v
    }
    errors = {f"{name}_error": float(np.abs(one).max() / span) for name, one in distances.items()}
    means = {f"{name}_mean_error": float(np.abs(one).mean() / span) for name, one in distances.items()}
    return {**errors, **means, "span": span, "regret": _regret(task, ways)}


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
