"""Command lines made from job configs: every field is an argument or an option, its docstring the help."""

import inspect
import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rmviz.configs.base import field_docs, required
from rmviz.jobs.progress import TerminalProgress
from rmviz.jobs.queue import launch
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace, default_root

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Workspace folder; RMVIZ_WORKSPACE or ./workspace when not given."),
]
QueueOption = Annotated[bool, typer.Option("--queue", help="Leave it to the job queue instead of running it here.")]
AgainOption = Annotated[bool, typer.Option("--again", help="Queue another run of it although it was run.")]
RunnerOption = Annotated[str, typer.Option("--runner", help="Queue it, to run there: local, ray or slurm.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def opened(workspace: Path | None) -> Workspace:
    """The workspace that the command line names."""
    return Workspace(workspace or default_root())


def show(result: Any, as_json: bool, lines: Callable[[], list[str]]) -> None:
    """Print a result: as JSON for a script, else as the lines for a person."""
    if as_json:
        json.dump(result, sys.stdout, indent=1, allow_nan=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(lines()) + "\n")


def artifact_lines(artifact: Artifact) -> list[str]:
    """What a person wants to know of a new artifact."""
    figures = "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in artifact.metrics.items()
        if isinstance(value, (int, float, str))
    )
    return [f"{artifact.kind} {artifact.name}  ({artifact.id})", *([f"  {figures}"] if figures else [])]


def job_command(
    kind: str,
    config: type,
    *,
    fixed: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
    help: str = "",
    told: Callable[[Artifact], dict[str, Any]] = Artifact.manifest,
    lines: Callable[[Artifact], list[str]] = artifact_lines,
) -> Callable[..., None]:
    """A command that runs one job kind; arguments are the config's required fields, options the others.

    Args:
        kind: The job kind.
        config: The class of its config.
        fixed: Values of fields that are no options.
        without: Further fields that are no options; they keep their defaults.
        help: What the command does, if not what the config's docstring says.
        told: What `--json` prints of the result.
        lines: What a person reads of it.
    """

    def command(workspace: Path | None, as_json: bool, queue: bool, again: bool, runner: str, **values: Any) -> None:
        settings = config(**values, **(fixed or {}))
        if queue or again or runner:
            job = launch(kind, settings, opened(workspace), runner=runner, again=again)
            line = f"{job.state} {job.key}  (`rmviz jobs logs -f {job.key}` follows it)"
            show({"key": job.key, "state": job.state, "artifact": job.artifact}, as_json, lambda: [line])
            return
        from rmviz.worker import execute, follow_up

        space, progress = opened(workspace), TerminalProgress()
        try:
            artifact = execute(kind, settings, space, progress)
            more = follow_up(artifact, space)
            then = execute(*more, space, progress) if more else None
        finally:
            progress.end()
        result = told(artifact) | ({"then": then.manifest()} if then else {})
        show(result, as_json, lambda: [*lines(artifact), *(artifact_lines(then) if then else [])])

    shown = [f for f in fields(config) if f.name not in {*without, *(fixed or {})}]
    parameters = [_parameter(f, get_type_hints(config)[f.name], field_docs(config)[f.name]) for f in shown]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, default, annotation in (
            ("workspace", None, WorkspaceOption),
            ("as_json", False, JsonOption),
            ("queue", False, QueueOption),
            ("again", False, AgainOption),
            ("runner", "", RunnerOption),
        )
    ]
    command.__signature__ = inspect.Signature(
        sorted(parameters, key=lambda p: p.default is not inspect.Parameter.empty)
    )  # type: ignore[attr-defined]
    command.__doc__ = help or inspect.getdoc(config)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(f: Any, hint: Any, doc: str) -> inspect.Parameter:
    if required(f):
        return inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[hint, typer.Argument(help=doc)]
        )
    default = f.default if f.default is not MISSING else f.default_factory()
    flags = (f"--{f.name.replace('_', '-')}", f.metadata["also"]) if "also" in f.metadata else ()
    option = typer.Option(*flags, help=doc)
    return inspect.Parameter(
        f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )
