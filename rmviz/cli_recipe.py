"""`rmviz recipe …`: whole experiments, from data to figures."""

from typing import Any

import typer

from rmviz.cli_flags import artifact_lines, job_command
from rmviz.configs.recipes import RECIPES, RecipeConfig
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import read_experiment

app = typer.Typer(help="Whole experiments on tasks whose truth is known.", no_args_is_help=True)
_SIZES = {size for recipe in RECIPES.values() for size in recipe.sizes}


def _told(artifact: Artifact) -> dict[str, Any]:
    return {"id": artifact.id, **read_experiment(artifact).told()}


def _lines(artifact: Artifact) -> list[str]:
    experiment = read_experiment(artifact)
    figures = [
        f"  {one.name:<28} "
        + ("–" if one.mean is None else f"{one.mean:.4g}")
        + (f" [{one.low:.4g}, {one.high:.4g}]" if one.low is not None else "")
        + f"  n = {one.n}"
        + (f"  (wished for: {one.target})" if one.target else "")
        for one in experiment.figures
    ]
    return [*artifact_lines(artifact)[:1], *experiment.found, *figures, f"  {experiment.seconds:.0f} s"]


for _name, _recipe in RECIPES.items():
    _command = job_command(
        "recipe",
        RecipeConfig,
        fixed={"name": _name},
        without=_SIZES - set(_recipe.sizes),
        help=_recipe.sentence,
        told=_told,
        lines=_lines,
    )
    app.command(_name)(_command)
