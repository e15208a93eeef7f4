"""Work in shards: one after another in this process, or side by side as tasks of a Ray cluster; the files are the same.

A shard is a folder that appears whole or not at all, so whatever was interrupted, the shards that are there stay done.
Bits depend on the number of threads and on the kind of processor or GPU, as every sum of floats does; Ray's tasks run
with `OMP_NUM_THREADS` threads each (1 when it is not set where the job was launched), and so does a local run.
"""

import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rmviz.errors import ConfigError, RmvizError

WHERE, CPUS, GPUS = "RMVIZ_SHARDS", "RMVIZ_SHARD_CPUS", "RMVIZ_SHARD_GPUS"
"""Environment: `ray` for tasks on a cluster; how many CPUs and GPUs each task asks for."""

RETRIES = 3
"""How often a shard is made again whose process or machine was lost."""

_WINDOW = 256
"""Tasks that wait or run at once: enough for a cluster, few enough to cancel at once."""

_VISIBLE = 60.0
"""Seconds within which another machine's folder is seen on a shared disk."""

_held: "dict[Shards, Shards]" = {}


@runtime_checkable
class Shards(Protocol):
    """Work in parts that do not need each other: each follows from the settings in here and its number alone.

    It is hashable, equal where it does the same, and travels by pickle without what is heavy, such as a model: that is
    opened in each process when it is first needed, and serves all shards that the process makes.
    """

    def __hash__(self) -> int:
        """By its settings."""
        ...

    def make(self, number: int, folder: Path) -> Mapping[str, float]:
        """Write shard `number` into an empty folder; figures about it. May be broken off at any moment."""
        ...


def shard_folder(folder: Path, number: int) -> Path:
    """Where a shard is when it is done."""
    return folder / f"shard-{number:05d}"


def made_shards(
    work: Shards, numbers: Iterable[int], folder: Path
) -> Generator[tuple[int, Mapping[str, float]], None, None]:
    """Make the shards that are not there yet, and give each number when its shard is there; close it to stop the rest.

    Args:
        work: What makes a shard.
        numbers: Which shards.
        folder: Where they are kept: on a disk that all machines share.

    Returns:
        Number and figures of each shard, first those that were there (without figures), then in order locally, as they
        are done on Ray.

    Raises:
        ConfigError: Ray is asked for and is not installed.
        RmvizError: A shard was lost too often.
    """
    where = os.environ.get(WHERE, "")
    if where not in ("", "local", "ray"):
        raise ConfigError(f"{WHERE} must be local or ray, got {where!r}")
    for half in folder.glob("shard-*.half-*"):
        shutil.rmtree(half, ignore_errors=True)
    missing = []
    for number in numbers:
        if shard_folder(folder, number).exists():
            yield number, {}
        else:
            missing.append(number)
    if where == "ray" and missing:
        yield from _on_ray(work, missing, folder)
    else:
        for number in missing:
            yield number, _made(work, number, folder)


def _made(work: Shards, number: int, folder: Path) -> Mapping[str, float]:
    """Make one shard beside its place and rename it; another process may have been first, with the same files."""
    target = shard_folder(folder, number)
    beside = target.with_name(f"{target.name}.half-{secrets.token_hex(4)}")
    beside.mkdir(parents=True)
    try:
        figures = work.make(number, beside)
        try:
            beside.rename(target)
        except OSError:
            if not target.exists():
                raise
        return figures
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _task(work: Shards, number: int, folder: str) -> dict[str, float]:
    """One shard in a Ray worker process; what it has opened is kept for the next shard of the same work."""
    if work not in _held:
        _held.clear()
        _held[work] = work
    return dict(_made(_held[work], number, Path(folder)))


def _on_ray(work: Shards, missing: list[int], folder: Path) -> Generator[tuple[int, Mapping[str, float]], None, None]:
    """Each shard as a task; a lost process or machine costs only the shards that it was making."""
    ray = _connected()
    task = ray.remote(_task).options(
        max_retries=RETRIES,
        num_cpus=float(os.environ.get(CPUS, "1")),
        num_gpus=float(os.environ.get(GPUS, "0")),
        name="rmviz.shard",
    )
    shipped = ray.put(work)
    waiting, running = deque(missing), {}
    try:
        while waiting or running:
            while waiting and len(running) < _WINDOW:
                number = waiting.popleft()
                running[task.remote(shipped, number, str(folder))] = number
            done, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
            for one in done:
                number = running.pop(one)
                figures = _answer(ray, one, number)
                _await_folder(shard_folder(folder, number))
                yield number, figures
    except BaseException:
        for one in running:
            ray.cancel(one, force=True)
        ray.shutdown()
        raise


def _connected() -> Any:
    """Ray, joined to the cluster that `RAY_ADDRESS` names; not from the main thread, whose signal handlers it replaces."""
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise ConfigError(f"shards on Ray ({WHERE}=ray) need it: pip install 'rmviz[ray]'") from error
    if not ray.is_initialized():
        with ThreadPoolExecutor(1) as aside:
            joining = aside.submit(ray.init, address="auto", logging_level="error", namespace="rmviz")
            try:
                joining.result()
            except (ConnectionError, RuntimeError) as error:
                raise RmvizError(f"the Ray cluster cannot be joined: {error}") from error
    return ray


def _answer(ray: Any, task: Any, number: int) -> Mapping[str, float]:
    """A task's figures; its own error as it was raised there, and in our words when Ray lost it."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else RmvizError(str(error))) from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise RmvizError(
            f"shard {number} was lost {RETRIES + 1} times ({reason}); resume keeps the others, and a smaller "
            "shard or more memory may help this one"
        ) from error


def _await_folder(folder: Path) -> None:
    """A shared disk may show another machine's folder a moment later."""
    deadline = time.monotonic() + _VISIBLE
    while not folder.exists():
        if time.monotonic() > deadline:
            raise RmvizError(f"{folder} was made on another machine and is not seen here: is the workspace shared?")
        time.sleep(0.1)
