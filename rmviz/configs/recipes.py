"""Whole experiments that run with one command: which there are, and what can be set."""

from dataclasses import dataclass, field
from typing import Literal

from rmviz.configs.base import also, at_least, often, require, verb

RecipeName = Literal["pink-elephants", "iterated", "knapsack", "reward-ensemble", "ilql-lander", "map"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one recipe is, for the Train page and the command line."""

    title: str
    sentence: str
    """What it does, and which question it answers."""

    sizes: tuple[str, ...] = field(default=())
    """Settings of `RecipeConfig` that this recipe has beside seeds."""


RECIPES: dict[str, Recipe] = {
    "pink-elephants": Recipe(
        title="Pink elephants",
        sentence="Conversations revised so that they do not name a term; ILQL, DPO and ReST learn from them: how often is "
        "the term still named, before and after? A seed does all anew.",
    ),
    "iterated": Recipe(
        title="Iterated RLHF",
        sentence="A gold reward in place of people: is a proxy that is trained anew each round worth more than one that is "
        "trained once with as many labels, and does a weak proxy's gap open without KL? Seeds share the first policy and the "
        "prompts; labels, proxies and policies are made anew.",
    ),
    "knapsack": Recipe(
        title="Knapsack",
        sentence="Preference pairs from tree search against two samples per problem, at as many policy calls: which trains the "
        "better packer? Seeds share the untrained policy; pairs, DPO and PPO are made anew.",
        sizes=("effort",),
    ),
    "reward-ensemble": Recipe(
        title="Reward ensemble",
        sentence="Reward models of the same labels that differ by their seed: where do they disagree, and does their mean, or "
        "mean − λ·std, choose better than one of them? Seeds share the world's language model and the replies; labels "
        "and reward models are made anew.",
    ),
    "ilql-lander": Recipe(
        title="ILQL on the lander",
        sentence="Implicit Q-learning on flights of a craft in a grid world whose values are known: how far are Q and V from "
        "dynamic programming? A seed does all anew.",
    ),
    "map": Recipe(
        title="Map",
        sentence="The planted world's reward model searched by QDAIF beside three baselines: does its map say what is "
        "true? Seeds share the reward model; the searches are run anew.",
        sizes=("num_attempts",),
    ),
}
"""Every recipe; `rmviz.recipes.job.RUNS` has the same keys."""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Run a recipe: data to models to figures, on a task or world whose truth is known."""

    name: RecipeName = verb("knapsack")
    """Which recipe."""

    num_seeds: int = also("--seeds", 5)
    """Seeds that it is run with; intervals are over them. What a seed does anew is said with each recipe."""

    num_attempts: int = also("--attempts", 0)
    """Of the recipe map: poems written in each run; 0 takes the recipe's own."""

    effort: float = often(1.0)
    """Of the recipe knapsack: share of its steps and problems that is done, from 0.1; below 1 is a quick look, and finds less."""

    seed: int = 0
    """The first seed."""

    def __post_init__(self) -> None:
        at_least(self, num_seeds=1, num_attempts=0, seed=0)
        require(0.1 <= self.effort <= 10, f"effort must be from 0.1 to 10, got {self.effort}")
        if self.name in RECIPES:
            for size in {size for recipe in RECIPES.values() for size in recipe.sizes} - {*RECIPES[self.name].sizes}:
                default = getattr(RecipeConfig, size)
                require(getattr(self, size) == default, f"the recipe {self.name} has no {size}; leave it {default:g}")
