"""Knapsacks: the codec, the fill by hand, and the optimum against all packings there are."""

import itertools
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.errors import ConfigError, DataError
from rmviz.world.knapsack import Instance, Knapsack, packings
from rmviz.world.tasks import Task, task_named, task_pair

SMALL = Instance(10, (7, 4, 3, 9))
instances = st.builds(
    Instance, st.integers(20, 60), st.lists(st.integers(1, 20), min_size=1, max_size=9).map(tuple)
)  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "fill"),
    [
        ("a c", 1.0), ("c a", 1.0), ("b c", 0.7), ("d", 0.9), ("", 0.0), (" b ", 0.4),
        ("a b", 0.0), ("c c", 0.0), ("e", 0.0), ("ac", 0.0), ("a, c", 0.0), ("A", 0.0),
    ],
)  # fmt: skip
def test_fill_by_hand(reply, fill):
    assert SMALL.fill(reply) == pytest.approx(fill)


@settings(deadline=None, max_examples=60)
@given(instances)
def test_the_optimum_and_the_counts_are_those_of_all_packings(instance):
    fills = [
        instance.fill(" ".join(names))
        for size in range(len(instance.weights) + 1)
        for names in itertools.combinations(string.ascii_lowercase[: len(instance.weights)], size)
        if sum(instance.weights[string.ascii_lowercase.index(name)] for name in names) <= instance.capacity
    ]
    assert instance.best == pytest.approx(max(fills))
    assert sum(packings(instance.weights, instance.capacity)) == len(fills)
    near = sum(fill >= 0.95 * max(fills) - 1e-12 for fill in fills) / len(fills)
    assert instance.near_best == pytest.approx(near)


@given(instances)
def test_a_prompt_reads_back(instance):
    assert Instance.parsed(str(instance)) == instance
    assert Instance.parsed(f"  {instance}\n") == instance


@pytest.mark.parametrize(
    "prompt",
    ["", "What is the capital?", "capacity 10 items pack", "capacity ten items a 3 pack", "capacity 10 items b 3 pack",
     "capacity 10 items a 3", "capacity 10 items a -3 pack", "capacity 10 items a ٣ pack"],
)  # fmt: skip
def test_any_other_prompt_is_told(prompt):
    with pytest.raises(DataError, match="knapsack reads like 'capacity 30 items a 7 b 12 pack'"):
        Knapsack().reward(prompt, "a")


def test_a_knapsack_with_no_item_that_fits_is_told():
    with pytest.raises(
        DataError, match="no item fits into this knapsack: the lightest weighs 12 and the capacity is 10"
    ):
        Knapsack().best("capacity 10 items a 12 b 15 pack")


@pytest.mark.parametrize("name", ["knapsack", "knapsack-hard", "knapsack-large"])
def test_packers_write_what_the_task_can_read(name):
    task, rng = task_named(name), random.Random(1)
    assert isinstance(task, Task)
    tokenizer = task.tokenizer()
    fills, too_heavy = [], 0
    for _ in range(150):
        prompt = task.prompt(rng)
        reply = task.reply(prompt, rng)
        weight = Instance.parsed(prompt).packed(reply)
        assert weight and 0 <= task.reward(prompt, reply) <= task.best(prompt) <= 1
        fills.append(task.reward(prompt, reply))
        too_heavy += fills[-1] == 0
        ids = tokenizer.encode(f"{prompt} {reply}{tokenizer.eos_token}")
        assert len(ids) <= task.max_length
        assert tokenizer.encode(f" {reply}") == ids[-1 - len(reply.split()) : -1]
        assert tokenizer.decode(ids[:-1]) == f"{prompt} {reply}"
    assert 0.5 < sum(fills) / 150 < 0.75
    assert 0.06 < too_heavy / 150 < 0.25


def test_hardness_is_how_few_packings_come_near_the_best():
    rng = random.Random(0)
    easy, mixed, hard = (
        sum(Knapsack(hardness=hardness).instance(rng).near_best for _ in range(60)) / 60
        for hardness in ("easy", "mixed", "hard")
    )
    assert hard < mixed / 2 < mixed < easy / 2


def test_small_capacities_still_leave_something_that_fits():
    task, rng = Knapsack(num_items=2, capacities=(1, 2)), random.Random(0)
    assert all(task.best(task.prompt(rng)) > 0 for _ in range(50))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"num_items": 0}, "1 to 26 items, got 0"), ({"num_items": 27}, "1 to 26 items, got 27"),
     ({"capacities": (0, 5)}, "capacities must rise within 1 to 200"), ({"capacities": (9, 5)}, "must rise"),
     ({"heaviest": 0}, "heaviest item must weigh 1 to 200")],
)  # fmt: skip
def test_knapsacks_that_cannot_be_are_told(settings, words):
    with pytest.raises(ConfigError, match=words):
        Knapsack(**settings)


def test_pairs_of_the_task_prefer_the_fuller_packing():
    pairs = [task_pair(Knapsack(), number, seed=0, temperature=1e-6) for number in range(50)]
    assert all(pair.extra["true_margin"] >= 0 for pair in pairs)
    assert pairs == [task_pair(Knapsack(), number, seed=0, temperature=1e-6) for number in range(50)]
