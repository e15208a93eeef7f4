"""Many browser sessions on one app while a job trains: errors, latency, and what the job loses.

`python tests/soak/sessions.py --sessions 50 --seconds 600` prints one JSON line last. Sessions speak Streamlit's own
protocol over WebSockets, so that the browsers' own work does not count; a timer of a page is answered as a browser does.
"""

import argparse
import asyncio
import json
import os
import random
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from rmviz.configs.world import WorldPolicyConfig
from rmviz.jobs import queue
from rmviz.jobs.records import METRICS, read_job
from rmviz.store.workspace import Workspace

REPO = Path(__file__).resolve().parents[2]
PAGES = ("overview", "features", "data", "jobs", "train")


class Session:
    """One browser tab."""

    def __init__(self, url: str, tell: "Tally", seed: int) -> None:
        """Connect later, to this address."""
        self.url, self.tell, self.random = url, tell, random.Random(seed)
        self.timers: dict[str, float] = {}
        self.page = "overview"

    async def read(self, seconds: float, think: float) -> None:
        """Open pages one after another, with time to think between them."""
        async with await self._connected() as connection:
            end = time.monotonic() + seconds
            await asyncio.sleep(self.random.uniform(0, think))
            while time.monotonic() < end:
                self.page = self.random.choice(PAGES)
                query = f"feature={self.random.randint(0, 40)}" if self.page == "features" else ""
                await self._run(connection, query)
                await self._idle(connection, self.random.uniform(0.5 * think, 1.5 * think))

    async def watch(self, seconds: float) -> None:
        """Keep the Jobs page open."""
        async with await self._connected() as connection:
            self.page = "jobs"
            await self._run(connection, "")
            await self._idle(connection, seconds)

    async def _connected(self) -> Any:
        address = self.url.replace("http", "ws") + "/_stcore/stream"
        return websockets.connect(
            address, origin=self.url, subprotocols=["streamlit"], max_size=2**26, ping_interval=None
        )  # type: ignore[arg-type]

    async def _run(self, connection: Any, query: str, fragment: str = "") -> None:
        message = BackMsg()
        message.rerun_script.query_string = query
        message.rerun_script.page_name = "" if self.page == "overview" else self.page
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = bool(fragment)
        start = time.monotonic()
        if not fragment:
            self.timers.clear()
        await connection.send(message.SerializeToString())
        while True:
            answer = ForwardMsg()
            answer.ParseFromString(await asyncio.wait_for(connection.recv(), 60))
            kind = answer.WhichOneof("type")
            if kind == "auto_rerun":
                self.timers[answer.auto_rerun.fragment_id] = answer.auto_rerun.interval
            elif kind == "delta" and answer.delta.new_element.WhichOneof("type") == "exception":
                self.tell.error(answer.delta.new_element.exception.message)
            elif kind == "script_finished":
                if answer.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    self.tell.error(f"{self.page} did not compile")
                if answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    self.tell.took(self.page, time.monotonic() - start, bool(fragment))
                    return

    async def _idle(self, connection: Any, seconds: float) -> None:
        """Wait as a tab does: its timers go on."""
        end = time.monotonic() + seconds
        due = {fragment: time.monotonic() + every for fragment, every in self.timers.items()}
        while (now := time.monotonic()) < end:
            if due and min(due.values()) <= now:
                fragment = min(due, key=lambda one: due[one])
                await self._run(connection, "", fragment)
                due = {
                    one: due.get(one, 0) if one != fragment else time.monotonic() + every
                    for one, every in self.timers.items()
                }
                continue
            await asyncio.sleep(min([end, *due.values()]) - now + 0.001)


class Tally:
    """Latencies and errors of all sessions."""

    def __init__(self) -> None:
        """Begin with none."""
        self.seconds: list[float] = []
        self.timers: list[float] = []
        self.pages: dict[str, list[float]] = {}
        self.errors: list[str] = []

    def took(self, page: str, seconds: float, timer: bool) -> None:
        """Note one run."""
        (self.timers if timer else self.seconds).append(seconds)
        if not timer:
            self.pages.setdefault(page, []).append(seconds)

    def error(self, words: str) -> None:
        """Note one error."""
        self.errors.append(words)


async def together(sessions: list[Any], tally: Tally) -> None:
    """Run all; a session that breaks is an error."""
    for done in await asyncio.gather(*sessions, return_exceptions=True):
        if isinstance(done, BaseException):
            tally.error(f"{type(done).__name__}: {done}")


def rate_over(folder: Path, run: Any) -> float:
    """Steps per second of the job while something runs."""
    begin, start = read_job(folder).step, time.monotonic()
    run()
    assert read_job(folder).state == "running", read_job(folder).error or read_job(folder).state
    return (read_job(folder).step - begin) / (time.monotonic() - start)


def main() -> None:
    """Start an app on a workspace, a job in its queue, and the sessions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--think", type=float, default=20, help="Mean seconds between two interactions of one session.")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="rmviz-sessions-")) / "workspace"
    runpy.run_path(str(REPO / "tests" / "pages" / "synthetic.py"))["build"](root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"]
    environment = os.environ | {"RMVIZ_WORKSPACE": str(root), "OMP_NUM_THREADS": "1"}
    app = subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ["OMP_NUM_THREADS"] = "1"
    space = Workspace(root)
    job = queue.launch(
        "world.policy", WorldPolicyConfig(num_steps=1_000_000, batch_size=8, d_model=32, num_blocks=2), space
    )
    url, tally, watching = f"http://127.0.0.1:{port}", Tally(), Tally()
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not _answers(url) or read_job(job.folder).step < 10):
            time.sleep(0.2)
        warm = [Session(url, Tally(), number).read(8, 1) for number in range(2)]
        asyncio.run(together(warm, Tally()))
        span = min(60.0, given.seconds / 4)
        alone = rate_over(job.folder, lambda: time.sleep(span))
        watchers = [Session(url, watching, number).watch(span) for number in range(given.watchers)]
        watched = rate_over(job.folder, lambda: asyncio.run(together(watchers, watching)))
        before = psutil.Process(app.pid).memory_info().rss
        sessions = [Session(url, tally, number).read(given.seconds, given.think) for number in range(given.sessions)]
        read = rate_over(job.folder, lambda: asyncio.run(together(sessions, tally)))
        again = rate_over(job.folder, lambda: time.sleep(span / 2))
        quiet = (alone + again) / 2
        grown = psutil.Process(app.pid).memory_info().rss - before
    finally:
        queue.cancel(job, space)
        app.terminate()
        app.wait(timeout=20)
    sys.stderr.write("\n".join(sorted(set(tally.errors + watching.errors))[:10]) + "\n")
    sys.stderr.write(f"lines of metrics: {sum(1 for _ in (job.folder / METRICS).open())}\n")
    for page, seconds in sorted(tally.pages.items()):
        sys.stderr.write(f"{page:<10} {len(seconds):5} runs  median {1000 * np.median(seconds):.0f} ms\n")
    result = {
        "sessions": given.sessions, "seconds": given.seconds, "interactions": len(tally.seconds),
        "errors": len(tally.errors) + len(watching.errors),
        "p50_ms": round(1000 * float(np.percentile(tally.seconds, 50))), "p95_ms": round(1000 * float(np.percentile(tally.seconds, 95))),
        "p99_ms": round(1000 * float(np.percentile(tally.seconds, 99))), "timer_runs": len(tally.timers),
        "job_loses_to_sessions": round(1 - read / quiet, 3), "job_loses_to_watchers": round(1 - watched / quiet, 3),
        "app_grows_mib": round(grown / 2**20, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(result) + "\n")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/_stcore/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
