"""What a job's process uses, noted while it runs: processor, memory, GPU memory. The file's age is its heartbeat."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from rmviz.jobs.records import VITALS, tail


@contextmanager
def noted_vitals(folder: Path, every: float = 5.0) -> Iterator[None]:
    """Append a line about this process and its children to the job's folder every few seconds."""
    done = threading.Event()
    thread = threading.Thread(target=_note, args=(folder / VITALS, every, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=1)


def read_vitals(folder: Path) -> list[dict[str, float]]:
    """The latest lines, oldest first: `time`, `cpu` in cores, `rss` and `gpu` in bytes."""
    found = []
    for line in tail(folder / VITALS).splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # being written
    return found


def _note(path: Path, every: float, done: threading.Event) -> None:
    process = psutil.Process()
    before, then = _cpu_seconds(process), time.monotonic()
    wait = min(1.0, every)  # the first line comes soon, so that a watcher sees one
    while not done.wait(wait):
        wait = every
        used, now = _cpu_seconds(process), time.monotonic()
        line: dict[str, Any] = {
            "time": time.time(), "cpu": round(max(used - before, 0) / (now - then), 3), "rss": _rss(process), "gpu": _gpu(),
        }  # fmt: skip
        before, then = used, now
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            continue  # a full disk must not end a job for the sake of this


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    total = 0.0
    for one in _family(process):
        try:
            times = one.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def _rss(process: psutil.Process) -> int:
    total = 0
    for one in _family(process):
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def _gpu() -> int:
    """Bytes that torch holds on the GPU; 0 where this process does not use one."""
    torch = sys.modules.get("torch")
    try:
        return int(torch.cuda.memory_reserved()) if torch is not None and torch.cuda.is_initialized() else 0
    except (AttributeError, RuntimeError):
        return 0
