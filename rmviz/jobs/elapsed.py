"""How long a job of many jobs has taken, over all its tries."""

import contextlib
import json
import time
from pathlib import Path

from rmviz.store.artifact import write_json
from rmviz.types import Report

ELAPSED = "elapsed.json"


class Stopwatch:
    """Seconds of this try and of those before it: they are kept beside the checkpoints."""

    def __init__(self, folder: Path) -> None:
        """Go on from what is kept in a folder."""
        self._file, self._start, self._before = folder / ELAPSED, time.monotonic(), 0.0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._before = float(json.loads(self._file.read_text(encoding="utf-8"))["seconds"])

    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._start

    def keep(self) -> None:
        """Keep them for the next try."""
        if self._file.parent.is_dir():
            write_json(self._file, {"seconds": self.seconds()})


def elapsed(report: Report, start: float) -> float:
    """Seconds of a job with those of its earlier tries where the report knows them, else since `start` (monotonic)."""
    watch = getattr(report, "watch", None)
    return round(watch.seconds() if isinstance(watch, Stopwatch) else time.monotonic() - start, 1)
