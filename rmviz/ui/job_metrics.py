"""What jobs have reported, read as it grows: each look reads only the lines that are new."""

import io
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import json as arrow_json

MAX_FILES = 24
"""Files whose lines are kept in memory; the one that was looked at longest ago goes first."""

_CHUNK = 8 << 20
_NOT_METRICS = ("time", "step", "total")


class Followed:
    """One `metrics.jsonl`, and how far it has been read."""

    def __init__(self, path: Path) -> None:
        """Follow a file, whether it is there yet or not."""
        self.path = path
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._inode, self._offset, self._table = 0, 0, pd.DataFrame()

    def table(self) -> pd.DataFrame:
        """All whole lines so far, one row each; shared, so not to be changed."""
        with self._lock:
            try:
                stat = self.path.stat()
                if stat.st_ino != self._inode or stat.st_size < self._offset:  # the job began anew
                    self._forget()
                    self._inode = stat.st_ino
                if stat.st_size > self._offset:
                    self._read()
            except OSError:
                self._forget()
            return self._table

    def _read(self) -> None:
        parts, rest = [self._table] if len(self._table) else [], b""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while block := file.read(_CHUNK):
                whole, end, rest = (rest + block).rpartition(b"\n")
                self._offset += len(whole) + len(end)
                if whole.strip() and len(part := parsed(whole)):
                    parts.append(part)
        if parts:
            self._table = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def parsed(lines: bytes) -> pd.DataFrame:
    """The numbers of whole JSON lines, one row each; lines that are no JSON are left out."""
    try:
        options = arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
        table = arrow_json.read_json(io.BytesIO(lines), read_options=options).to_pandas()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        table = pd.DataFrame([row for line in lines.splitlines() if (row := _row(line))])
    numbers: Any = table.select_dtypes("number")
    return numbers.astype(np.float64)


def _row(line: bytes) -> dict[str, float]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    found = values.items() if isinstance(values, dict) else ()
    return {str(n): float(v) for n, v in found if isinstance(v, int | float) and not isinstance(v, bool)}


_files: OrderedDict[Path, Followed] = OrderedDict()
_lock = threading.Lock()


def read_metrics(path: Path) -> pd.DataFrame:
    """A job's reports so far: `time`, `step`, `total`, `rate` and its own metrics; shared, so not to be changed."""
    with _lock:
        followed = _files.pop(path, None) or Followed(path)
        _files[path] = followed
        while len(_files) > MAX_FILES:
            _files.popitem(last=False)
    return followed.table()


def metric_names(table: pd.DataFrame) -> list[str]:
    """Metrics that a job has reported, its own first, then its rate."""
    own = [str(name) for name in table if str(name) not in (*_NOT_METRICS, "rate")]
    return [*own, *(["rate"] if "rate" in table else [])]


def curve(table: pd.DataFrame, metric: str, by: str) -> tuple[np.ndarray, np.ndarray]:
    """One metric over steps, or over minutes since the job's first report.

    What a resumed job did a second time replaces what it had reported of these steps before.
    """
    if metric not in table or "step" not in table or "time" not in table:
        return np.empty(0), np.empty(0)
    values = table[metric].to_numpy(np.float64)
    known = np.isfinite(values)
    step, time = table["step"].to_numpy(np.float64), table["time"].to_numpy(np.float64)
    if by == "time":
        return (time[known] - time[0]) / 60, values[known]
    step, values = step[known], values[known]
    if not len(step):
        return step, values
    kept = np.flatnonzero(step <= np.minimum.accumulate(step[::-1])[::-1])
    again = (np.diff(step[kept], append=np.inf) == 0) & (np.diff(kept, append=len(step)) > 1)
    kept = kept[~again]
    return step[kept], values[kept]
