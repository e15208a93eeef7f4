"""A generator that writes by the grammar, a server of poems, a reward that is the planted truth, a report that can break off."""

import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from rmviz.configs.axes import parse_grid
from rmviz.configs.map import MapConfig
from rmviz.qdaif.judges import Judge, World
from rmviz.qdaif.prompts import lines_of
from rmviz.qdaif.requests import Request
from rmviz.qdaif.search import Parts
from rmviz.world import grammar
from rmviz.world.truth import true_reward

SETTINGS = MapConfig(model="rm", policy="lm", num_attempts=60, num_initial=20, batch_size=10, num_resamples=50)
GRID = parse_grid(SETTINGS.rows, SETTINGS.columns)


class GrammarGenerator:
    """Poems of the grammar of the kind asked for; a parent gives its first line."""

    name = "grammar"

    def __init__(self) -> None:
        self.calls = 0

    def written(self, requests: Sequence[Request], *, seed: int) -> list[str]:
        self.calls += 1
        rng = random.Random(seed)
        texts = []
        for request in requests:
            genre, tone = request.labels or ("", "")
            lines = grammar.poem(rng, tone=tone, genre=genre).reply.splitlines()
            kept = [lines_of(source.text)[0] for source in request.sources]
            texts.append("\n".join([*kept, *lines[len(kept) :]]))
        return texts


def true_rewards(texts: Sequence[str]) -> np.ndarray:
    return np.array([true_reward(text) for text in texts], np.float32)


def parts(**changes) -> Parts:
    given = dict(
        grid=GRID,
        generator=GrammarGenerator(),
        judge=Judge(GRID, [World(axis) for axis in GRID.axes]),
        score=true_rewards,
    )
    return Parts(**given | changes)


class Counting:
    """A report that can break off after some calls."""

    key = ""

    def __init__(self, folder: Path, stop_after: int = 10**9) -> None:
        self.folder, self.left, self.metrics = folder, stop_after, {}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        self.metrics |= metrics or {}
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@contextmanager
def server(*faults):
    script = Path(__file__).with_name("poem_server.py")
    process = subprocess.Popen([sys.executable, script, *faults], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def asked(address):
    return httpx.get(address).json()
