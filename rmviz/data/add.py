"""The data job: read a source, keep what is good as a dataset, list what is not."""

import time
from collections.abc import Iterator
from pathlib import Path

from rmviz.configs.base import to_dict
from rmviz.configs.data import DataConfig
from rmviz.data.formats import BadRow, row_items
from rmviz.data.hub import hub_rows
from rmviz.data.keep import Located, keep_dataset, keep_located
from rmviz.data.problems import Problem, Problems, excerpt
from rmviz.data.read import Row, data_files, read_rows
from rmviz.errors import DataError
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report

__all__ = ["keep_dataset", "read_items", "run"]
_REPORT_EVERY = 0.5


def run(config: DataConfig, workspace: Workspace, report: Report) -> Artifact:
    """Read preference pairs or texts and keep them as a dataset artifact.

    Raises:
        DataError: The source does not exist, cannot be read, or has no usable row.
    """
    problems = Problems()
    rows, total = source_rows(config)
    items = read_items(_reported(_limited(rows, config.limit), total, report), problems)
    artifact = keep_located(
        workspace, items, name=config.name or source_name(config.source), key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed, problems=problems,
    )  # fmt: skip
    report(total, total, {name: float(value) for name, value in artifact.metrics.items() if isinstance(value, int)})
    return artifact


def source_rows(config: DataConfig) -> tuple[Iterator[Row], int]:
    """Raw rows of a file, a folder or a hub dataset, and how many bytes (or rows) there are to read."""
    path = Path(config.source).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{excerpt(config.source)} cannot be a file name ({error}); give a file, a folder or a hub dataset id"
        ) from error
    if not exists:
        return hub_rows(config.source, config.hub_split)
    files = data_files(path)
    return read_rows(files, path if path.is_dir() else path.parent), sum(file.stat().st_size for file in files)


def source_name(source: str) -> str:
    """What to call a dataset that was given no name: its file's name without suffixes, or the last part of a hub id."""
    name = Path(source).expanduser().name
    while Path(name).suffix.lower() in (".gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"):
        name = Path(name).stem
    return name


def read_items(rows: Iterator[Row], problems: Problems) -> Iterator[Located]:
    """Pairs and texts of all good rows; bad ones are added to `problems`."""
    files: dict[str, int] = {}
    for row in rows:
        number = files.setdefault(row.file, len(files) + 1)
        try:
            if row.problem:
                raise BadRow(row.problem)
            row_id = f"L{row.line}" if number == 1 else f"F{number}L{row.line}"
            for item in row_items(row.value, row_id):
                yield Located(item, row.file, row.line)
        except BadRow as error:
            problems.add(
                Problem(file=row.file, line=row.line, reason=str(error), excerpt=row.shown or excerpt(row.value))
            )


def _limited(rows: Iterator[Row], limit: int) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if limit and number >= limit:
            return
        yield row


def _reported(rows: Iterator[Row], total: int, report: Report) -> Iterator[Row]:
    last = time.monotonic()
    report(0, total)
    for number, row in enumerate(rows, start=1):
        yield row
        if time.monotonic() - last >= _REPORT_EVERY:
            last = time.monotonic()
            report(min(row.done, total), total, {"rows": float(number)})
