"""Started when none runs, shared when one does, started again when it died."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backend.conftest import Place, Served

from rmviz.backend import client, process
from rmviz.backend.service import serve
from rmviz.errors import BackendError

Connect = Callable[[], client.Backend]


def test_a_life(own_process: Connect, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sessions start one backend; it is killed, started again, killed while it works, started again, stopped."""
    root = place.workspace.root
    pids = started_by_sessions(root, 3)
    live = own_process()
    address = process.read_address(root)
    assert address is not None and pids == {live.health().pid} == {address.pid}, "it outlives the sessions"
    assert stat.S_IMODE((root / "backend.json").stat().st_mode) == 0o600
    assert own_process() is live, "the connection is kept"
    with pytest.raises(BackendError, match="a backend runs for"):
        serve(root)
    reward = live.score("causal", ["hello"]).rewards[0]
    assert live.notices() == []

    os.kill(address.pid, signal.SIGKILL)
    wait_until(lambda: not process.runs(address))
    assert own_process() is live and live.health().pid != address.pid, "noticed before a request was sent"
    cause = "it was killed, perhaps because memory ran out"
    assert live.notices() == [f"the backend had stopped ({cause}) and was started again"] and live.notices() == []

    monkeypatch.setattr(client, "_connected", {})
    other, second = own_process(), live.health().pid
    assert other is not live and other.health().pid == second
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(live.score, "causal", ["hello"] * 400) for _ in range(3)]
        os.kill(second, signal.SIGKILL)
        assert all(a.result().rewards == pytest.approx([reward] * 400, abs=1e-5) for a in asked), "asked again"
    assert live.notices() == ["the backend had stopped (killed: perhaps out of memory) and was started again"]
    third = live.health().pid
    assert other.health().pid == third != second and other.notices() == [], "another session just finds the new one"

    address = process.read_address(root)
    assert address is not None and address.pid == third
    os.kill(third, signal.SIGTERM)
    wait_until(lambda: not process.runs(address))
    assert not (root / "backend.json").exists(), "it takes its address away"
    assert "Traceback" not in process.log_end(root)
    other.stop()
    with pytest.raises(BackendError, match="no backend runs for"):
        live.ready(start=False)
    assert live.notices() == [], "one that ended in order is no news"


def started_by_sessions(root: Path, count: int) -> set[int]:
    """The backends that processes see which ask for one at the same time, as several apps would."""
    code = (
        "import sys; from pathlib import Path; from rmviz.backend import client, process;"
        "serve = 'import sys; from rmviz.backend.service import serve; serve(sys.argv[1])';"
        "process.command = lambda root: [sys.executable, '-c', serve, str(root)];"
        "print(client.backend(Path(sys.argv[1])).health().pid)"
    )
    command = [sys.executable, "-c", code, str(root)]
    sessions = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return {int(session.communicate(timeout=200)[0]) for session in sessions}


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited ten seconds")


def test_a_start_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMVIZ_BACKEND", raising=False)
    code = "import sys; print('no such luck', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(process, "command", lambda root: [sys.executable, "-c", code])
    with pytest.raises(BackendError, match=r"did not start \(it ended with status 3\)(.|\n)*no such luck"):
        client.Backend(tmp_path)
    monkeypatch.setattr(process, "command", lambda root: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(BackendError, match="did not answer within 1 s"):
        client.Backend(tmp_path, wait=1.0)
    with pytest.raises(BackendError, match=r"no backend runs for .* rmviz backend --workspace"):
        client.Backend(tmp_path, start=False)


def test_a_stale_address_is_not_believed(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file left behind, whose number and port others were given since: another workspace's backend, or no backend."""
    monkeypatch.delenv("RMVIZ_BACKEND", raising=False)
    for url, token in ((served.url, "old"), (served.url, served.token), ("http://127.0.0.1:9", ""), ("nonsense", "")):
        stale = {"url": url, "token": token, "pid": os.getpid(), "started": 1.0, "version": process.own_version()}
        (tmp_path / "backend.json").write_text(json.dumps(stale))
        with pytest.raises(BackendError, match="no backend runs"):
            client.Backend(tmp_path, start=False)
    assert not process.runs(process.Address("", "", os.getpid(), started=1.0))
    (tmp_path / "backend.json").write_text('{"half": ')
    assert process.read_address(tmp_path) is None


def test_an_unreachable_remote_backend_is_named(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMVIZ_BACKEND", "http://127.0.0.1:9")
    with pytest.raises(BackendError, match=r"no backend answers at http://127\.0\.0\.1:9"):
        client.Backend(tmp_path)
    monkeypatch.setenv("RMVIZ_BACKEND", served.url)
    monkeypatch.setenv("RMVIZ_BACKEND_TOKEN", "wrong")
    with pytest.raises(BackendError, match="the token is missing or wrong"):
        client.Backend(tmp_path)
    monkeypatch.setenv("RMVIZ_BACKEND_TOKEN", served.token)
    live = client.Backend(tmp_path)
    with pytest.raises(BackendError, match="not ours to stop"):
        live.stop()
    assert list(tmp_path.iterdir()) == [], "nothing is started or written for a remote backend"


def test_it_ends_when_nobody_asks(tmp_path: Path) -> None:
    serve(tmp_path, idle_timeout=0.2)
    assert not (tmp_path / "backend.json").exists()


def test_pages_need_no_torch() -> None:
    code = (
        "import sys, rmviz.backend.client, rmviz.backend.wire;"
        "heavy = {'torch', 'transformers', 'fastapi', 'uvicorn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
