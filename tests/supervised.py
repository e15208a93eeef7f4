"""Ending a workspace's supervisor at once: by itself it ends after two seconds without work."""

from contextlib import suppress

import psutil

from rmviz.jobs.locks import is_held
from rmviz.jobs.supervisor import FOLDER
from rmviz.store.workspace import Workspace


def supervisors(space: Workspace) -> list[psutil.Process]:
    """The processes that look after a workspace's jobs: one, or none."""
    words = {"rmviz.jobs.supervisor", str(space.root)}
    return [one for one in psutil.process_iter(["cmdline"]) if words <= set(one.info["cmdline"] or [])]


def end_supervisor(space: Workspace) -> None:
    """Kill it; jobs do not depend on it."""
    ended = supervisors(space)
    for one in ended:
        with suppress(psutil.NoSuchProcess):  # it may have ended by itself
            one.kill()
    psutil.wait_procs(ended, timeout=10)
    assert not is_held(space.root / FOLDER)
