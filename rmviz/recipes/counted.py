"""The jobs of a recipe one after another, counted, and what they made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rmviz.store.artifact import Artifact
from rmviz.types import Report

Execute = Callable[[str, Any], Artifact]
"""Does one job, by its kind and settings."""


@dataclass
class Counted:
    """Does jobs and says before each how many of all are done."""

    execute: Execute
    report: Report
    total: int
    """Jobs in all."""

    made: list[Artifact] = field(default_factory=list)

    def __call__(self, kind: str, settings: Any) -> Artifact:
        """Do one job."""
        self.report(len(self.made), self.total)
        self.made.append(self.execute(kind, settings))
        return self.made[-1]

    @property
    def links(self) -> list[str]:
        """Ids of what was made, each once."""
        return list(dict.fromkeys(one.id for one in self.made))

    def end(self) -> None:
        """Say that all is done."""
        self.report(self.total, self.total)
