"""One immutable result on disk: its manifest, and its files checked before they are read."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rmviz.errors import ArtifactError

VERSION = 1
MANIFEST = "artifact.json"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished result and where it lies. `files` maps relative names to `[bytes, sha256]`."""

    id: str
    kind: str
    name: str
    key: str
    created: float
    config: dict[str, Any]
    parents: tuple[str, ...]
    metrics: dict[str, Any]
    files: dict[str, list[Any]]
    folder: Path
    version: int = VERSION
    seconds: float = field(default=0.0)

    def path(self, name: str) -> Path:
        """A file of this artifact, its size and SHA-256 checked (once per process and change).

        Raises:
            ArtifactError: The file is not part of the artifact, is gone, or is damaged.
        """
        if name not in self.files:
            raise ArtifactError(f"{self.kind} {self.id} has no file {name}; it has {', '.join(sorted(self.files))}")
        path = self.folder / name
        size, digest = self.files[name]
        try:
            stat = path.stat()
        except OSError as error:
            raise ArtifactError(f"{path} is gone; make the {self.kind} again") from error
        if stat.st_size != size:
            raise ArtifactError(
                f"{path} is damaged: {size} bytes wanted, {stat.st_size} found; make the {self.kind} again"
            )
        if _sha256(path, stat.st_mtime_ns, stat.st_size) != digest:
            raise ArtifactError(f"{path} is damaged: its content is not what was written; make the {self.kind} again")
        return path

    def verify(self) -> "Artifact":
        """This artifact, after every file was checked."""
        for name in self.files:
            self.path(name)
        return self

    def read_json(self, name: str) -> Any:
        """The content of one of its JSON files."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def manifest(self) -> dict[str, Any]:
        """What `artifact.json` holds."""
        values = asdict(self)
        del values["folder"]
        return values


def read_manifest(folder: Path) -> Artifact:
    """The artifact in a folder.

    Raises:
        ArtifactError: The manifest is missing, broken, or from a newer rmviz.
    """
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values.get("version", 0) > VERSION:
            raise ArtifactError(
                f"{folder} was written by a newer rmviz (format {values['version']}, "
                f"this one reads up to {VERSION}); upgrade rmviz"
            )
        return Artifact(**{**values, "parents": tuple(values["parents"]), "folder": folder})
    except (OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(
            f"{folder / MANIFEST} cannot be read ({error}); delete the folder and make the result again"
        ) from error


def file_table(folder: Path) -> dict[str, list[Any]]:
    """Size and SHA-256 of every file below a folder, by relative name."""
    table: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            stat = path.stat()
            table[path.relative_to(folder).as_posix()] = [stat.st_size, _sha256(path, stat.st_mtime_ns, stat.st_size)]
    return table


def write_json(path: Path, values: Any) -> None:
    """Write JSON so that a reader never sees half of it: beside its place, flushed, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(values, file, ensure_ascii=False, allow_nan=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@lru_cache(maxsize=4096)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
