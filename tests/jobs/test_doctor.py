"""The doctor against each thing that can be wrong."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from rmviz.cli import main
from rmviz.jobs.doctor import facts, findings
from rmviz.jobs.locks import locked
from rmviz.jobs.records import CONFIG, STATE
from rmviz.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace(tmp_path / "space")
    with space.create("dataset", name="d") as draft:
        (draft.folder / "x").write_text("x")
    with space.create("sae", name="s", parents=(draft.kept.id,)):
        pass
    return space


def said(workspace: Workspace) -> str:
    return "\n".join(f"{one.what} {one.advice}" for one in findings(workspace))


def mend(workspace: Workspace) -> None:
    for one in list(findings(workspace)):
        if one.mend:
            one.mend()


def put_job(workspace: Workspace, key: str, **state: str) -> Path:
    folder = workspace.job_folder(key)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"kind": "world.data"}))
    (folder / STATE).write_text(json.dumps({"kind": "world.data", "host": os.uname().nodename, **state}))
    return folder


def test_a_sound_workspace_has_no_finding(workspace):
    assert said(workspace) == ""
    assert facts(workspace)["artifacts"] == 2 and facts(workspace)["torch"]


def test_a_workspace_that_is_not_there_is_sound(tmp_path):
    assert said(Workspace(tmp_path / "none")) == ""


def test_a_flipped_byte_is_named(workspace):
    artifact = workspace.resolve("d")
    (artifact.folder / "x").write_text("y")
    assert "damaged" in said(workspace) and artifact.id in said(workspace)


def test_a_lost_parent_is_named(workspace):
    artifact = workspace.resolve("d")
    artifact.folder.rename(workspace.root / "elsewhere")
    assert f"made of {artifact.id}, which is gone" in said(workspace)


def test_a_damaged_or_stale_catalogue_is_made_again(workspace):
    workspace.catalogue.file.write_bytes(b"nonsense" * 1000)
    assert "catalogue is damaged" in said(workspace)
    mend(workspace)
    assert said(workspace) == "" and len(workspace.list()) == 2


def test_a_dead_job_is_marked_failed_and_its_draft_goes(workspace):
    folder = put_job(workspace, "world.data-dead", state="running")
    draft = workspace.root / ".drafts" / "dataset-half"
    draft.mkdir(parents=True)
    os.utime(draft, (time.time() - 3600, time.time() - 3600))
    assert "died without a word" in said(workspace) and "half-made" in said(workspace)
    mend(workspace)
    assert json.loads((folder / STATE).read_text())["state"] == "failed" and not draft.exists()


def test_a_running_jobs_draft_is_left_alone(workspace):
    folder = put_job(workspace, "world.data-live", state="running")
    draft = workspace.root / ".drafts" / "dataset-half"
    draft.mkdir(parents=True)
    os.utime(draft, (time.time() - 3600, time.time() - 3600))
    with locked(folder):
        assert said(workspace) == ""


def test_a_stopped_job_and_a_lost_result_are_named(workspace):
    child = subprocess.Popen(["sleep", "60"])
    try:
        child.send_signal(19)
        folder = put_job(workspace, "world.data-still", state="running")
        state = json.loads((folder / STATE).read_text()) | {"pid": child.pid}
        (folder / STATE).write_text(json.dumps(state))
        put_job(workspace, "world.data-lost", state="succeeded", artifact="dataset-gone")
        deadline = time.monotonic() + 5
        with locked(folder):
            while "stands still" not in said(workspace):
                assert time.monotonic() < deadline
            assert "dataset-gone" in said(workspace)
    finally:
        child.kill()
        child.wait()


def test_a_job_folder_without_a_state_is_named(workspace):
    put_job(workspace, "world.data-torn", state="running")
    (workspace.job_folder("world.data-torn") / STATE).write_text("{")
    assert "world.data-torn holds no job that can be read" in said(workspace)


def test_the_command_ends_with_one_where_something_is_wrong(workspace, monkeypatch, capsys):
    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["rmviz", "doctor", "--workspace", str(workspace.root), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert run() == 0 and "All is sound" in capsys.readouterr().out
    put_job(workspace, "world.data-dead", state="running")
    assert run("--json") == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["can_mend"]
    assert run("--mend") == 0
    assert "mended" in capsys.readouterr().out
