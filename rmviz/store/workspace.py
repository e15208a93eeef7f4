"""The workspace: a folder with everything rmviz knows."""

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmviz.errors import ArtifactError, ConfigError, NotFoundError
from rmviz.store.artifact import MANIFEST, Artifact, file_table, write_json
from rmviz.store.catalogue import Catalogue

KINDS = (
    "dataset", "reward_model", "ensemble", "policy", "sae", "effects", "features", "labels", "map", "comparison", "probe",
    "experiment",
)  # fmt: skip


@dataclass
class Draft:
    """An artifact being made: files go into `folder`, figures into `metrics`; `artifact` is set when it is kept."""

    folder: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = None

    @property
    def kept(self) -> Artifact:
        """The artifact, once the `with` block has ended."""
        assert self.artifact is not None, "the artifact is kept when its with-block ends"
        return self.artifact


class Workspace:
    """A folder of artifacts, one folder each: `<kind>/<id>/`."""

    def __init__(self, root: Path | str) -> None:
        """Open a workspace; the folder is made when something is first kept."""
        self.root = Path(root).expanduser().resolve()
        self.catalogue = Catalogue(self.root, KINDS)

    @contextmanager
    def create(
        self,
        kind: str,
        *,
        name: str,
        key: str = "",
        config: Mapping[str, Any] | None = None,
        parents: tuple[str, ...] = (),
    ) -> Iterator[Draft]:
        """Make one artifact: nothing is visible until the block ends without an error, then all of it is.

        Raises:
            ArtifactError: The workspace cannot be written (full, read-only).
        """
        assert kind in KINDS, kind
        artifact_id = f"{kind.replace('_', '-')}-{secrets.token_hex(4)}"
        draft_folder = self.root / ".drafts" / artifact_id
        start = time.monotonic()
        with writing(self.root):
            draft_folder.mkdir(parents=True)
            draft = Draft(draft_folder)
            try:
                yield draft
                artifact = Artifact(
                    id=artifact_id,
                    kind=kind,
                    name=clean_name(name) or artifact_id,
                    key=key,
                    created=time.time(),
                    config=dict(config or {}),
                    parents=tuple(parents),
                    metrics=draft.metrics,
                    files=file_table(draft_folder),
                    folder=self.root / kind / artifact_id,
                    seconds=round(time.monotonic() - start, 3),
                )
                write_json(draft_folder / MANIFEST, json.loads(json.dumps(artifact.manifest())))
                _sync(draft_folder)
                artifact.folder.parent.mkdir(exist_ok=True)
                draft_folder.rename(artifact.folder)
                _fsync_folder(artifact.folder.parent)
                draft.artifact = artifact
            finally:
                shutil.rmtree(draft_folder, ignore_errors=True)
            self.catalogue.add(artifact)

    def list(self, kind: str = "") -> list[Artifact]:
        """All artifacts (of one kind), newest first."""
        return self.catalogue.find(kind=kind)

    def by_key(self, key: str) -> Artifact | None:
        """The artifact that a job with this key has left, if any."""
        found = self.catalogue.find(key=key) if key else []
        return found[0] if found else None

    def resolve(self, ref: str, *kinds: str) -> Artifact:
        """The artifact with this id, or the newest with this name.

        Raises:
            NotFoundError: There is none; what there is instead is listed.
        """
        found = (
            [artifact for artifact in self.catalogue.find(ref=ref) if not kinds or artifact.kind in kinds]
            if ref
            else []
        )
        if found:
            return found[0]
        wanted = " or ".join(kind.replace("_", " ") for kind in kinds) or "artifact"
        present = [artifact.name for kind in (kinds or KINDS) for artifact in self.catalogue.find(kind=kind)]
        hint = f"there are: {', '.join(dict.fromkeys(present[:12]))}" if present else "there is none yet"
        raise NotFoundError(f"no {wanted} called {ref[:200]!r} in {self.root}; {hint}")

    def job_folder(self, key: str) -> Path:
        """Where the job with this key keeps its config, metrics, log and checkpoints."""
        return self.root / "jobs" / key


def default_root() -> Path:
    """`RMVIZ_WORKSPACE`, else `./workspace`."""
    return Path(os.environ.get("RMVIZ_WORKSPACE") or "workspace")


def clean_name(name: str) -> str:
    """A name without control characters, slashes or surrounding space, at most 80 characters long."""
    return re.sub(r"[\x00-\x1f\x7f/\\]+", "-", name).strip(" .-")[:80]


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn "disk full" and "read-only" into words."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ArtifactError):
            raise
        reasons = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EDQUOT: "the disk quota is used up: free some space",
        }
        reasons |= dict.fromkeys(
            (errno.EROFS, errno.EACCES, errno.EPERM), "it is read-only: choose another with --workspace"
        )
        if error.errno in reasons:
            raise ArtifactError(
                f"cannot write to the workspace {root}: {reasons[error.errno]}; nothing half-written was left"
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise ConfigError(f"the workspace {root} is not a folder; choose another with --workspace") from error
        raise


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _fsync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
