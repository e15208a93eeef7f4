"""What a search asks its generator for: which cell, and which poems to build on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rmviz.configs.axes import Grid
from rmviz.qdaif.archive import Archive
from rmviz.qdaif.attempts import Attempt

POOL = 25
"""Best poems that quality_only builds on."""

NEAR = 0.5
"""Share of moves that build on the elite of the cell asked for, where it has one; the others on any elite."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A poem that a request builds on."""

    text: str
    labels: tuple[str, ...]
    """Of its cell, row first; empty where it has none."""

    attempt_id: int = -1
    """−1 for the seed poem."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One poem to be written."""

    asked: int
    """Cell; −1 leaves it open."""

    labels: tuple[str, ...]
    """Of this cell, row first; empty where it is open."""

    move: str
    """seed, mutate or cross."""

    sources: tuple[Source, ...] = ()
    """None for seed, one for mutate, two for cross."""

    @property
    def parents(self) -> tuple[int, ...]:
        """The attempts that it builds on."""
        return tuple(source.attempt_id for source in self.sources if source.attempt_id >= 0)


class Requests:
    """Draws the requests of one run by its method.

    qdaif: seeds at first, then rewrites and crossings of elites towards a cell drawn uniformly. random: a seed for a drawn
    cell each time (it is told the cell, which the paper's Random-Poems is not: a harder baseline). fixed_seed: one poem
    rewritten towards a drawn cell. quality_only: rewrites and crossings of the best poems, with no cell in mind.

    Source: Bradley et al. 2023 (arXiv:2310.13032), section 3 and appendix on poetry.
    """

    def __init__(
        self, method: str, grid: Grid, seed: int, *, num_initial: int, cross_share: float, seed_poem: str
    ) -> None:
        """Requests of a method; those of a step depend on the seed, the step and the archive alone."""
        self.method, self.grid, self.seed = method, grid, seed
        self.num_initial, self.cross_share, self.seed_poem = num_initial, cross_share, seed_poem
        self._pool: list[Attempt] = []

    def learn(self, attempts: Sequence[Attempt]) -> None:
        """Take note of a step's attempts, as the archive left them."""
        if self.method == "quality_only":
            usable = [one for one in attempts if one.reward == one.reward and one.problem in ("", "cut", "no cell")]
            self._pool = sorted([*self._pool, *usable], key=lambda one: (-one.reward, one.attempt_id))[:POOL]

    def drawn(self, archive: Archive, step: int, first: int, number: int) -> list[Request]:
        """The requests of a step whose first attempt is the `first` of its run."""
        rng = random.Random(f"map {self.seed} {self.method} {step}")
        return [self._one(archive, rng, begun=first + i >= self.num_initial) for i in range(number)]

    def _one(self, archive: Archive, rng: random.Random, *, begun: bool) -> Request:
        asked = -1 if self.method == "quality_only" else rng.randrange(self.grid.num_cells)
        labels = self.grid.labels(asked) if asked >= 0 else ()
        if self.method == "fixed_seed":
            source = Source(text=self.seed_poem, labels=())
            return Request(asked=asked, labels=labels, move="mutate", sources=(source,))
        num_parents = 2 if rng.random() < self.cross_share else 1
        found = self._parents(archive, asked, num_parents, rng) if begun and self.method != "random" else []
        sources = tuple(
            Source(
                text=one.text,
                labels=self.grid.labels(one.judged) if one.judged >= 0 else (),
                attempt_id=one.attempt_id,
            )
            for one in found
        )
        move = ("seed", "mutate", "cross")[len(sources)]
        return Request(asked=asked, labels=labels, move=move, sources=sources)

    def _parents(self, archive: Archive, asked: int, number: int, rng: random.Random) -> list[Attempt]:
        if self.method == "quality_only":
            return rng.sample(self._pool, min(number, len(self._pool)))
        elites = [archive.elites[cell] for cell in sorted(archive.elites)]
        found = rng.sample(elites, min(number, len(elites)))
        near = archive.elites.get(asked)
        if near is not None and near not in found and rng.random() < NEAR:
            found[0] = near
        return found


def question_seeds(seed: int | Sequence[int], num_questions: int) -> Sequence[int]:
    """The seed of each question, from the one of all or as given."""
    return [seed * 4099 + place for place in range(num_questions)] if isinstance(seed, int) else seed
