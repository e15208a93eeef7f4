"""Raw rows of JSON lines, JSON, CSV and parquet files, each with its file and line."""

import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.data.problems import excerpt
from rmviz.errors import DataError

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
_BOM = b"\xef\xbb\xbf"
_NOT_UTF8 = "not UTF-8 text"
_LEFT_OVER = re.compile("[\udc80-\udcff]")
_NEXT_OBJECT = re.compile(r"(?<=\n)[ \t]*\{")
_BETWEEN = re.compile(r"[\s,]*")
_LONGEST_LINE = 64 * 2**20
_LONGEST_RECORD = 2000
"""Lines that one CSV record may span; an unclosed quote would swallow the rest of the file otherwise."""


@dataclass(frozen=True)
class Row:
    """One row as read: a value, or what is wrong with it."""

    file: str
    line: int
    value: Any = None
    problem: str = ""
    shown: str = ""
    done: int = 0
    """Bytes of the source read so far."""


def data_files(source: Path) -> list[Path]:
    """The files to read: the file itself, or all data files below a folder, by name.

    Raises:
        DataError: There is nothing readable, or the file could run code when read (pickle).
    """
    if not source.is_dir():
        if _suffix(source) in PICKLES:
            raise DataError(
                f"{source} is a pickle or binary file, which can run code when read; save it as .jsonl or .parquet"
            )
        if _suffix(source) not in _READERS:
            raise DataError(
                f"{source.name} is not a known kind of file; wanted {', '.join(_READERS)} (or .gz), or a folder of them"
            )
        return [source]
    files = sorted(
        path
        for path in source.rglob("*")
        if _suffix(path) in _READERS and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"the folder {source} has no data file; wanted {', '.join(_READERS)} (or .gz of these)")
    return files


def read_rows(files: list[Path], root: Path) -> Iterator[Row]:
    """All rows of the files, in order, the files named below `root`; broken rows are problems, never raised."""
    before = 0
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            with path.open("rb") as raw:
                for line, value, problem, shown in _READERS[_suffix(path)](raw, path):
                    yield Row(name, line, value, problem, excerpt(shown) if problem else "", before + raw.tell())
            before += path.stat().st_size
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            yield Row(name, 0, problem=f"the file cannot be read to its end ({error})", done=before)


_Found = Iterator[tuple[int, Any, str, str]]
"""Line, value, problem, what to show of a bad row."""


def _json_lines(raw: io.BufferedIOBase, path: Path) -> _Found:
    for number, line in _lines(raw, path):
        if not line.strip():
            continue
        if len(line) > _LONGEST_LINE:
            yield number, None, f"the line is longer than {_LONGEST_LINE // 2**20} MB", ""
            continue
        try:
            yield number, json.loads(line.decode("utf-8")), "", ""
        except UnicodeDecodeError as error:
            yield number, None, f"{_NOT_UTF8} (byte {error.start + 1})", line[:1000].decode("utf-8", "replace")
        except (ValueError, RecursionError) as error:
            yield number, None, f"broken JSON ({error})", line[:1000].decode("utf-8", "replace")


def _json(raw: io.BufferedIOBase, path: Path) -> _Found:
    """A list of objects; also JSON lines under the wrong name."""
    text = _unzipped(raw, path).read().removeprefix(_BOM).decode("utf-8", "surrogateescape")
    if not text.lstrip().startswith("["):
        raw.seek(0)
        yield from _json_lines(raw, path)
        return
    decoder, position, line, counted = json.JSONDecoder(), text.index("[") + 1, 1, 0
    while (position := _skip(text, position)) < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
            wrong = _undecoded(text[counted:position])
            yield line, None if wrong else value, wrong, text[counted : counted + 1000]
        except (ValueError, RecursionError) as error:
            yield line, None, f"broken JSON ({error})", text[position : position + 1000]
            following = _NEXT_OBJECT.search(text, position + 1)
            position = following.start() if following else len(text)


def _skip(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _csv(raw: io.BufferedIOBase, path: Path) -> _Found:
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    lines = _Rewindable((number, line.decode("utf-8", "surrogateescape")) for number, line in _lines(raw, path))
    csv.field_size_limit(_LONGEST_LINE)
    header: list[str] = []
    while not lines.at_end:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for fields in reader:
                number = lines.start_record()
                if not fields:
                    continue
                if not header:
                    header = fields
                elif wrong := _undecoded("".join(fields)):
                    yield number, None, wrong, delimiter.join(fields)
                elif len(fields) != len(header):
                    yield number, None, f"{len(header)} fields wanted, {len(fields)} found", delimiter.join(fields)
                else:
                    yield number, dict(zip(header, fields, strict=True)), "", ""
        except csv.Error as error:
            number, shown = lines.rewind()
            yield number, None, f"broken CSV ({error})", shown


class _Rewindable:
    """Lines that can be given back: after a broken record, reading goes on in the line after its first."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._given_back: deque[tuple[int, str]] = deque()
        self._record: list[tuple[int, str]] = []
        self.at_end = False

    def __iter__(self) -> "_Rewindable":
        return self

    def __next__(self) -> str:
        if len(self._record) >= _LONGEST_RECORD:
            raise csv.Error(f"a quote is still open after {_LONGEST_RECORD} lines")
        found = self._given_back.popleft() if self._given_back else next(self._lines, None)
        if found is None:
            self.at_end = True
            raise StopIteration
        self._record.append(found)
        return found[1]

    def start_record(self) -> int:
        """The first line of the record just read; the next one starts here."""
        number = self._record[0][0]
        self._record = []
        return number

    def rewind(self) -> tuple[int, str]:
        """Give back all lines of the broken record but its first, which is returned."""
        first, *rest = self._record
        self._given_back.extendleft(reversed(rest))
        self._record, self.at_end = [], False
        return first


def _parquet(raw: io.BufferedIOBase, path: Path) -> _Found:
    number = 0
    with pq.ParquetFile(raw) as file:
        for batch in file.iter_batches(batch_size=512):
            for value in batch.to_pylist():
                number += 1
                yield number, value, "", ""


def _lines(raw: io.BufferedIOBase, path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; the rest of an overlong one is skipped, so that memory stays bounded."""
    file = _unzipped(raw, path)
    for number in itertools.count(1):
        line = rest = file.readline(_LONGEST_LINE + 1)
        if not line:
            return
        while len(rest) > _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE + 1)
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _undecoded(text: str) -> str:
    """What is wrong with text that was decoded with bytes left over, or nothing."""
    return _NOT_UTF8 if not text.isascii() and _LEFT_OVER.search(text) else ""


def _unzipped(raw: io.BufferedIOBase, path: Path) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw


def _suffix(path: Path) -> str:
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


_READERS: dict[str, Callable[[io.BufferedIOBase, Path], _Found]] = {
    ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet,
}  # fmt: skip
