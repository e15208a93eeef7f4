"""Small records of the workspace that are no artifacts: one JSON file each, found again by their content."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rmviz.errors import ArtifactError, NotFoundError
from rmviz.store.artifact import write_json
from rmviz.store.workspace import writing

_SURROGATES = re.compile("[\ud800-\udfff]")  # no file can hold them
_KEY = re.compile(r"[0-9a-f]{20}")


def keep(root: Path, folder: str, values: dict[str, Any]) -> str:
    """Keep a record in a folder of the workspace; what is kept already is not written again.

    Returns:
        Its id, made from its content alone: the same record has the same id everywhere.

    Raises:
        ArtifactError: The workspace cannot be written.
    """
    content = _SURROGATES.sub("\ufffd", json.dumps(values, sort_keys=True, ensure_ascii=False))
    key = hashlib.sha256(content.encode()).hexdigest()[:20]
    path = root / folder / f"{key}.json"
    if not path.exists():
        with writing(root):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, json.loads(content))
    return key


def kept(root: Path, folder: str, key: str) -> dict[str, Any]:
    """The record with this id.

    Raises:
        NotFoundError: There is none.
        ArtifactError: Its file cannot be read.
    """
    path = root / folder / f"{key}.json"
    if not _KEY.fullmatch(key) or not path.exists():
        raise NotFoundError(
            f"nothing called “{key[:40]}” is kept in {folder} of this workspace; was it made in another?"
        )
    return read_record(path)


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file.

    Raises:
        ArtifactError: The file cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); delete the file and make it again") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} holds no record; delete the file and make it again")
    return values
