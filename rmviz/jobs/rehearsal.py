"""A short rehearsal of a job: its real work for some seconds, measured, leaving nothing behind."""

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rmviz.jobs.run import pinned
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Draft, Workspace
from rmviz.types import Report


class _EnoughError(BaseException):
    """Seen enough; not an Exception, so that no job takes it for an error of its own."""


def rehearse(
    config: Any, workspace: Workspace, task: Callable[[Any, Workspace, Report], Artifact], seconds: float = 8.0
) -> dict[str, float | int | None]:
    """Run a job's task until its progress was watched for `seconds`, or for twice that in all.

    Returns:
        `seconds` of the whole job at the rate seen (None where it made no progress), `start` seconds before the first
        progress, `memory` bytes at the peak, `disk` bytes that lay in its folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="rmviz-rehearsal-"))
    watch = _Watch(folder / "checkpoints", seconds)
    try:
        task(pinned(config, workspace), _Stage(workspace.root, folder), watch)
    except _EnoughError:
        pass
    finally:
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": watch.whole(), "start": watch.start, "memory": peak, "disk": disk}


class _Stage(Workspace):
    """Reads as the workspace does; what would be kept in it ends the rehearsal."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(root)
        self._folder = folder

    @contextmanager
    def create(self, kind: str, **_: Any) -> Iterator[Draft]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        yield Draft(folder)
        raise _EnoughError


class _Watch:
    """A report that measures the rate and breaks off."""

    key = "rehearsal"

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self._seconds = folder, seconds
        self._begin = time.monotonic()
        self._zero: int | None = None
        self._first: tuple[float, int] | None = None  # the first progress: what was before it was getting ready
        self._last = (self._begin, 0, 0)
        self.start = 0.0
        folder.mkdir(parents=True)

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        self._last = (now, step, total)
        self._zero = step if self._zero is None else self._zero
        if self._first is None and step > self._zero:
            self._first, self.start = (now, step), now - self._begin
        if now - (self._first[0] if self._first else self._begin + self._seconds) > self._seconds:
            raise _EnoughError

    def whole(self) -> float | None:
        """Seconds of the whole job."""
        if self._first is None or self._last[1] <= self._first[1]:
            return None
        (then, first), (now, last, total) = self._first, self._last
        return self.start + (now - then) / (last - first) * (total - first)
