"""One feature's page as JSON, at most 30 kB, and the file that holds all pages."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PAGE_LIMIT = 30_000
"""Bytes of a page, as UTF-8."""

ROW_GROUP = 16
"""Pages that are read together when one is asked for."""

_LONGEST_TOKEN = 80
_SCHEMA = pa.schema([("feature", pa.int64()), ("page", pa.string())])


def fitted(page: Mapping[str, Any], limit: int = PAGE_LIMIT) -> str:
    """The page as JSON of at most `limit` bytes.

    Long tokens are cut (with an ellipsis). Where that is not enough, windows are narrowed around their strongest token
    down to three tokens; then examples go, each from the bin that has most, so that the range of activation stays.
    """
    page = {**page, "examples": [_with_short_tokens(example) for example in page["examples"]]}
    page["tokens"] = [{**row, "token": _short(row["token"])} for row in page.get("tokens", [])]
    text = _dumped(page)
    while _size(text) > limit and any(len(example["tokens"]) > 3 for example in page["examples"]):
        page["examples"] = [_narrowed(example) for example in page["examples"]]
        text = _dumped(page)
    while _size(text) > limit and page["examples"]:
        bins = [example["bin"] for example in page["examples"]]
        crowded = max(bins, key=lambda bin: (bins.count(bin), -bin))
        del page["examples"][len(bins) - 1 - bins[::-1].index(crowded)]
        text = _dumped(page)
    return text


def write_pages(path: Path, pages: Iterable[tuple[int, str]]) -> Iterator[int]:
    """Write (feature, page) rows, in order of feature, in small row groups; says after each how many are written."""
    written = 0
    group: list[tuple[int, str]] = []
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for page in pages:
            group.append(page)
            if len(group) == ROW_GROUP:
                writer.write_table(_table(group))
                written, group = written + len(group), []
                yield written
        if group:
            writer.write_table(_table(group))
            yield written + len(group)


def rounded(values: Iterable[SupportsFloat], digits: int = 3) -> list[float]:
    """Numbers with this many significant digits, whole ones as integers; what is not finite becomes 0."""
    return [_round(float(value), digits) for value in values]


def neighbour_list(near: np.ndarray, size: np.ndarray, features: np.ndarray, name: str) -> list[dict[str, Any]]:
    """A feature's neighbours as records; empty places are left out."""
    return [
        {"feature": int(features[place]), name: _round(float(value), 3)}
        for place, value in zip(near, size, strict=True)
        if math.isfinite(value)
    ]


def _round(value: float, digits: int) -> float:
    if not math.isfinite(value):
        return 0
    value = float(f"{value:.{digits}g}")
    return int(value) if value.is_integer() else value


def _dumped(page: Mapping[str, Any]) -> str:
    return json.dumps(page, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _short(token: str) -> str:
    return token if len(token) <= _LONGEST_TOKEN else f"{token[: _LONGEST_TOKEN - 1]}…"


def _with_short_tokens(example: Mapping[str, Any]) -> dict[str, Any]:
    return {**example, "tokens": [_short(token) for token in example["tokens"]]}


def _narrowed(example: dict[str, Any]) -> dict[str, Any]:
    """About three quarters of the window, the strongest token inside."""
    length = len(example["tokens"])
    wanted = max(min(length, 3), length * 3 // 4)
    peak = max(range(length), key=example["acts"].__getitem__, default=0)
    low = max(0, min(peak - wanted // 2, length - wanted))
    return {
        **example,
        "start": example["start"] + low,
        "tokens": example["tokens"][low : low + wanted],
        "acts": example["acts"][low : low + wanted],
    }


def _table(group: list[tuple[int, str]]) -> pa.Table:
    return pa.table({"feature": [feature for feature, _ in group], "page": [page for _, page in group]}, schema=_SCHEMA)
