"""A recipe as one job: each of its steps is a job of its own, found by its key when it was done before.

A step that is interrupted goes on from its checkpoint when the recipe is run again; those before it are found.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rmviz.configs.recipes import RECIPES, RecipeConfig
from rmviz.errors import ConfigError, RunningError
from rmviz.jobs.elapsed import Stopwatch
from rmviz.jobs.progress import JobReport
from rmviz.recipes.counted import Execute
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report
from rmviz.worker import execute

RUNS: dict[str, str] = {
    "pink-elephants": "rmviz.recipes.pink_elephants:run",
    "iterated": "rmviz.recipes.iterated:run",
    "knapsack": "rmviz.recipes.knapsack:run",
    "reward-ensemble": "rmviz.recipes.reward_ensemble:run",
    "ilql-lander": "rmviz.recipes.ilql_lander:run",
    "map": "rmviz.qdaif.recipe:run",
}
"""The function of each recipe: `run(space, execute, report, num_seeds, seed, **sizes) -> Artifact`, an experiment."""

_PARTS = 100
"""Parts of one step of a recipe in which progress is told."""

_EVERY = 1.0
"""Seconds between two reports of a step that runs."""

_AGAIN = 2.0
"""Seconds between two looks at a step that another process does."""


def run(config: RecipeConfig, workspace: Workspace, report: Report) -> Artifact:
    """Run a recipe to its end.

    Raises:
        ConfigError: There is no such recipe.
    """
    sizes = {name: getattr(config, name) for name in RECIPES[config.name].sizes}
    with stepwise(workspace, report) as (steps, step):
        return recipe_named(config.name)(workspace, step, steps, config.num_seeds, config.seed, **sizes)


@contextmanager
def stepwise(workspace: Workspace, report: Report) -> "Iterator[tuple[Steps, Execute]]":
    """The report of a recipe and what does its steps; however it ends, the time that it took is kept.

    A step that another process does now is waited for.
    """
    steps = Steps(report)

    def step(kind: str, settings: Any) -> Artifact:
        while True:
            try:
                return execute(kind, settings, workspace, steps.heard)
            except RunningError:
                time.sleep(_AGAIN)

    try:
        yield steps, step
    finally:
        steps.watch.keep()


def recipe_named(name: str) -> Callable[..., Artifact]:
    """The function of a recipe.

    Raises:
        ConfigError: There is no such recipe.
    """
    module, function = RUNS[name].split(":")
    if find_spec(module) is None:
        raise ConfigError(f"the recipe {name} is not part of this rmviz; upgrade it")
    return getattr(import_module(module), function)


class Steps:
    """The report that a recipe gets: it counts in the recipe's steps, and tells what the step that runs now tells."""

    def __init__(self, report: Report) -> None:
        """Report to the job's own report."""
        self._report, self._done, self._total, self._told = report, 0, 1, 0.0
        self.watch = Stopwatch(report.folder)

    @property
    def key(self) -> str:
        """The key of the recipe's job: what its experiment is kept under."""
        return self._report.key

    @property
    def folder(self) -> Path:
        """The checkpoints of the recipe's job."""
        return self._report.folder

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say that `step` of the recipe's `total` steps are done."""
        self._done, self._total = step, max(total, 1)
        if isinstance(self._report, JobReport):
            self._report.recount()  # steps that were found took no time, and others take their own
        self._report(_PARTS * self._done, _PARTS * self._total, metrics)

    def heard(self, kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> None:
        """Pass on what the step that runs now tells: how far it is, its figures under its kind."""
        now = time.monotonic()
        if now - self._told < _EVERY and step < total:
            return
        self._told = now
        self.watch.keep()
        share = min(step / total, 1.0) if total else 0.0
        done = min(_PARTS * self._done + int(_PARTS * share), _PARTS * self._total)
        self._report(done, _PARTS * self._total, {f"{kind} {name}": value for name, value in metrics.items()})
