"""The lander as texts: paid as the world pays, and its values by dynamic programming against two known answers."""

import random
from fractions import Fraction

import numpy as np
import pytest

from rmviz.errors import ConfigError, DataError
from rmviz.world.lander import MOVES, Lander, best_policy
from rmviz.world.lander_task import LanderTask, expectile_values, flown_values, still_lander
from rmviz.world.tasks import Task, task_named, task_pair


def test_both_landers_are_tasks_and_every_word_is_a_token() -> None:
    for name in ("lander", "lander-still"):
        task, rng = task_named(name), random.Random(0)
        assert isinstance(task, Task) and task.name == name
        tokenizer = task.tokenizer()
        longest = 0
        for _ in range(200):
            prompt = task.prompt(rng)
            reply = task.reply(prompt, rng)
            ids = tokenizer(f" {reply}")["input_ids"]
            assert len(ids) == len(reply.split())
            longest = max(longest, len(tokenizer(f"{prompt} {reply}")["input_ids"]) + 1)
        assert longest <= task.max_length
        assert task_pair(task, 3, 0, 0.1) == task_pair(task, 3, 0, 0.1)


def test_flights_are_paid_by_hand() -> None:
    task, prompt = still_lander(), "flight 7 from ad"
    step = pytest.approx
    assert task.reward(prompt, "right ae") == step(-0.04 + 1)  # one move, on the goal
    assert task.reward(prompt, "left ac right ad right ae") == step(-0.12 + 1)
    assert task.reward("flight 7 from bb", "right bc") == step(-0.04 - 1)  # a sandstorm
    assert task.reward(prompt, "") == -1  # stopped in the air
    assert task.reward(prompt, "left ac") == step(-0.04 - 1)
    assert task.reward(prompt, "left ac up") == step(-0.04 - 1)  # where it led is not told
    assert task.reward(prompt, "right ac") == -1  # cannot be
    assert task.reward(prompt, "right ae right ae") == step(-0.04 - 1)  # it has landed already
    assert task.reward(prompt, "sideways ae") == -1
    assert task.reward(prompt, "right ae now") == step(-0.04 - 1)
    assert task.facts(prompt, "right ae") == {"moves": 1, "end": "goal"}
    assert task.best(prompt) == step(0.96)
    for wrong in ("hello", "flight 7 from bc", "flight 7 from zz"):
        with pytest.raises(DataError, match=r"a flight reads like 'flight 17 from da'"):
            task.reward(wrong, "")


def test_flights_follow_the_behaviour_that_is_told() -> None:
    task, rng = LanderTask(), random.Random(1)
    start = task.lander.free[0]
    first = [task.reply(task.prompt_from(start, rng), rng).split()[0] for _ in range(2000)]
    shares = [first.count(move) / len(first) for move in MOVES]
    assert shares == pytest.approx(task.behaviour()[0].tolist(), abs=0.04)
    assert task.behaviour().min() > 0
    assert task.behaviour().sum(1) == pytest.approx(1)


def test_half_expectiles_are_the_behaviours_own_values() -> None:
    task = LanderTask()
    lander, behaviour, step = task.lander, task.behaviour(), -0.04
    q, v = expectile_values(lander, behaviour, step, 0.5)
    # policy evaluation by the linear equations (I − P) v = r
    number = {place: row for row, place in enumerate(lander.free)}
    matrix, side = np.eye(len(number)), np.full(len(number), step)
    for place, row in number.items():
        for column, move in enumerate(MOVES):
            for there, chance in lander.reached[place, move].items():
                share = behaviour[row, column] * float(chance)
                if there in number:
                    matrix[row, number[there]] -= share
                else:
                    side[row] += share * (1 if lander.cells[there] == "G" else -1)
    assert v == pytest.approx(np.linalg.solve(matrix, side), abs=1e-8)
    assert (q * behaviour).sum(1) == pytest.approx(v, abs=1e-8)
    flown = [
        task.reward(p, task.reply(p, rng))
        for rng in [random.Random(2)]
        for p in [task.prompt_from(lander.start, rng) for _ in range(3000)]
    ]
    assert np.mean(flown) == pytest.approx(v[number[lander.start]], abs=4 * np.std(flown) / 3000**0.5)


def test_values_of_the_flights_themselves_by_hand() -> None:
    lander = Lander.parsed("LG", "0")
    flights = [("flight 1 from aa", "up aa down aa left aa right ab"), ("flight 2 from aa", "right ab")]
    q, v = flown_values(lander, flights, -0.1, 0.5)  # V = 2/5 · 0.9 + 3/5 · (V − 0.1)
    assert v == pytest.approx([0.75]) and q == pytest.approx(np.array([[0.65, 0.9, 0.65, 0.65]]))
    with pytest.raises(DataError, match="no flight moves down from aa"):
        flown_values(lander, [("flight 1 from aa", "up aa left aa right ab")], -0.1, 0.5)


def test_many_flights_have_the_values_of_their_world() -> None:
    task, rng = LanderTask(), random.Random(4)
    flights = [(prompt, task.reply(prompt, rng)) for prompt in (task.prompt(rng) for _ in range(4000))]
    for tau in (0.5, 0.9):
        q, v = flown_values(task.lander, flights, -0.04, tau)
        exact_q, exact_v = expectile_values(task.lander, task.behaviour(), -0.04, tau)
        assert 0 < np.abs(q - exact_q).max() < 0.1 and np.abs(v - exact_v).max() < 0.06, tau


@pytest.mark.parametrize("slip", ["0", "1/5"])
def test_expectiles_near_1_are_the_best_policys_values(slip: str) -> None:
    task = LanderTask(lander=Lander.parsed(slip=slip))
    best = best_policy(task.lander, Fraction(-1, 25))
    _, v = expectile_values(task.lander, task.behaviour(), -0.04, 1 - 1e-7)
    assert v == pytest.approx([float(best.value(place, Fraction(-1, 25))) for place in task.lander.free], abs=1e-4)


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 8 rows and columns"):
        LanderTask(lander=Lander.parsed("L........G"))
    with pytest.raises(ConfigError, match="skill"):
        LanderTask(skill=1.0)
