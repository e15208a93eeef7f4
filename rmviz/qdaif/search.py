"""The search: ask for poems, judge them, score them, offer them to the archive, step by step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rmviz.asking.models import REFUSAL
from rmviz.configs.axes import Grid
from rmviz.qdaif.archive import Archive
from rmviz.qdaif.attempts import LONGEST_TEXT, Attempt
from rmviz.qdaif.generators import Generator
from rmviz.qdaif.judges import Judge
from rmviz.qdaif.requests import Request, Requests
from rmviz.qdaif.scoring import Score


@dataclass(frozen=True)
class Parts:
    """What a search works with."""

    grid: Grid
    generator: Generator
    judge: Judge
    score: Score


class Search:
    """One run: its archive and how it goes on. A step depends on the seed and on what the steps before left, no more."""

    def __init__(self, parts: Parts, requests: Requests, *, run: int, seed: int, duplicate_overlap: float) -> None:
        """A run that has not begun.

        Args:
            parts: Generator, judge and reward model.
            requests: What is asked for, by method.
            run: Its number in the job.
            seed: Seed of the generator's draws.
            duplicate_overlap: As in `Archive`.
        """
        self.parts, self.requests, self.run, self.seed = parts, requests, run, seed
        self.archive = Archive(parts.grid, duplicate_overlap)
        self.num_attempts = self.num_steps = 0

    def replayed(self, attempts: Sequence[Attempt]) -> None:
        """Go through a step that was done before."""
        fresh = [replace(one, accepted=False) for one in attempts]
        self._keep(self.archive.add(fresh))

    def step(self, first_id: int, number: int) -> tuple[list[Attempt], dict[str, float]]:
        """Do the next step.

        Args:
            first_id: Id of its first attempt.
            number: Poems to ask for.

        Returns:
            Its attempts, and the seconds spent in the generator, the judge, the reward model and all together.
        """
        start = time.perf_counter()
        asked = self.requests.drawn(self.archive, self.num_steps, self.num_attempts, number)
        asking = time.perf_counter()
        texts = self.parts.generator.written(asked, seed=self.seed * 1_000_003 + self.num_steps)
        written = time.perf_counter()
        texts, problems = _cleaned(texts)
        usable = [i for i, problem in enumerate(problems) if problem in ("", "cut")]
        cells, rewards = np.full(number, -1), np.full(number, np.nan, np.float32)
        judging = time.perf_counter()
        cells[usable] = self.parts.judge.cells([texts[i] for i in usable], [asked[i] for i in usable])
        judged = time.perf_counter()
        rewards[usable] = self.parts.score([texts[i] for i in usable])
        scored = time.perf_counter()
        attempts = [
            self._attempt(first_id + i, asked[i], texts[i], problems[i], int(cells[i]), float(rewards[i]),
                          (written - asking) / number)
            for i in range(number)
        ]  # fmt: skip
        attempts = self.archive.add(attempts)
        self._keep(attempts)
        seconds = {"generator": written - asking, "judge": judged - judging, "reward": scored - judged}
        return attempts, {**seconds, "all": time.perf_counter() - start}

    def _attempt(
        self, attempt_id: int, request: Request, text: str, problem: str, cell: int, reward: float, seconds: float
    ) -> Attempt:
        return Attempt(
            attempt_id=attempt_id, run=self.run, method=self.requests.method, step=self.num_steps, move=request.move,
            text=text, parents=request.parents, asked=request.asked, judged=cell, reward=reward,
            seconds=round(seconds, 6), generator=self.parts.generator.name, problem=problem,
        )  # fmt: skip

    def _keep(self, attempts: Sequence[Attempt]) -> None:
        self.requests.learn(attempts)
        self.num_attempts += len(attempts)
        self.num_steps += 1


def _cleaned(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts without blank ends, cut at `LONGEST_TEXT`, and what is wrong with each: empty, refusal, cut or nothing."""
    stripped = [text.strip().encode("utf-8", "replace").decode() for text in texts]
    problems = [
        "empty" if not text else "refusal" if REFUSAL.match(text) else "cut" if len(text) > LONGEST_TEXT else ""
        for text in stripped
    ]
    return [text[:LONGEST_TEXT] for text in stripped], problems
