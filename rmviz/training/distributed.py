"""One training run in several processes, one per GPU: rank 0 is the job, starts the others, and they end with it.

Accelerate reads rank and address from the environment, as any launcher would have set them. Signals go to rank 0 alone,
which tells the others at the end of a step: so all of them stop at the same one.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import distributed as group

from rmviz.configs.files import config_file, read_config
from rmviz.errors import ModelError
from rmviz.processes import exit_words
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace

GRACE = 20.0
"""Seconds that rank 0 has to notice by itself that another rank died, and that a rank has to end."""

_FILE = "ranks.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Silent:
    """The report of every rank but 0: it tells nobody."""

    folder: Path
    key: str = ""

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say nothing."""


@contextmanager
def ranks(num_processes: int, kind: str, config: object, root: Path, folder: Path, follow: str) -> Iterator[None]:
    """While open, this process is rank 0 of `num_processes`; nothing happens where that is 1.

    Args:
        num_processes: Processes in all.
        kind: The job's kind.
        config: Its config.
        root: Of the workspace.
        folder: For checkpoints, seen by all ranks.
        follow: `module:function` that the other ranks call with config, workspace and folder.

    Raises:
        ModelError: Another rank died.
    """
    if num_processes == 1:
        yield
        return
    write_json(folder / _FILE, config_file(kind, config))
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(num_processes)}
    place["LOCAL_WORLD_SIZE"] = place["WORLD_SIZE"]
    command = [sys.executable, "-m", __name__, str(root), str(folder), follow]
    others = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **place, **_rank(rank)})
        for rank in range(1, num_processes)
    ]
    over = threading.Event()
    threading.Thread(target=_watch, args=(others, over), daemon=True).start()
    os.environ.update(place | _rank(0))
    try:
        _take_device()
        yield
        _leave()
        over.set()
        _await(others)
    except Exception as error:
        if words := _dead(others):
            raise ModelError(f"{words}; its last words are in the log") from error
        raise
    finally:
        over.set()
        for other in others:
            other.kill()
            other.wait()
        for name in (*place, *_rank(0)):
            os.environ.pop(name, None)


def agreed(flags: list[bool], device: torch.device) -> list[bool]:
    """What rank 0 says, on every rank."""
    if not (group.is_available() and group.is_initialized()):
        return flags
    shared = torch.tensor(flags, dtype=torch.int32, device=device)
    group.broadcast(shared, 0)
    return shared.bool().tolist()


def wait_for_all() -> None:
    """Go on once every rank is here."""
    if group.is_available() and group.is_initialized():
        group.barrier()


def _rank(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _take_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _leave() -> None:
    """Leave the group; where that hangs, as it does now and then, go without."""
    if group.is_initialized():
        leaving = threading.Thread(target=group.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(5.0)


def _await(others: list["subprocess.Popen[bytes]"]) -> None:
    deadline = time.monotonic() + GRACE
    while any(other.poll() is None for other in others) and time.monotonic() < deadline:
        time.sleep(0.05)


def _dead(others: list["subprocess.Popen[bytes]"]) -> str:
    """Which rank ended badly, and how; empty where none did."""
    time.sleep(0.5)  # one that broke the connection may not have ended yet
    for rank, other in enumerate(others, 1):
        if other.poll():
            return f"process {rank + 1} of {len(others) + 1} ended early: {exit_words(other.returncode)}"
    return ""


def _watch(others: list["subprocess.Popen[bytes]"], over: threading.Event) -> None:
    """End this process where another rank died and this one waits for it for ever."""
    while not over.wait(0.5):
        if any(other.poll() for other in others):
            if not over.wait(GRACE):
                _log.error("%s, and training does not go on", _dead(others))
                os._exit(1)
            return


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def main() -> None:
    """`python -m rmviz.training.distributed WORKSPACE FOLDER MODULE:FUNCTION`: one of the other ranks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    root, folder, follow = sys.argv[1:]
    _take_device()
    _, config = read_config((Path(folder) / _FILE).read_bytes())
    module, function = follow.split(":")
    done: Callable[..., object] = getattr(import_module(module), function)
    done(config, Workspace(root), Path(folder))
    _leave()
    os._exit(0)  # an exit in order hangs now and then, in the libraries' threads


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
