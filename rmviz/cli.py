"""The command line: the same verbs as the pages. Heavy libraries are imported only by the command that needs them."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rmviz import cli_bench, cli_jobs, cli_label, cli_map, cli_probe, cli_recipe
from rmviz.cli_flags import JsonOption, WorkspaceOption, artifact_lines, job_command, opened, show
from rmviz.cli_open import LOOPBACK, open_app
from rmviz.cli_world import build_demo, calibrated_probes
from rmviz.configs.command import COMMANDS, GROUPS
from rmviz.configs.kinds import KINDS
from rmviz.errors import RmvizError
from rmviz.jobs.progress import TerminalProgress

app = typer.Typer(
    help="See what reward models want.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_groups = {name: typer.Typer(help=text, no_args_is_help=True) for name, text in GROUPS.items()}
for _name, _group in _groups.items():
    app.add_typer(_group, name=_name)
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_jobs.app, name="jobs")
app.add_typer(cli_label.app, name="label")
app.add_typer(cli_map.app, name="map")
cli_probe.add_to(app)
app.add_typer(cli_recipe.app, name="recipe")

for _kind, (_group_name, *_verb) in COMMANDS.items():
    if _group_name in _groups:
        _groups[_group_name].command(_verb[0])(job_command(_kind, KINDS[_kind]))
app.command("effects")(job_command("effects", KINDS["effects"]))
app.command("features")(job_command("features", KINDS["features"]))
app.command("compare")(job_command("compare", KINDS["compare"]))

HeadlessOption = Annotated[bool, typer.Option("--headless", help="Do not open a browser.")]
PortOption = Annotated[int, typer.Option(help="Port of the app.")]


@app.command()
def demo(
    workspace: WorkspaceOption = None,
    headless: HeadlessOption = False,
    port: PortOption = 8501,
    build_only: Annotated[bool, typer.Option("--build-only", help="Build everything, open nothing.")] = False,
) -> None:
    """Build the planted world, look inside its reward model, and open the app."""
    space = opened(workspace)
    build_demo(space, TerminalProgress())
    if not build_only:
        open_app(space.root, headless, port)


@app.command("app")
def app_command(
    workspace: WorkspaceOption = None,
    headless: HeadlessOption = False,
    port: PortOption = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback needs a proxy that asks who it is.")
    ] = LOOPBACK,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Name under which browsers reach it (repeat it).")
    ] = None,
    allow_remote_jobs: Annotated[
        bool, typer.Option("--allow-remote-jobs", help="Let whoever reaches it launch and cancel jobs.")
    ] = False,
) -> None:
    """Open the app on a workspace; its address is printed."""
    os.environ["RMVIZ_ALLOW_REMOTE_JOBS"] = "1" if allow_remote_jobs else ""
    open_app(opened(workspace).root, headless, port, host, allowed_host or [])


@app.command()
def backend(
    workspace: WorkspaceOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 0,
    idle_timeout: Annotated[float, typer.Option(help="Stop after this many idle seconds; 0 never stops.")] = 0.0,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Allow an address other than loopback.")] = False,
    replicas: Annotated[int, typer.Option(help="Replicas under Ray Serve, one per GPU; 0: one process, no Ray.")] = 0,
) -> None:
    """Hold models ready for the app's live parts (the app starts this by itself)."""
    from rmviz.backend.service import serve

    options = {"idle_timeout": idle_timeout or None, "allow_remote": allow_remote, "num_replicas": replicas}
    serve(opened(workspace).root, host=host, port=port, **options)  # pyright: ignore[reportArgumentType]


@_groups["sae"].command("add")
def sae_add(
    source: Annotated[str, typer.Argument(help="Folder of a SAELens SAE (cfg.json and safetensors).")],
    model: Annotated[str, typer.Argument(help="Id or name of the reward model it reads.")],
    hookpoint: Annotated[str, typer.Option(help="layers.L, where its config does not say.")] = "",
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in an SAE that SAELens trained."""
    from rmviz.sae.add import add_sae

    artifact = add_sae(opened(workspace), source, model, hookpoint=hookpoint, name=name)
    show(artifact.manifest(), as_json, lambda: artifact_lines(artifact))


@app.command("list")
def list_command(
    kind: Annotated[
        str, typer.Argument(help="Only this kind: dataset, reward_model, policy, sae, effects, features.")
    ] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is in the workspace, newest first."""
    artifacts = opened(workspace).list(kind.replace("-", "_"))
    empty = [
        "Nothing yet. `rmviz demo` builds an example;",
        "`rmviz data add FILE` and `rmviz model add FOLDER` bring in your own.",
    ]
    show(
        [artifact.manifest() for artifact in artifacts],
        as_json,
        lambda: [f"{_when(a.created)}  {a.kind:<13} {a.id:<22} {a.name}" for a in artifacts] or empty,
    )


@app.command("show")
def show_command(
    ref: Annotated[str, typer.Argument(help="Id or name of an artifact.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """One artifact: its settings, figures, parents and files (checked)."""
    space = opened(workspace)
    artifact = space.resolve(ref).verify()

    def lines() -> list[str]:
        parents = [f"  from {parent}" for parent in artifact.parents]
        settings = [f"  {name} = {value}" for name, value in artifact.config.items()]
        files = [f"  {size:>12,} B  {name}" for name, (size, _) in artifact.files.items()]
        return [
            *artifact_lines(artifact),
            *parents,
            "settings",
            *settings,
            f"files in {artifact.folder} (checked)",
            *files,
        ]

    show(artifact.manifest() | {"folder": str(artifact.folder)}, as_json, lines)


@app.command()
def export(
    effects: Annotated[str, typer.Argument(help="Id or name of the effects.")],
    rows: Annotated[Path, typer.Option(help="Parquet file for the rows: one per text and feature that fires on it.")],
    texts: Annotated[Path, typer.Option(help="Parquet file for the texts, exactly as scored.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write effects so that anyone can check them with plain transformers and SAELens."""
    from rmviz.ablation.rows import export as export_effects

    result = export_effects(opened(workspace).resolve(effects, "effects"), rows, texts)
    show(result, as_json, lambda: [f"{name} {value}" for name, value in result.items()])


@app.command()
def calibrate(
    probes: Annotated[
        bool, typer.Option("--probes", help="Also: do the probes find the planted misalignment, and do waterfalls sum?")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """How much of the planted truth the tool finds (builds the planted world if it is not there)."""
    space, progress = opened(workspace), TerminalProgress()
    result = build_demo(space, progress)
    if probes:
        result |= calibrated_probes(space, progress)
    show(result, as_json, lambda: [f"{name:<24} {value}" for name, value in result.items() if name != "topics"])


@app.command()
def reindex(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Make the catalogue again from the files."""
    count = opened(workspace).catalogue.rebuild()
    show({"artifacts": count}, as_json, lambda: [f"{count} artifacts"])


@app.command()
def doctor(
    mend: Annotated[bool, typer.Option("--mend", help="Do what is safe to do about it.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Versions, devices, disk, and whether everything in the workspace is sound; ends with 1 where something is not."""
    from rmviz.jobs.doctor import facts, findings

    space = opened(workspace)
    known = facts(space)
    found = list(findings(space))
    mended = [bool(mend and finding.mend) for finding in found]
    for finding, now in zip(found, mended, strict=True):
        if now and finding.mend:
            finding.mend()
    problems = [
        {"what": finding.what, "advice": finding.advice, "can_mend": finding.mend is not None, "mended": now}
        for finding, now in zip(found, mended, strict=True)
    ]

    def lines() -> list[str]:
        marks = [
            "mended" if now else "--mend does it" if one.mend else "" for one, now in zip(found, mended, strict=True)
        ]
        told = [f"* {one.what}. {one.advice}.  {mark}".rstrip() for one, mark in zip(found, marks, strict=True)]
        return [*(f"{name:<14} {value}" for name, value in known.items()), *(told or ["All is sound."])]

    show({**known, "problems": problems}, as_json, lines)
    if not all(mended):
        raise typer.Exit(1)


def _when(created: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created))


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, not in a traceback."""
    logging.basicConfig(
        level=os.environ.get("RMVIZ_LOG", "WARNING").upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        app()
    except RmvizError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is lost: run the same command again to go on.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
