"""Sets of features, each scaled or set to a value: how they are written, and the named ones that a workspace keeps."""

import math
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rmviz.errors import ArtifactError, ConfigError, NotFoundError
from rmviz.store.artifact import write_json
from rmviz.store.kept import read_record
from rmviz.store.workspace import clean_name, writing

FOLDER = "feature_sets"
"""Folder of the workspace that holds one JSON file for each named set."""

LOW, HIGH = -2.0, 3.0
"""Scales that can be chosen by hand."""

MOST_VALUE = 1e6
_PART = re.compile(r"([0-9]{1,9})([:@])(.+)")


class Edit(NamedTuple):
    """What is done to a feature: its activation is multiplied by a scale (0: off), or is the value at every token."""

    kind: Literal["scale", "value"]
    number: float


OFF = Edit("scale", 0.0)
Edits = dict[int, Edit]


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A named set of features of one SAE."""

    id: str
    name: str
    sae: str
    """Id of the SAE."""

    edits: Edits
    created: float
    """Seconds since 1970."""


def parsed_edits(text: str) -> Edits:
    """Edits from `12:0,44:2.5,50@3.1` (`:` a scale, `@` a value); what is not of this form is left out."""
    found: Edits = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        try:
            number = float(match[3]) if match else math.nan
        except ValueError:
            continue
        if match is None or not math.isfinite(number):
            continue
        if match[2] == ":":
            found[int(match[1])] = Edit("scale", min(max(number, LOW), HIGH))
        else:
            found[int(match[1])] = Edit("value", min(max(number, -MOST_VALUE), MOST_VALUE))
    return found


def written_edits(edits: Mapping[int, Edit]) -> str:
    """Edits as `12:0,44:2.5,50@3.1`."""
    return ",".join(
        f"{feature}{':' if edit.kind == 'scale' else '@'}{edit.number:.6g}" for feature, edit in edits.items()
    )


def scales_of(edits: Mapping[int, Edit]) -> dict[int, float]:
    """The features that are scaled, those at 1 left out."""
    return {f: edit.number for f, edit in edits.items() if edit.kind == "scale" and edit.number != 1}


def values_of(edits: Mapping[int, Edit]) -> dict[int, float]:
    """The features that are set to a value."""
    return {f: edit.number for f, edit in edits.items() if edit.kind == "value"}


def patch_list(edits: Mapping[int, Edit]) -> str:
    """The set as the job `model.patch` takes it: `3, 17=0.5`, where features without a number are off.

    Raises:
        ConfigError: A feature is set to a value, which a patch cannot do, or none is changed.
    """
    if values := values_of(edits):
        raise ConfigError(
            f"a patched model scales features; feature {min(values)} is set to a value. Scale it, or leave it out"
        )
    scales = scales_of(edits)
    if not scales:
        raise ConfigError("nothing would change: every feature of the set is at scale 1")
    return ", ".join(str(f) if scale == 0 else f"{f}={scale:g}" for f, scale in sorted(scales.items()))


def off_list(edits: Mapping[int, Edit]) -> str:
    """The set as jobs take it that only switch features off (`map_rescore`, probes): `3, 17`.

    Raises:
        ConfigError: A feature is scaled or set otherwise.
    """
    others = [feature for feature, edit in edits.items() if edit != OFF]
    if others or not edits:
        raise ConfigError(
            f"such a job switches features off; feature {min(others)} is scaled or set. Switch it off, or leave it out"
            if others
            else "the set is empty; switch some features off first"
        )
    return ", ".join(map(str, sorted(edits)))


def save_set(root: Path, sae: str, name: str, edits: Mapping[int, Edit]) -> FeatureSet:
    """Keep a set under a name in the workspace.

    Raises:
        ConfigError: The name or the set is empty, or another set of this SAE has the name.
        ArtifactError: The workspace cannot be written.
    """
    if not edits:
        raise ConfigError("a set needs at least one feature; switch one off or scale one first")
    name = _free_name(root, sae, name)
    made = FeatureSet(id=secrets.token_hex(4), name=name, sae=sae, edits=dict(edits), created=time.time())
    _write(root, made)
    return made


def rename_set(root: Path, set_id: str, name: str) -> FeatureSet:
    """Give a set another name.

    Raises:
        NotFoundError: There is no such set.
        ConfigError: The name is empty or taken.
        ArtifactError: The workspace cannot be written.
    """
    old = saved_set(root, set_id)
    new = old if clean_name(name) == old.name else replace(old, name=_free_name(root, old.sae, name))
    _write(root, new)
    return new


def delete_set(root: Path, set_id: str) -> None:
    """Forget a set; one that is gone already is no error.

    Raises:
        ArtifactError: The workspace cannot be written.
    """
    with writing(root):
        _path(root, set_id).unlink(missing_ok=True)


def saved_set(root: Path, set_id: str) -> FeatureSet:
    """The set with this id.

    Raises:
        NotFoundError: There is no such set.
        ArtifactError: Its file is damaged.
    """
    path = _path(root, set_id)
    if not path.exists():
        raise NotFoundError(
            f"no set of features called {set_id[:40]!r} is kept in this workspace; it may have been deleted"
        )
    return _read(path)


def saved_sets(root: Path, sae: str = "") -> tuple[list[FeatureSet], list[str]]:
    """All named sets (of one SAE), newest first, and a sentence about each file that cannot be read."""
    found: list[FeatureSet] = []
    problems: list[str] = []
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            found.append(_read(path))
        except ArtifactError as error:
            problems.append(str(error))
    return sorted((s for s in found if not sae or s.sae == sae), key=lambda s: -s.created), problems


def _free_name(root: Path, sae: str, name: str) -> str:
    name = clean_name(name)
    if not name:
        raise ConfigError("a set needs a name")
    if any(other.name == name for other in saved_sets(root, sae)[0]):
        raise ConfigError(f"another set of this SAE is called {name!r}; choose another name, or delete that one first")
    return name


def _path(root: Path, set_id: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{8}", set_id):
        raise NotFoundError(f"{set_id[:40]!r} is no id of a set of features; ids have eight digits and letters a to f")
    return root / FOLDER / f"{set_id}.json"


def _write(root: Path, made: FeatureSet) -> None:
    path = _path(root, made.id)
    features = {str(f): {edit.kind: edit.number} for f, edit in made.edits.items()}
    values = {"id": made.id, "name": made.name, "sae": made.sae, "created": made.created, "features": features}
    with writing(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)


def _read(path: Path) -> FeatureSet:
    values: dict[str, Any] = read_record(path)
    try:
        edits: Edits = {}
        for feature, change in values["features"].items():
            ((kind, number),) = change.items()
            if kind not in ("scale", "value") or not math.isfinite(number):
                raise ValueError(f"feature {feature} is {change}")
            edits[int(feature)] = Edit(kind, float(number))
        name, sae, created = str(values["name"]), str(values["sae"]), float(values["created"])
        return FeatureSet(id=path.stem, name=name, sae=sae, edits=edits, created=created)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path} holds no set of features ({error!r}); delete the file and save the set again"
        ) from error
