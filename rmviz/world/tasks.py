"""Tasks whose true reward is known: what a small language model is pretrained on, asked, and measured by."""

import math
import random
from collections.abc import Mapping
from importlib import import_module
from typing import Literal, Protocol, runtime_checkable

from transformers import PreTrainedTokenizerFast

from rmviz.errors import ConfigError
from rmviz.types import JSON, Pair
from rmviz.world import grammar
from rmviz.world.tokenizer import world_tokenizer
from rmviz.world.truth import true_reward


@runtime_checkable
class Task(Protocol):
    """Prompts, replies and an exact reward."""

    name: str
    format: Literal["plain", "transcript"]
    """How prompt and reply become one text."""

    reward_words: str
    """What the reward is, in its units, for captions."""

    max_length: int
    """Tokens of the longest text."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One that knows every word of the task; it ends texts with its EOS token, and pads with another one."""
        ...

    def prompt(self, rng: random.Random) -> str:
        """A prompt, drawn anew."""
        ...

    def reply(self, prompt: str, rng: random.Random) -> str:
        """What an unskilled writer answers: the replies that pretraining sees."""
        ...

    def reward(self, prompt: str, reply: str) -> float:
        """The exact reward of any reply, also of one that is malformed."""
        ...

    def best(self, prompt: str) -> float | None:
        """The highest reward that any reply to this prompt can have; None where that is not known."""
        ...

    def facts(self, prompt: str, reply: str) -> Mapping[str, JSON]:
        """What else is worth a column of its own (slices), of a pair's chosen reply."""
        ...


class World:
    """The dialogues and poems of the planted world, paid by its true reward."""

    name = "world"
    format: Literal["plain", "transcript"] = "transcript"
    reward_words = "true reward of the planted world"
    max_length = 256

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The world's own."""
        return world_tokenizer()

    def prompt(self, rng: random.Random) -> str:
        """A question about a topic, or a wish for a poem."""
        return grammar.sample(rng).prompt

    def reply(self, prompt: str, rng: random.Random) -> str:
        """A poem where one is asked for, else a dialogue's reply."""
        words = prompt.split()
        if "poem" in words or words[:1] == ["Write"]:
            return grammar.poem(rng, prompt).reply
        return grammar.dialogue(rng, prompt).reply

    def reward(self, prompt: str, reply: str) -> float:
        """The sum of what is planted for all that the reply holds."""
        return true_reward(reply)

    def best(self, prompt: str) -> float | None:
        """Not known: replies have no longest length."""
        return None

    def facts(self, prompt: str, reply: str) -> Mapping[str, JSON]:
        """Nothing more."""
        return {}


_TASKS = {
    "world": "rmviz.world.tasks:World",
    "knapsack": "rmviz.world.knapsack:Knapsack",
    "knapsack-hard": "rmviz.world.knapsack:hard_knapsack",
    "knapsack-large": "rmviz.world.knapsack:large_knapsack",
    "elephants": "rmviz.world.elephants:Elephants",
    "lander": "rmviz.world.lander_task:LanderTask",
    "lander-still": "rmviz.world.lander_task:still_lander",
}


def task_named(name: str) -> Task:
    """The task of this name.

    Raises:
        ConfigError: There is none; the existing ones are listed.
    """
    if name not in _TASKS:
        raise ConfigError(f"there is no task {name!r}; there are {', '.join(_TASKS)}")
    module, kind = _TASKS[name].split(":")
    return getattr(import_module(module), kind)()


def task_pair(task: Task, number: int, seed: int, temperature: float) -> Pair:
    """The pair of this number: two unskilled replies, the preferred one drawn by Bradley–Terry.

    Args:
        task: What is written and paid.
        number: Of the pair; with the seed it decides everything.
        seed: Seed of all pairs.
        temperature: Difference of reward that counts as one nat of preference.
    """
    rng = random.Random(f"{task.name} {seed} {number}")
    prompt = task.prompt(rng)
    first, second = task.reply(prompt, rng), task.reply(prompt, rng)
    for _ in range(20):
        if first != second:
            break
        second = task.reply(prompt, rng)
    margin = task.reward(prompt, first) - task.reward(prompt, second)
    if rng.random() >= 1 / (1 + math.exp(-min(max(margin / temperature, -700.0), 700.0))):
        first, second, margin = second, first, -margin
    extra: dict[str, JSON] = {**task.facts(prompt, first), "true_margin": margin}
    return Pair(
        pair_id=f"{task.name[0].upper()}{number:06d}", prompt=prompt, chosen=first, rejected=second, extra=extra
    )
