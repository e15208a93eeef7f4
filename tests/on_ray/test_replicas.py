"""The backend under Ray Serve on two CPU replicas: one is killed, and no request is lost."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ablation.families import VOCAB
from on_ray.cluster import MARK, scan_workspace, wait_until

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.waterfall import taken_apart
from rmviz.backend import process
from rmviz.backend.client import Backend
from rmviz.errors import BackendError
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact
from rmviz.types import Pair

NUM_REQUESTS = 200


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return scan_workspace(tmp_path_factory.mktemp("replicas"), num_pairs=4)


@pytest.fixture(scope="module")
def live(space):
    """A client of two replicas, which end with the file's tests."""
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed: make test-ray")
    names = ("RAY_ADDRESS", "RMVIZ_BACKEND", "RMVIZ_BACKEND_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "import sys; from rmviz.backend.service import serve; serve(sys.argv[1], num_replicas=2)"
    log = (space.root / process.LOG_FILE).open("wb")
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(space.root)], stdout=log, stderr=log, start_new_session=True,
        env=environment | {"OMP_NUM_THREADS": "1", MARK: "replicas"},
    )  # fmt: skip
    try:
        wait_until(lambda: child.poll() is not None or process.read_address(space.root) is not None, 180)
        assert child.poll() is None, process.log_end(space.root, lines=40)
        address = process.read_address(space.root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RMVIZ_BACKEND", address.url)
            patch.setenv("RMVIZ_BACKEND_TOKEN", address.token)
            yield Backend(space.root)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        log.close()


@pytest.fixture(scope="module")
def engine(space):
    return EffectEngine(from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae")))


def pids(live) -> set[int]:
    return {live.health().pid for _ in range(20)}


def some_pairs(count):
    rng = np.random.default_rng(7)
    words = [" ".join(f"w{i}" for i in rng.integers(4, VOCAB, 8)) for _ in range(2 * count)]
    return [Pair(pair_id=str(i), prompt="w5", chosen=words[2 * i], rejected=words[2 * i + 1]) for i in range(count)]


def test_a_session_stays_with_one_replica_and_sessions_spread(live):
    assert len(pids(live)) == 2
    homes = {}
    for number in range(12):
        headers = {"Authorization": f"Bearer {os.environ['RMVIZ_BACKEND_TOKEN']}", "X-Session-Id": f"session {number}"}
        told = [live._http.get(live.remote + "/health", headers=headers).json()["pid"] for _ in range(4)]
        assert len(set(told)) == 1
        homes[number] = told[0]
    assert set(homes.values()) == pids(live)


def test_none_gets_past_the_guard(live, monkeypatch):
    monkeypatch.setenv("RMVIZ_BACKEND_TOKEN", "wrong")
    with pytest.raises(BackendError, match="the token is missing or wrong"):
        Backend(live.root)


def test_a_replica_is_killed_and_no_request_is_lost(live, engine):
    pairs = some_pairs(NUM_REQUESTS)
    encoded = engine.rm.encode([pair.texts[0] for pair in pairs])
    scores, wanted = (
        engine.rm.score_encoded(encoded),
        {i: taken_apart(engine, pairs[i]) for i in range(0, NUM_REQUESTS, 2)},
    )
    live.pair("rm", "sae", pairs[0])
    before, asked = pids(live), threading.Semaphore(0)
    assert len(before) == 2

    def ask(i: int):
        asked.release()
        view = f"session {i % 20}/{i}"
        if i % 2:
            return live.score("rm", [pairs[i].texts[0]], view=view).rewards[0]
        return live.pair("rm", "sae", pairs[i], view=view)

    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        answers = [pool.submit(ask, i) for i in range(NUM_REQUESTS)]
        for _ in range(NUM_REQUESTS // 2):
            asked.acquire()
        os.kill(killed := min(before), signal.SIGKILL)
        num_open = sum(not one.done() for one in answers)
        found = [one.result(120) for one in answers]
    assert num_open > NUM_REQUESTS // 4, "it was killed while it had work"
    for i, answer in enumerate(found):
        if i % 2:
            assert answer == pytest.approx(float(scores[i]), abs=1e-5)
        else:
            margin = sum(answer.chosen_effects) - sum(answer.rejected_effects)
            assert margin == pytest.approx(float(wanted[i].effects.sum()), abs=1e-4)
            assert answer.chosen.reward == pytest.approx(wanted[i].rewards[0], abs=1e-5)
            assert answer.features == wanted[i].features.tolist()
    wait_until(lambda: len(now := pids(live)) == 2 and killed not in now, 120)
