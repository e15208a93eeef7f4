"""Generators and judges by the names that a config gives them."""

import random

from rmviz.configs.axes import Axis, Grid
from rmviz.configs.map import MapConfig, judges_of
from rmviz.errors import ConfigError
from rmviz.models.policy_files import load_language_model
from rmviz.qdaif.generators import SEED_POEM, Generator, RemoteGenerator, TransformersGenerator, WorldGenerator
from rmviz.qdaif.judges import Asked, AxisJudge, Form, Judge, Measure, World
from rmviz.store.artifact import Artifact
from rmviz.world import grammar


def opened_generator(config: MapConfig, grid: Grid, policy: Artifact | None) -> Generator:
    """What writes the poems.

    Raises:
        ConfigError: The planted language model is asked for, and the policy is not in the workspace.
        ModelError: The policy cannot be loaded.
    """
    if config.generator == "openai":
        return RemoteGenerator(
            config.server, config.policy, grid, temperature=config.temperature, max_tokens=config.max_new_tokens,
            max_requests=config.max_requests,
        )  # fmt: skip
    if config.generator == "world" and policy is None:
        raise ConfigError(
            f"generator world writes with a policy of the workspace, and there is none called {config.policy!r}; "
            "make one (`rmviz demo`), or choose generator transformers or openai"
        )
    model, tokenizer = load_language_model(policy or config.policy)
    options = {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens}
    kind = WorldGenerator if config.generator == "world" else TransformersGenerator
    return kind(model, tokenizer, grid, **options)


def opened_judge(config: MapConfig, grid: Grid, policy: Artifact | None) -> Judge:
    """What decides the cells.

    Raises:
        ConfigError: A judge does not know its axis.
    """
    names = judges_of(config.judge, tuple(axis.name for axis in grid.axes))
    return Judge(grid, [_axis_judge(names[axis.name], axis, config) for axis in grid.axes])


def _axis_judge(name: str, axis: Axis, config: MapConfig) -> AxisJudge:
    match name:
        case "asked":
            return Asked()
        case "form":
            return Form(axis)
        case "measure":
            return Measure(axis)
        case "world":
            return World(axis)
    from rmviz.qdaif.model_judges import opened_model_judge

    return opened_model_judge(name, axis, config.judge_model)


def seed_poem(config: MapConfig, seed: int) -> str:
    """The poem that fixed_seed rewrites: the config's, else one of the world's grammar for its own generator."""
    if config.seed_poem:
        return config.seed_poem.replace("\\n", "\n")
    return grammar.poem(random.Random(f"seed poem {seed}")).reply if config.generator == "world" else SEED_POEM
