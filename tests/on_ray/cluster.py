"""A real Ray cluster on this machine: a head, and a second node under another loopback address."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
from ablation.families import VOCAB, tiny_model, tiny_sae

from rmviz.data.keep import keep_dataset
from rmviz.jobs import queue
from rmviz.jobs.locks import is_held
from rmviz.jobs.records import Job, list_jobs, read_job
from rmviz.jobs.settings import QueueSettings, write_settings
from rmviz.jobs.supervisor import FOLDER
from rmviz.models.register import keep_reward_model
from rmviz.sae.files import save_sae
from rmviz.store.workspace import Workspace
from rmviz.types import Pair

MARK = "RMVIZ_TEST_NODE"


def wait_until(true, seconds: float = 60.0, errors: tuple[type[Exception], ...] = ()) -> float:
    """Seconds that it took."""

    def now() -> bool:
        try:
            return true()
        except errors:
            return False

    start = time.monotonic()
    while not now():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - start


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """One node: what it starts inherits a mark, by which all of it is found and ended, and nothing else is."""

    def __init__(self, *options: str) -> None:
        self.mark = uuid.uuid4().hex
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("RAY_") and name != "PYTHONPATH"
        }
        environment |= {MARK: self.mark, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        command = [Path(sys.executable).with_name("ray"), "start", *options, "--num-cpus=1", "--num-gpus=0",
                   "--object-store-memory=80000000", "--disable-usage-stats", f"--dashboard-agent-listen-port={free_port()}"]  # fmt: skip
        done = subprocess.run(command, env=environment, cwd="/tmp", capture_output=True, text=True, timeout=120)
        if done.returncode:
            self.kill()
            raise RuntimeError(done.stdout + done.stderr)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self) -> None:
        for _ in range(3):  # a process may start another between the looks
            for process in self.processes():
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.3)


class Cluster:
    """A head with one CPU and, when asked for, a second node with another."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rmr", dir="/tmp"))  # the paths of sockets must be short
        self.port, self.dashboard = free_port(), free_port()
        self.nodes: list[Node] = []
        self.start_head()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start_head(self) -> None:
        self.nodes.insert(
            0,
            Node(
                "--head", "--node-ip-address=127.0.0.2", f"--port={self.port}", "--include-dashboard=true",
                "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}", f"--temp-dir={self.folder}",
            ),
        )  # fmt: skip
        wait_until(lambda: urlopen(f"{self.address}/api/version", timeout=5).status == 200, errors=(OSError,))

    def add_node(self) -> Node:
        number = len(self.nodes) + 2
        self.nodes.append(Node(f"--address=127.0.0.2:{self.port}", f"--node-ip-address=127.0.0.{number}"))
        return self.nodes[-1]

    def stop(self) -> None:
        while self.nodes:
            self.nodes.pop().kill()

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def scan_workspace(root: Path, *, num_pairs: int, width: int = 16, longest: int = 12) -> Workspace:
    """A model, its SAE and pairs to scan; a wider model takes longer per text."""
    space = Workspace(root)
    rng = np.random.default_rng(0)

    def words() -> str:
        return " ".join(f"w{i}" for i in rng.integers(4, VOCAB, rng.integers(longest // 2, longest)))

    pairs = [Pair(pair_id=f"p{i}", prompt=words(), chosen=words(), rejected=words()) for i in range(num_pairs)]
    data = keep_dataset(space, pairs, name="data", heldout=0.0, seed=0)
    rm = tiny_model("gpt_neox", hidden_size=width, intermediate_size=2 * width, max_position_embeddings=512)
    model = keep_reward_model(space, rm, name="rm", format="plain")
    sae = tiny_sae(rm, d_sae=64, k=8)
    sae.model_fingerprint = rm.fingerprint
    with space.create("sae", name="sae", parents=(model.id, data.id)) as draft:
        save_sae(draft.folder / "sae", sae)
    return space


def at(space: Workspace, address: str) -> Workspace:
    write_settings(space.root, QueueSettings(ray_address=address))
    return space


def settle(space: Workspace) -> None:
    """Cancel what runs, and wait until nothing looks after the workspace any more."""
    for job in list_jobs(space):
        if job.active:
            queue.cancel(job, space)
    wait_until(lambda: not any(job.active for job in list_jobs(space)), 40)
    wait_until(lambda: not is_held(space.root / FOLDER), 40)


def state_of(job: Job) -> str:
    return read_job(job.folder).state
