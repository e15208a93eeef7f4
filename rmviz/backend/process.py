"""The backend's process: its address file, starting it, seeing that it lives, ending it, and how it ended."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from rmviz.processes import exit_words
from rmviz.store.workspace import writing

ADDRESS_FILE = "backend.json"
LOG_FILE = "backend.log"
MAX_LOG = 8 * 2**20
"""Bytes; a longer log is begun anew when a backend starts."""

_children: dict[int, "subprocess.Popen[bytes]"] = {}


@dataclass(frozen=True)
class Address:
    """Where a backend listens; `pid` is 0 for one on another machine."""

    url: str
    token: str
    pid: int = 0
    started: float = 0.0
    version: str = ""


def command(root: Path) -> list[str]:
    """The command that starts a backend for a workspace."""
    return [sys.executable, "-m", "rmviz.cli", "backend", "--workspace", str(root)]


@cache
def own_version() -> str:
    """The version of rmviz that this process runs."""
    try:
        return version("rmviz")
    except PackageNotFoundError:
        return "0"


def read_address(root: Path) -> Address | None:
    """What the workspace's address file says; None where there is none that can be read."""
    try:
        values = json.loads((root / ADDRESS_FILE).read_text(encoding="utf-8"))
        return Address(
            str(values["url"]),
            str(values["token"]),
            int(values["pid"]),
            float(values["started"]),
            str(values["version"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def start(root: Path) -> "subprocess.Popen[bytes]":
    """Start a backend that outlives this process; what it says goes to the workspace's log."""
    log = root / LOG_FILE
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.unlink()
    with log.open("ab") as file:
        child = subprocess.Popen(
            command(root), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, close_fds=True
        )
    _children[child.pid] = child
    return child


@contextlib.contextmanager
def starting(root: Path) -> Iterator[None]:
    """Only one process at a time starts a backend for a workspace; others wait here."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        with (root / "backend.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def runs(address: Address) -> bool:
    """Whether the process lives: not as a zombie, and not as another one that was given its number."""
    if child := _children.get(address.pid):
        return child.poll() is None
    try:
        process = psutil.Process(address.pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= address.started + 2
    except psutil.Error:
        return False


def end(address: Address) -> None:
    """Ask the process to end; insist after ten seconds."""
    for sign, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        if not runs(address):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(address.pid, sign)
        deadline = time.monotonic() + seconds
        while runs(address) and time.monotonic() < deadline:
            time.sleep(0.02)


def cause_of_death(address: Address) -> str:
    """What is known of how a process ended."""
    if child := _children.get(address.pid):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return exit_words(child.wait(timeout=1.0))
    return "it does not answer" if runs(address) else "it was killed, perhaps because memory ran out"


def log_end(root: Path, begin: int = 0, lines: int = 8) -> str:
    """The last lines of the log, from byte `begin` on, and where the whole log is."""
    log = root / LOG_FILE
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f"The end of {log}:\n" + ("\n".join(text.splitlines()[-lines:]) or "(empty)")


def log_size(root: Path) -> int:
    """Bytes of the log now."""
    log = root / LOG_FILE
    return log.stat().st_size if log.exists() else 0
