"""Bad rows: what was wrong, in which file and line. They are listed, never fatal."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

EXCERPT = 120
"""Characters of a bad row that are shown."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One row that cannot be used."""

    file: str
    line: int
    """Line of the file (row of a table), counted from 1; 0 when the whole file is meant."""

    reason: str
    excerpt: str = ""

    def __str__(self) -> str:
        """`pairs.jsonl, line 7: chosen is empty`."""
        place = self.file or "data"
        return f"{place}, line {self.line}: {self.reason}" if self.line else f"{place}: {self.reason}"


class Problems:
    """All problems of a source: every one counted, the first ones kept."""

    def __init__(self, problems: Iterable[Problem] = (), *, num_kept: int = 1000) -> None:
        """Start from problems that are known already."""
        self.total = self.num_duplicates = 0
        self._num_kept = num_kept
        self._first: list[Problem] = []
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        """Count one problem."""
        self.total += 1
        if len(self._first) < self._num_kept:
            self._first.append(problem)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._first)

    def to_json(self) -> dict[str, Any]:
        """What `problems.json` holds: `total`, and the first ones as `problems`."""
        return {"total": self.total, "problems": [asdict(problem) for problem in self]}


def excerpt(value: object) -> str:
    """The start of a bad row, as text that can be stored and shown."""
    shown = value if isinstance(value, str) else repr(value)
    shown = shown[:EXCERPT] + ("…" if len(shown) > EXCERPT else "")
    return shown.encode("utf-8", "replace").decode("utf-8")
