"""Attempts: every poem that a search asked for, what became of it, and the journal that they are kept in."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.configs.axes import Grid
from rmviz.errors import ConfigError

LONGEST_TEXT = 20_000
"""Characters kept of a text; what lies beyond is cut, and the attempt marked."""

COUNTED = ("", "cut", "no cell")
"""What may be wrong with an attempt that counts as a draw; it may still count for the cell that was asked for."""

UNWRITTEN = ("empty", "refusal")
"""What is wrong with an attempt that holds no poem; it says nothing of whether labels are right."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One poem of a search."""

    attempt_id: int
    """Counted from 0 over all runs of the job."""

    run: int
    method: str
    step: int
    move: str
    """seed (from the request alone), mutate (from one parent) or cross (from two)."""

    text: str
    parents: tuple[int, ...]
    asked: int
    """Cell asked for; −1 where none was."""

    judged: int
    """Cell that the judge found; −1 for none of the map's."""

    reward: float
    """NaN where the reward model gave no number."""

    seconds: float
    """Time of its generation, a share of its batch's."""

    generator: str
    accepted: bool = False
    """Whether it became the elite of its cell."""

    duplicate_of: int = -1
    """The earlier attempt that it repeats, or the elite that it is too much like."""

    problem: str = ""
    """Why it could not take a cell: empty, cut, no reward, no cell, duplicate, near-duplicate; else empty."""


class Journal:
    """The attempts of a job as they come, a step a line; a line that was broken off does not count."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open (or begin) the journal of a job.

        Raises:
            ConfigError: It was begun with other settings.
        """
        self._path = folder / "attempts.jsonl"
        self.steps: list[list[Attempt]] = []
        self.seconds: list[dict[str, float]] = []
        settings = json.loads(json.dumps(settings))  # as it reads after a round trip: lists for tuples
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        if lines and json.loads(lines[0]) != settings:
            raise ConfigError("the axes or the models changed since this search was begun; start it anew")
        for line in lines[1:]:
            values = json.loads(line)
            self.steps.append([_attempt(one) for one in values["attempts"]])
            self.seconds.append(values["seconds"])
        whole = b"".join(line + b"\n" for line in lines) or json.dumps(settings).encode() + b"\n"
        folder.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_bytes(whole)
        beside.replace(self._path)

    def add(self, attempts: Sequence[Attempt], seconds: dict[str, float]) -> None:
        """Keep the attempts of one step, and where its time went; they are on the disk when this returns."""
        self.steps.append(list(attempts))
        self.seconds.append(seconds)
        values = [asdict(one) | {"reward": one.reward if np.isfinite(one.reward) else None} for one in attempts]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seconds": seconds, "attempts": values}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts, in order."""
        return [attempt for step in self.steps for attempt in step]


def _attempt(values: dict[str, Any]) -> Attempt:
    reward = float("nan") if values["reward"] is None else values["reward"]
    return Attempt(**values | {"parents": tuple(values["parents"]), "reward": reward})


def attempt_frame(attempts: Iterable[Attempt], grid: Grid) -> pd.DataFrame:
    """Attempts as a table: the fields of `Attempt`, and the labels of both cells (`asked_row`, `judged_column`, …)."""
    rows = list(attempts)
    table = pd.DataFrame({f.name: [getattr(one, f.name) for one in rows] for f in fields(Attempt)})
    table["parents"] = pd.Series([list(one.parents) for one in rows], dtype=object)
    table["reward"] = table["reward"].astype(np.float32)
    for which in ("asked", "judged"):
        labels = [grid.labels(getattr(one, which)) for one in rows]
        table[f"{which}_row"] = [label[0] for label in labels]
        table[f"{which}_column"] = [label[1] if len(label) > 1 else "" for label in labels]
    return table
