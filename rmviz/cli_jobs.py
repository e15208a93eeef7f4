"""`rmviz jobs …`: the queue from the terminal."""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rmviz.cli_flags import JsonOption, WorkspaceOption, artifact_lines, opened, show
from rmviz.configs.files import read_config
from rmviz.errors import ConfigError, RmvizError
from rmviz.jobs import estimate as estimates
from rmviz.jobs import queue
from rmviz.jobs.progress import TerminalProgress, duration, progress_line
from rmviz.jobs.records import LOG, METRICS, Job, find_job, last_words, list_jobs, queue_of, read_job, tail
from rmviz.jobs.settings import read_settings, write_settings

app = typer.Typer(help="Jobs: queued, running and done.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(help="Key of a job, the beginning of one, or the name of its result.")]
ConfigArgument = Annotated[Path, typer.Argument(help="Config file: JSON with the kind and its settings.")]
RunnerOption = Annotated[str, typer.Option(help="local, ray or slurm; the workspace's setting when empty.")]


@app.command("list")
def list_command(
    state: Annotated[str, typer.Option(help="Only this state: queued, running, succeeded, failed, cancelled.")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """All jobs: running and waiting ones first, then the latest."""
    jobs = [job for job in list_jobs(opened(workspace), progress=True) if not state or job.state == state]
    places = {job.key: place for place, job in enumerate(queue_of(jobs), start=1)}
    show(
        [job_json(job) for job in jobs],
        as_json,
        lambda: [_line(job, places.get(job.key)) for job in jobs] or ["No jobs yet."],
    )


@app.command("show")
def show_command(job: JobArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One job: state, progress, settings, and the end of its log."""
    found = find_job(opened(workspace), job)

    def lines() -> list[str]:
        settings = [f"  {name} = {value}" for name, value in found.config.items()]
        said = [f"  {line}" for line in last_words(found).splitlines()]
        return [_line(found), f"folder {found.folder}", "settings", *settings, *(["log", *said] if said else [])]

    show(job_json(found), as_json, lines)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """What a job has said; with -f also its progress, until it ends. Ctrl-C stops the following, not the job."""
    found = find_job(opened(workspace), job)
    sys.stdout.write(tail(found.folder / LOG))
    sys.stdout.flush()
    if follow:
        _follow(found)


@app.command()
def cancel(job: JobArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Take a job out of the queue, or let it save and end."""
    space = opened(workspace)
    found = queue.cancel(find_job(space, job), space)
    deadline = time.monotonic() + read_settings(space.root).grace + 5
    while found.active and time.monotonic() < deadline:
        time.sleep(0.1)
        found = read_job(found.folder)
    _told(found, as_json)


@app.command()
def resume(
    job: JobArgument, runner: RunnerOption = "", workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Queue a cancelled or failed job; it goes on from its last checkpoint."""
    space = opened(workspace)
    _told(queue.resume(find_job(space, job), space, runner=runner), as_json)


@app.command()
def retry(
    job: JobArgument, runner: RunnerOption = "", workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Queue a cancelled or failed job from its beginning."""
    space = opened(workspace)
    _told(queue.retry(find_job(space, job), space, runner=runner), as_json)


@app.command(context_settings={"ignore_unknown_options": True})
def move(
    job: JobArgument,
    places: Annotated[int, typer.Argument(help="Places in the queue: -1 is one earlier.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a waiting job in the queue."""
    space = opened(workspace)
    _told(queue.move(find_job(space, job), space, places), as_json)


@app.command()
def launch(
    config: ConfigArgument,
    runner: RunnerOption = "",
    again: Annotated[bool, typer.Option("--again", help="Run it once more although it was run.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a job from a config file."""
    kind, settings = _read(config)
    _told(queue.launch(kind, settings, opened(workspace), runner=runner, again=again), as_json)


@app.command()
def settings(
    slots: Annotated[int | None, typer.Option(help="Jobs at once here; 0: one per GPU, or one.")] = None,
    grace: Annotated[float | None, typer.Option(help="Seconds before a cancelled job is killed.")] = None,
    runner: Annotated[str | None, typer.Option(help="Where jobs run: local, ray or slurm.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="Ray's dashboard, http://host:8265.")] = None,
    tensorboard: Annotated[
        bool | None, typer.Option(help="Write TensorBoard events beside each job's figures.")
    ] = None,
    wandb_project: Annotated[str | None, typer.Option(help="Weights & Biases project; '' for none.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """The queue's settings; those given are changed."""
    space = opened(workspace)
    given = {
        "slots": slots, "grace": grace, "runner": runner, "ray_address": ray_address,
        "tensorboard": tensorboard, "wandb_project": wandb_project,
    }  # fmt: skip
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    kept = replace(read_settings(space.root), **changes)
    if changes:
        write_settings(space.root, kept)
    show(asdict(kept), as_json, lambda: [f"{name} = {value}" for name, value in asdict(kept).items()])


@app.command(hidden=True)
def work(key: Annotated[str, typer.Argument(help="Key of a launched job.")], workspace: WorkspaceOption = None) -> None:
    """Do a launched job in this process: what a runner starts."""
    from rmviz.worker import work as do

    progress = TerminalProgress()
    try:
        artifact = do(opened(workspace), key, progress)
    finally:
        progress.end()
    show(artifact.manifest(), False, lambda: artifact_lines(artifact))


@app.command(hidden=True)
def probe(config: ConfigArgument, workspace: WorkspaceOption = None) -> None:
    """Do the first seconds of a job and print what it will need: what `estimate --probe` starts."""
    from rmviz.jobs.rehearsal import rehearse
    from rmviz.worker import task_of

    kind, settings = _read(config)
    json.dump(rehearse(settings, opened(workspace), task_of(kind)), sys.stdout)


@app.command()
def estimate(
    config: ConfigArgument,
    measured: Annotated[bool, typer.Option("--probe", help="Measure it: run the job's first seconds.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a job will need: time, memory, disk; and whether it can fit."""
    kind, settings = _read(config)
    found = (estimates.probe if measured else estimates.estimated)(kind, settings, opened(workspace))

    def lines() -> list[str]:
        figures = {"seconds": found.seconds, "memory, bytes": found.memory, "disk, bytes": found.disk}
        known = [f"{name:<14} {value:,.0f}" for name, value in figures.items() if value is not None]
        return [*known, found.basis, *(f"It cannot fit: {reason}." for reason in found.refusals)]

    show(asdict(found), as_json, lines)


def _read(config: Path) -> tuple[str, Any]:
    try:
        text = config.read_bytes()
    except OSError as error:
        raise ConfigError(f"{config} cannot be read: {error.strerror or error}") from error
    return read_config(text)


def job_json(job: Job) -> dict[str, Any]:
    """A job as plain JSON values."""
    return {**asdict(job), "folder": str(job.folder), "name": job.name, "seconds_left": job.seconds_left}


def _told(job: Job, as_json: bool) -> None:
    show(job_json(job), as_json, lambda: [_line(job)])


def _line(job: Job, place: int | None = None) -> str:
    """One job in one line."""
    details = {
        "queued": f"number {place} in the queue" if place else "waits",
        "running": progress_line("", job.step, job.total, job.rate, job.metrics).strip(),
        "succeeded": job.artifact,
    }.get(job.state, job.error)
    mark = " (being cancelled)" if job.cancelling and job.active else ""
    return f"{job.state + mark:<10} {job.key:<32} {job.name:<20} {details}".rstrip()


def _follow(job: Job) -> None:
    """Print what a job adds to its log, and its progress, until it ends."""
    position = (job.folder / LOG).stat().st_size if (job.folder / LOG).exists() else 0
    progress, seen, start = TerminalProgress(), 0.0, time.monotonic()
    while True:
        job = read_job(job.folder)
        if (job.folder / METRICS).exists() and job.reported > seen and job.total and job.state == "running":
            seen = job.reported
            progress(job.kind, job.step, job.total, job.rate, job.metrics)
        if not job.active:
            break
        time.sleep(0.3)
    progress.end()
    if (job.folder / LOG).exists():
        with (job.folder / LOG).open("rb") as file:
            file.seek(position)
            sys.stdout.write(file.read().decode("utf-8", "replace"))
    sys.stdout.write(f"{job.state} after {duration(time.monotonic() - start)} of following\n")
    if job.state == "failed":
        raise RmvizError(job.error)
