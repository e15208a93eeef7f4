"""Frozen records that every part of rmviz shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

Side = Literal["chosen", "rejected", "text"]
JSON = str | int | float | bool | None | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text that a reward model can score: a reply, and the prompt it answers (empty for plain text)."""

    text_id: str
    """Unique in its dataset; `<pair_id>/chosen` and `<pair_id>/rejected` for the texts of a pair."""

    prompt: str
    reply: str
    pair_id: str = ""
    side: Side = "text"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A preference pair: of two replies to one prompt, people preferred `chosen`."""

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    extra: Mapping[str, JSON] = field(default_factory=dict)
    """Further columns of the data, for slices."""

    @property
    def texts(self) -> tuple[Text, Text]:
        """The chosen and the rejected text, in this order."""
        return (
            Text(
                text_id=f"{self.pair_id}/chosen",
                prompt=self.prompt,
                reply=self.chosen,
                pair_id=self.pair_id,
                side="chosen",
            ),
            Text(
                text_id=f"{self.pair_id}/rejected",
                prompt=self.prompt,
                reply=self.rejected,
                pair_id=self.pair_id,
                side="rejected",
            ),
        )


@runtime_checkable
class Report(Protocol):
    """What a job tells while it runs; the worker hands it in."""

    @property
    def key(self) -> str:
        """The job's key: what its artifact is kept under."""
        ...

    @property
    def folder(self) -> Path:
        """A folder for checkpoints: it outlives an interruption and is emptied when the job succeeds."""
        ...

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say that `step` of `total` units are done, with the figures of this moment."""
        ...
