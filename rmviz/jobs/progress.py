"""Progress of a job: into its folder for everyone, and to one listener (the terminal) at once."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rmviz.jobs.locks import own_host
from rmviz.jobs.records import METRICS, STATE
from rmviz.store.artifact import write_json

Listener = Callable[[str, int, int, float, Mapping[str, float]], None]
"""Called with job kind, step, total, steps per second and metrics."""

_LEAST_WORK = 100
"""Seconds of work for each second of saving."""

_log = logging.getLogger(__name__)


class JobReport:
    """The `Report` of one run: appends to `metrics.jsonl`, keeps `state.json`, tells the listener."""

    def __init__(self, folder: Path, kind: str, *, detached: bool = False) -> None:
        """Report into a job folder; checkpoints of an earlier run in it are kept."""
        self._folder = folder
        self.kind = kind
        self._process = {"pid": os.getpid(), "host": own_host(), "detached": detached}
        self.listener: Listener | None = None
        self._start: tuple[float, int] | None = None
        self._metrics: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def key(self) -> str:
        """The job's key: what its artifact is kept under."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        """Where checkpoints go."""
        return self._folder / "checkpoints"

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Note `step` of `total`; rate and time left follow from the first call of this run."""
        now = time.monotonic()
        if self._start is None:
            self._start = (now, step)
        rate = (step - self._start[1]) / max(now - self._start[0], 1e-9) if step > self._start[1] else 0.0
        finite = {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}
        self._metrics |= finite
        line = {"time": time.time(), "step": step, "total": total, "rate": rate, **finite}
        with (self._folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.listener:
            self.listener(self.kind, step, total, rate, self._metrics)

    def recount(self) -> None:
        """Take rate and time left from the next call on: what was done so far went at another speed."""
        self._start = None

    def state(self, state: str, **details: str) -> None:
        """Set the job's state."""
        values = {"kind": self.kind, "state": state, "time": time.time(), **self._process, **details}
        write_json(self._folder / STATE, values)


class CheckpointClock:
    """Says when it is time for a checkpoint: every 30 seconds, later where saving takes more than 1 % of that.

    RMVIZ_CHECKPOINT_SECONDS sets another interval, which is kept to whatever it costs.
    """

    def __init__(self) -> None:
        """Begin to count."""
        chosen = os.environ.get("RMVIZ_CHECKPOINT_SECONDS")
        self._every, self._fixed = float(chosen or 30.0), bool(chosen)
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the time has come; where it has, counting begins anew."""
        if time.monotonic() - self._last < self._every:
            return False
        self._last = time.monotonic()
        return True

    def took(self, seconds: float) -> None:
        """Note what a checkpoint took."""
        if not self._fixed:
            self._every = max(30.0, _LEAST_WORK * seconds)
        self._last = time.monotonic()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """While open, a checkpoint is being saved."""
        start = time.monotonic()
        yield
        self.took(time.monotonic() - start)


class TerminalProgress:
    """A listener that keeps one line per job: bar, rate, time left, figures; plain lines where there is no terminal."""

    def __init__(self, stream: TextIO | None = None, every: float | None = None) -> None:
        """Write to a stream (standard error), at most once in `every` seconds."""
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._every = every if every is not None else (0.1 if self._live else 5.0)
        self._last = ("", 0.0)
        self._open = False

    def __call__(self, kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> None:
        """Show one report."""
        now = time.monotonic()
        finished = step >= total
        if kind == self._last[0] and not finished and now - self._last[1] < self._every:
            return
        if kind != self._last[0]:
            self.end()
        self._last = (kind, now)
        self._stream.write(
            ("\r\x1b[K" if self._live else "")
            + progress_line(kind, step, total, rate, metrics)
            + ("" if self._live else "\n")
        )
        self._stream.flush()
        self._open = self._live

    def end(self) -> None:
        """Close the line that is open."""
        if self._open:
            self._stream.write("\n")
            self._open = False


def progress_line(kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> str:
    """`effects  [#####.....]  50%  32/64  4.1/s  8 s left  rows 1200`."""
    share = min(step / total, 1.0) if total else 1.0
    left = f"{duration((total - step) / rate)} left" if rate > 0 and step < total else ("done" if step >= total else "")
    shown = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:5])
    bar = "#" * round(20 * share) + "." * (20 - round(20 * share))
    return f"{kind:<14} [{bar}] {share:>4.0%}  {step:,}/{total:,}  {rate:,.1f}/s  {left}  {shown}".rstrip()


def duration(seconds: float) -> str:
    """`8 s`, `1 min 05 s`, `2 h 10 min`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
