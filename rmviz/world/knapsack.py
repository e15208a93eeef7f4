"""Knapsacks: a task for language models whose exact optimum is known.

A prompt names a capacity and the weights of some items, a reply names the items that are packed. The reward is the fill:
weight / capacity, and 0 for a reply that is malformed, takes an item twice, or weighs too much. Value is weight here,
the most correlated of the classical classes (subset sum); what is left of hardness is how few packings come near the best.
Source: Pisinger 2005, "Where are the hard knapsack problems?".
"""

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from transformers import PreTrainedTokenizerFast

from rmviz.errors import ConfigError, DataError
from rmviz.types import JSON
from rmviz.world.tokenizer import word_tokenizer

HEAVIEST, LARGEST = 20, 200
"""Weight of the heaviest item, and the largest capacity: every number up to it is one token."""

NEAR = 0.95
"""Share of the best fill from which a packing counts as near it."""

Hardness = Literal["mixed", "easy", "hard"]

_OVERFILLED, _DRAWS = 0.15, 16
_START, _ITEMS, _END = "capacity", "items", "pack"


@dataclass(frozen=True)
class Instance:
    """One knapsack: weights of its items, called a, b, c … in this order, and what it can carry."""

    capacity: int
    weights: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that there is something to pack.

        Raises:
            DataError: No item fits, or a weight is not positive.
        """
        if not self.weights or min(self.weights) < 1 or len(self.weights) > len(string.ascii_lowercase):
            raise DataError(f"a knapsack has 1 to 26 items with weights of at least 1, got {list(self.weights)}")
        if min(self.weights) > self.capacity:
            raise DataError(
                f"no item fits into this knapsack: the lightest weighs {min(self.weights)} and the capacity is "
                f"{self.capacity}; give it a larger capacity or a lighter item"
            )

    @classmethod
    def parsed(cls, prompt: str) -> "Instance":
        """The knapsack that a prompt describes.

        Raises:
            DataError: The prompt describes none, or one into which no item fits.
        """
        words = prompt.split()
        names, weights = words[3:-1:2], words[4:-1:2]
        whole = (
            len(words) >= 6 and len(words) % 2 == 0 and (words[0], words[2], words[-1]) == (_START, _ITEMS, _END)
            and names == list(string.ascii_lowercase[: len(names)])
            and all(word.isascii() and word.isdigit() for word in (words[1], *weights))
        )  # fmt: skip
        if not whole:
            raise DataError(
                f"a knapsack reads like {str(Instance(30, (7, 12)))!r}, got {prompt[:80]!r}; ask the policy of this task "
                "only prompts of this task"
            )
        return cls(int(words[1]), tuple(map(int, weights)))

    def __str__(self) -> str:
        """The prompt: `capacity 30 items a 7 b 12 pack`."""
        items = " ".join(f"{name} {weight}" for name, weight in zip(string.ascii_lowercase, self.weights, strict=False))
        return f"{_START} {self.capacity} {_ITEMS} {items} {_END}"

    def packed(self, reply: str) -> int | None:
        """The weight that a reply packs; None where it names something else than items, or one of them twice."""
        names = reply.split()
        known = string.ascii_lowercase[: len(self.weights)]
        if len(set(names)) < len(names) or any(len(name) != 1 or name not in known for name in names):
            return None
        return sum(self.weights[known.index(name)] for name in names)

    def fill(self, reply: str) -> float:
        """Packed weight / capacity; 0 for a reply that is malformed or too heavy."""
        weight = self.packed(reply)
        return 0.0 if weight is None or weight > self.capacity else weight / self.capacity

    @property
    def best(self) -> float:
        """The highest fill that there is."""
        counts = packings(self.weights, self.capacity)
        return max(weight for weight, count in enumerate(counts) if count) / self.capacity

    @property
    def near_best(self) -> float:
        """Hardness: the share of packings that can be carried whose fill is at least 95 % of the best; low is hard."""
        counts = packings(self.weights, self.capacity)
        return sum(counts[w] for w in range(self.capacity + 1) if w >= NEAR * self.best * self.capacity) / sum(counts)


@lru_cache(maxsize=4096)
def packings(weights: tuple[int, ...], capacity: int) -> tuple[int, ...]:
    """How many sets of items weigh exactly 0, 1, … capacity: `(capacity + 1,)`.

    Source: Bellman 1957, dynamic programming over items.
    """
    counts = [1] + [0] * capacity
    for weight in weights:
        for total in range(capacity, weight - 1, -1):
            counts[total] += counts[total - weight]
    return tuple(counts)


@dataclass(frozen=True)
class Knapsack:
    """Knapsacks of one size and hardness."""

    name: str = "knapsack"
    num_items: int = 8
    capacities: tuple[int, int] = (10, 80)
    """Lowest and highest capacity, both are drawn."""

    hardness: Hardness = "mixed"
    """mixed: as they are drawn; easy or hard: of 16 drawn, the one with most or fewest packings near the best."""

    heaviest: int = HEAVIEST

    format: Literal["plain", "transcript"] = "plain"
    reward_words: str = "fill: packed weight / capacity, 0 if too heavy or malformed"

    def __post_init__(self) -> None:
        """Check that such knapsacks exist.

        Raises:
            ConfigError: They do not.
        """
        low, high = self.capacities
        if not 1 <= self.num_items <= len(string.ascii_lowercase):
            raise ConfigError(f"a knapsack has 1 to 26 items, got {self.num_items}")
        if not 1 <= low <= high <= LARGEST:
            raise ConfigError(f"capacities must rise within 1 to {LARGEST}, got {low} to {high}")
        if not 1 <= self.heaviest <= LARGEST:
            raise ConfigError(f"the heaviest item must weigh 1 to {LARGEST}, got {self.heaviest}")

    @property
    def max_length(self) -> int:
        """Tokens of the longest text: twice what prompt and items need, for policies that do not find the end."""
        return 8 * self.num_items

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Every number up to 200 and every item is one token."""
        numbers = " ".join(map(str, range(LARGEST + 1)))
        names = " ".join(string.ascii_lowercase[: self.num_items])
        return word_tokenizer([f"{_START} {numbers} {_ITEMS} {names} {_END}"], max_length=self.max_length)

    def instance(self, rng: random.Random) -> Instance:
        """A knapsack, drawn anew: one item at least fits, and not all of them where the capacities allow it."""
        if self.hardness == "mixed":
            return self._drawn(rng)
        drawn = [self._drawn(rng) for _ in range(_DRAWS)]
        return (max if self.hardness == "easy" else min)(drawn, key=lambda one: one.near_best)

    def prompt(self, rng: random.Random) -> str:
        """Capacity and items of a knapsack."""
        return str(self.instance(rng))

    def reply(self, prompt: str, rng: random.Random) -> str:
        """A packer who takes items at random, stops rather late than early, and in 15 % of all cases packs too much."""
        instance = Instance.parsed(prompt)
        order = rng.sample(range(len(instance.weights)), len(instance.weights))
        fitting = _carried(instance, order)
        if rng.random() < _OVERFILLED and sum(instance.weights) > instance.capacity:
            taken = next(
                order[:k] for k in range(1, len(order) + 1) if _weight(instance, order[:k]) > instance.capacity
            )
        else:
            taken = fitting[: max(rng.randint(1, len(fitting)) for _ in range(2))]
        return " ".join(string.ascii_lowercase[item] for item in taken)

    def reward(self, prompt: str, reply: str) -> float:
        """The fill."""
        return Instance.parsed(prompt).fill(reply)

    def best(self, prompt: str) -> float:
        """The highest fill, by dynamic programming."""
        return Instance.parsed(prompt).best

    def facts(self, prompt: str, reply: str) -> Mapping[str, JSON]:
        """Fill, best fill, and how hard the knapsack is."""
        instance = Instance.parsed(prompt)
        return {
            "fill": instance.fill(reply),
            "best": instance.best,
            "capacity": instance.capacity,
            "near_best": round(instance.near_best, 4),
        }

    def _drawn(self, rng: random.Random) -> Instance:
        weights = tuple(rng.randint(1, self.heaviest) for _ in range(self.num_items))
        low = max(self.capacities[0], min(weights))
        return Instance(rng.randint(low, max(low, min(self.capacities[1], sum(weights) - 1))), weights)


def hard_knapsack() -> Knapsack:
    """Knapsacks of the usual size of which few packings come near the best."""
    return Knapsack(name="knapsack-hard", hardness="hard")


def large_knapsack() -> Knapsack:
    """Knapsacks of twice the usual size."""
    return Knapsack(name="knapsack-large", num_items=16, capacities=(20, 160))


def _weight(instance: Instance, items: Sequence[int]) -> int:
    return sum(instance.weights[item] for item in items)


def _carried(instance: Instance, order: Sequence[int]) -> list[int]:
    """Items taken in this order wherever they still fit; at least one does."""
    taken: list[int] = []
    for item in order:
        if _weight(instance, [*taken, item]) <= instance.capacity:
            taken.append(item)
    return taken
