"""`rmviz map …`: search for maps, show them, compare them, write them out."""

from pathlib import Path
from typing import Annotated

import typer

from rmviz.cli_flags import JsonOption, WorkspaceOption, artifact_lines, job_command, opened, show
from rmviz.configs.kinds import KINDS
from rmviz.configs.map import MapRescoreConfig
from rmviz.jobs.progress import TerminalProgress
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace

app = typer.Typer(help="Maps: the best poem of every tone and genre.", no_args_is_help=True)


app.command("run")(job_command("map", KINDS["map"]))

MapArgument = Annotated[str, typer.Argument(help="Id or name of the map.")]
NameOption = Annotated[str, typer.Option(help="What to call the result.")]
PerCellOption = Annotated[int, typer.Option(help="Poems scored again in each cell: its best.")]


@app.command("show")
def show_command(
    map: MapArgument,
    value: Annotated[
        str, typer.Option(help="What to show: best, expected_best, median, q90, draws or right_share.")
    ] = "expected_best",
    by: Annotated[str, typer.Option(help="judged or asked: which cell a poem counts for.")] = "judged",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """A map in the terminal, with the means of rows and columns and whether they are the lowest."""
    from rmviz.qdaif.view import cell_values, plain, shown
    from rmviz.store.tables import load_table

    artifact = opened(workspace).resolve(map, "map")
    cells = cell_values(artifact, value, by)
    means = load_table(artifact.path("means.parquet"))
    result = {"id": artifact.id, "metrics": artifact.metrics, "cells": plain(cells), "means": plain(means)}
    show(result, as_json, lambda: [*artifact_lines(artifact), "", *shown(cells, means, value)])


@app.command()
def diff(
    map: MapArgument,
    other: Annotated[str, typer.Argument(help="Id or name of another map, or of another reward model.")],
    name: NameOption = "",
    per_cell: PerCellOption = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What another reward model pays for the same poems, and what a search with it found."""
    space = opened(workspace)
    chosen = space.resolve(other, "map", "reward_model")
    other_map = chosen.id if chosen.kind == "map" else ""
    model = "" if other_map else chosen.id
    _rescored(MapRescoreConfig(map=map, other_map=other_map, model=model, per_cell=per_cell, name=name), space, as_json)


@app.command()
def ablate(
    map: MapArgument,
    sae: Annotated[str, typer.Argument(help="Id or name of the SAE.")],
    features: Annotated[str, typer.Argument(help="Features to switch off together, as in 3,17,204.")],
    name: NameOption = "",
    per_cell: PerCellOption = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """The same poems with some features off: where do these features pay?"""
    space = opened(workspace)
    chosen = space.resolve(sae, "sae").id
    _rescored(MapRescoreConfig(map=map, sae=chosen, features=features, per_cell=per_cell, name=name), space, as_json)


@app.command()
def export(
    map: MapArgument,
    to: Annotated[Path, typer.Argument(help="File to write; its ending says what: .svg, .png, .parquet or .html.")],
    value: Annotated[str, typer.Option(help="What the figure shows: best, expected_best, median or draws.")] = (
        "expected_best"
    ),
    by: Annotated[str, typer.Option(help="judged or asked: which cell a poem counts for.")] = "judged",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a map as a figure, as the table of its attempts, or as a page that stands alone."""
    from rmviz.qdaif.export import export as export_map

    export_map(opened(workspace).resolve(map, "map"), to, value, by)
    show({"file": str(to)}, as_json, lambda: [f"{to}"])


def _rescored(config: MapRescoreConfig, space: Workspace, as_json: bool) -> None:
    from rmviz.worker import execute

    progress = TerminalProgress()
    try:
        artifact: Artifact = execute("map_rescore", config, space, progress)
    finally:
        progress.end()
    show(artifact.manifest(), as_json, lambda: artifact_lines(artifact))
