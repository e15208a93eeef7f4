"""Labels that people give to the features of an SAE: one small file per SAE in the workspace, replaced in one step."""

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rmviz.configs.base import require
from rmviz.configs.labels import LONGEST_LABEL, Direction, direction_named
from rmviz.errors import ArtifactError, ConfigError
from rmviz.store.artifact import write_json
from rmviz.store.workspace import writing

FOLDER, VERSION = "hand_labels", 1
LONGEST_NOTE = 2000


@dataclass(frozen=True, kw_only=True)
class HandLabel:
    """What a person calls a feature."""

    label: str
    direction: Direction = ""
    """What it is said to do to the reward where it fires."""
    note: str = ""
    time: float = 0.0
    """When it was given, in seconds since 1970."""

    def __post_init__(self) -> None:
        require(bool(self.label.strip()), "a label must be some words, got nothing")
        require(
            len(self.label) <= LONGEST_LABEL, f"a label has at most {LONGEST_LABEL} characters, got {len(self.label):,}"
        )
        require(
            len(self.note) <= LONGEST_NOTE, f"a note has at most {LONGEST_NOTE:,} characters, got {len(self.note):,}"
        )
        direction_named(self.direction)


def file_of(root: Path, sae: str) -> Path:
    """Where the labels of an SAE are kept."""
    return root / FOLDER / f"{sae}.json"


def hand_labels(root: Path, sae: str) -> dict[int, HandLabel]:
    """The labels that were given by hand, by feature; none where nobody gave one.

    Raises:
        ArtifactError: The file is damaged, or from a newer rmviz.
    """
    path = file_of(root, sae)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] > VERSION:
            raise ArtifactError(f"{path} was written by a newer rmviz; upgrade rmviz")
        return {int(feature): HandLabel(**one) for feature, one in values["labels"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} cannot be read ({error}); put it right, or move it away to begin anew") from error


def set_labels(root: Path, sae: str, changes: Mapping[int, HandLabel | None]) -> dict[int, HandLabel]:
    """Give labels, or take them away (None); all that there are now. Who changes others at the same moment waits.

    Raises:
        ArtifactError: The file is damaged, or cannot be written.
        ConfigError: A feature is below 0.
    """
    wrong = next((feature for feature in changes if feature < 0), None)
    if wrong is not None:
        raise ConfigError(f"features are numbers from 0 on, got {wrong}")
    with writing(root), _alone(root):
        kept = hand_labels(root, sae) | {feature: one for feature, one in changes.items() if one}
        kept = {feature: one for feature, one in sorted(kept.items()) if changes.get(feature, one) is not None}
        labels = {str(feature): asdict(one) for feature, one in kept.items()}
        write_json(file_of(root, sae), {"version": VERSION, "sae": sae, "labels": labels})
    return kept


def new_label(label: str, direction: str = "", note: str = "") -> HandLabel:
    """A label given now.

    Raises:
        ConfigError: It is empty, too long, or claims another direction than raises or lowers.
    """
    return HandLabel(
        label=" ".join(label.split()), direction=direction_named(direction), note=note.strip(), time=time.time()
    )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with (root / FOLDER / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
