"""The lock of a job's folder: whoever holds it runs the job, or is changing its state. The kernel frees it at death."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK = "lock"
_STEP = 0.01


@contextmanager
def locked(folder: Path, wait: float = 1.0) -> Iterator[bool]:
    """Hold a folder's lock; False where another process still holds it after `wait` seconds.

    Readers hold it for an instant to see whether somebody runs the job, so a first refusal means nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        yield _taken(file, fcntl.LOCK_EX, time.monotonic() + wait)


def is_held(folder: Path) -> bool:
    """Whether some process holds a folder's lock now: a dead one or a zombie does not."""
    try:
        with (folder / LOCK).open("r") as file:
            return not _taken(file, fcntl.LOCK_SH, 0.0)
    except FileNotFoundError:
        return False


def _taken(file: TextIO, mode: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STEP)


def own_host() -> str:
    """The name of this machine, to tell processes of several machines apart in a shared workspace."""
    return os.uname().nodename
