"""The catalogue: a SQLite index of all manifests. The files are the truth; it can be deleted and made again."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rmviz.store.artifact import MANIFEST, Artifact, read_manifest

_SCHEMA = """CREATE TABLE IF NOT EXISTS artifacts (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    created REAL NOT NULL, manifest TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_kind ON artifacts (kind, created);
CREATE INDEX IF NOT EXISTS by_key ON artifacts (key);"""
_INSERT = "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?)"


class Catalogue:
    """Finds artifacts by id, name, key or kind; falls back to the files where SQLite cannot be used."""

    def __init__(self, root: Path, kinds: Iterable[str]) -> None:
        """Open (or make) the index of a workspace folder."""
        self.root = root
        self.kinds = tuple(kinds)
        self.file = root / "catalogue.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        fresh = not self.file.exists()
        with closing(sqlite3.connect(self.file, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            if fresh:
                self._fill(connection)
            yield connection

    def _fill(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # who adds an artifact meanwhile waits, so that none is lost
        connection.execute("DELETE FROM artifacts")
        connection.executemany(_INSERT, [_row(artifact) for artifact in self.on_disk()])
        connection.execute("COMMIT")

    def on_disk(self) -> list[Artifact]:
        """Every readable artifact below the workspace, oldest first."""
        found = []
        for kind in self.kinds:
            for manifest in (self.root / kind).glob(f"*/{MANIFEST}"):
                try:
                    found.append(read_manifest(manifest.parent))
                except OSError:
                    continue  # `rmviz doctor` names broken ones; the others must stay usable
        return sorted(found, key=lambda artifact: artifact.created)

    def rebuild(self) -> int:
        """Make the index again from the files; how many artifacts were found."""
        try:
            with self._open() as connection:
                self._fill(connection)
                return connection.execute("SELECT COUNT(*) FROM artifacts").fetchone()[0]
        except sqlite3.OperationalError:
            raise  # locked or not writable: the file itself is sound
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
            return self.rebuild()

    def add(self, artifact: Artifact) -> None:
        """Enter one artifact."""
        try:
            with self._open() as connection:
                connection.execute(_INSERT, _row(artifact))
        except sqlite3.DatabaseError:
            self.rebuild()

    def find(self, *, kind: str = "", key: str = "", ref: str = "") -> list[Artifact]:
        """Artifacts that match all that is given, newest first; `ref` is an id or a name."""
        wanted = [(column, value) for column, value in (("kind", kind), ("key", key)) if value]
        where = [f"{column} = ?" for column, _ in wanted] + (["(id = ? OR name = ?)"] if ref else [])
        values = [value for _, value in wanted] + ([ref, ref] if ref else [])
        query = (
            "SELECT manifest, kind, id FROM artifacts"
            + (f" WHERE {' AND '.join(where)}" if where else "")
            + " ORDER BY created DESC, rowid DESC"
        )
        try:
            with self._open() as connection:
                rows = connection.execute(query, values).fetchall()
            found = [_artifact(self.root / row_kind / row_id, text) for text, row_kind, row_id in rows]
            return [artifact for artifact in found if artifact.folder.exists()]
        except (sqlite3.DatabaseError, ValueError):
            pass  # unreadable index, or a workspace that must not be written: read the files
        return [
            artifact
            for artifact in reversed(self.on_disk())
            if (not kind or artifact.kind == kind)
            and (not key or artifact.key == key)
            and (not ref or ref in (artifact.id, artifact.name))
        ]


def _row(artifact: Artifact) -> tuple[object, ...]:
    manifest = json.dumps(artifact.manifest())
    return artifact.id, artifact.kind, artifact.name, artifact.key, artifact.created, manifest


def _artifact(folder: Path, manifest: str) -> Artifact:
    values = json.loads(manifest)
    return Artifact(**{**values, "parents": tuple(values["parents"]), "folder": folder})
