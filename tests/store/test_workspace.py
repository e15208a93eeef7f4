import json
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.errors import ArtifactError, NotFoundError
from rmviz.store.artifact import read_manifest
from rmviz.store.workspace import Workspace, clean_name


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


def keep(workspace: Workspace, name: str = "a", content: str = "hello", key: str = ""):
    with workspace.create("sae", name=name, key=key, config={"k": 3}) as draft:
        (draft.folder / "part").mkdir()
        (draft.folder / "part" / "text.txt").write_text(content)
        draft.metrics["fvu"] = 0.5
    return draft.kept


def test_saved_then_found_is_the_same(workspace):
    kept = keep(workspace, key="k1")
    for found in (
        workspace.resolve(kept.id),
        workspace.resolve("a", "sae"),
        workspace.by_key("k1"),
        workspace.list()[0],
    ):
        assert found == kept
    assert read_manifest(kept.folder) == kept
    assert kept.path("part/text.txt").read_text() == "hello"


def test_newest_of_a_name_wins(workspace):
    first, second = keep(workspace), keep(workspace)
    assert workspace.resolve("a") == second
    assert workspace.resolve(first.id) == first


def test_unknown_names_list_what_is_there(workspace):
    keep(workspace, name="only-one")
    with pytest.raises(NotFoundError, match="only-one"):
        workspace.resolve("missing", "sae")
    with pytest.raises(NotFoundError, match="none yet"):
        workspace.resolve("missing", "dataset")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_broken_draft_is_never_seen(workspace, error):
    with pytest.raises(type(error)), workspace.create("sae", name="x") as draft:
        (draft.folder / "half").write_text("half")
        raise error
    assert workspace.list() == []
    assert [path for path in workspace.root.rglob("*") if path.name == "half"] == []


def test_full_disk_is_said_in_words(workspace):
    with pytest.raises(ArtifactError, match="disk is full"), workspace.create("sae", name="x"):
        raise OSError(28, "No space left on device")


def test_read_only_workspace_is_said_in_words(workspace):
    with pytest.raises(ArtifactError, match="read-only"), workspace.create("sae", name="x"):
        raise OSError(30, "Read-only file system")


@settings(max_examples=50, deadline=None)
@given(position=st.integers(0, 99), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory, position, bit):
    kept = keep(Workspace(tmp_path_factory.mktemp("w")), content="x" * 100)
    path = kept.folder / "part" / "text.txt"
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        kept.path("part/text.txt")


@pytest.mark.parametrize("size", [0, 1, 4])
def test_truncation_is_noticed(workspace, size):
    kept = keep(workspace)
    path = kept.folder / "part" / "text.txt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArtifactError, match="damaged"):
        kept.verify()


def test_missing_file_and_foreign_name_are_said(workspace):
    kept = keep(workspace)
    with pytest.raises(ArtifactError, match="has no file"):
        kept.path("../../etc/passwd")
    (kept.folder / "part" / "text.txt").unlink()
    with pytest.raises(ArtifactError, match="is gone"):
        kept.path("part/text.txt")


@pytest.mark.parametrize("damage", ["delete", "garbage", "drop"])
def test_the_files_are_the_truth(workspace, damage):
    kept = keep(workspace)
    file = workspace.catalogue.file
    if damage == "delete":
        file.unlink()
    elif damage == "garbage":
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        file.write_bytes(b"no database" * 100)
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM artifacts")
        workspace.catalogue.rebuild()
    assert workspace.resolve("a") == kept
    assert workspace.catalogue.rebuild() == 1


def test_a_deleted_artifact_is_gone_from_the_list(workspace):
    kept = keep(workspace)
    kept.folder.rename(workspace.root / "elsewhere")
    assert workspace.list() == []


def test_a_newer_format_is_refused(workspace):
    kept = keep(workspace)
    manifest = kept.folder / "artifact.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 99}))
    with pytest.raises(ArtifactError, match="newer rmviz"):
        read_manifest(kept.folder)


def test_many_writers_at_once(workspace):
    threads = [threading.Thread(target=keep, args=(workspace, f"n{i}")) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.name for a in workspace.list()) == sorted(f"n{i}" for i in range(16))


@given(st.text())
def test_names_are_tame(name):
    cleaned = clean_name(name)
    assert "/" not in cleaned and "\\" not in cleaned and "\n" not in cleaned and len(cleaned) <= 80
    assert clean_name(cleaned) == cleaned


@given(st.text(max_size=300))
def test_any_reference_is_refused_with_a_sentence(tmp_path_factory, ref):
    workspace = Workspace(tmp_path_factory.getbasetemp() / "refs")
    with pytest.raises(NotFoundError):
        workspace.resolve(ref, "sae")
