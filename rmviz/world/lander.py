"""The lander: a grid world so small that everything about it is known exactly, for every price of a step.

A craft starts somewhere, pays the step reward with every move, slips sideways now and then, and ends on a goal or in a
sandstorm. Rewards are the whole specification here, so one sees how a number that looks harmless decides where it lands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from rmviz.errors import ConfigError

MAP = """\
. . . . G
. . S . S
. # . . .
L . . # .
"""
"""L start, G goal, S sandstorm, # rock, . free."""

ENDS = {"G": Fraction(1), "S": Fraction(-1)}
"""What it is worth to end there."""

MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}

LARGEST = 64
"""Cells of the largest map; exact fractions grow long on larger ones."""

Place = tuple[int, int]


@dataclass(frozen=True)
class Lander:
    """The world: which cells there are, and how often a move slips to one of its two sides."""

    cells: Mapping[Place, str]
    slip: Fraction

    @classmethod
    def parsed(cls, text: str = MAP, slip: Fraction | str = "1/5") -> "Lander":
        """A map as text, a line per row; blanks between cells do not count.

        Raises:
            ConfigError: A sign that is not known, no or two starts, no end, a cell that no end can be reached from, or too
                many cells.
        """
        rows = [line.replace(" ", "") for line in text.strip().splitlines()]
        cells = {(i, j): sign for i, row in enumerate(rows) for j, sign in enumerate(row)}
        if unknown := set(cells.values()) - set(".LGS#"):
            raise ConfigError(f"a map is made of . L G S and #, got {', '.join(sorted(unknown))}")
        if (num := list(cells.values()).count("L")) != 1:
            raise ConfigError(f"a map needs one start (L), got {num}")
        if not ENDS.keys() & set(cells.values()):
            raise ConfigError("a map needs an end: a goal (G) or a sandstorm (S)")
        if len(cells) > LARGEST:
            raise ConfigError(f"a map has at most {LARGEST} cells, got {len(cells)}")
        if not 0 <= Fraction(slip) < 1:
            raise ConfigError(f"slip must be a share from 0 to below 1, got {slip}")
        lander = cls(cells, Fraction(slip))
        lander.nearest_ends()
        return lander

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return 1 + max(i for i, _ in self.cells), 1 + max(j for _, j in self.cells)

    @cached_property
    def free(self) -> list[Place]:
        """Cells in which it can be while it flies, row by row."""
        return [place for place, sign in self.cells.items() if sign in ".L"]

    @property
    def ends(self) -> list[Place]:
        """Cells in which a flight ends, row by row."""
        return [place for place, sign in self.cells.items() if sign in ENDS]

    @property
    def start(self) -> Place:
        """Where it begins."""
        return next(place for place, sign in self.cells.items() if sign == "L")

    @cached_property
    def reached(self) -> dict[tuple[Place, str], dict[Place, Fraction]]:
        """Where each move leads, with what probability; whatever runs into a rock or off the map stays."""
        return {(place, move): self._drawn_from(place, move) for place in self.cells for move in MOVES}

    def _drawn_from(self, place: Place, move: str) -> dict[Place, Fraction]:
        names = list(MOVES)
        at = names.index(move)
        sides = (names[at - 1], names[(at + 1) % 4])
        found: dict[Place, Fraction] = {}
        for name, chance in ((move, 1 - self.slip), (sides[0], self.slip / 2), (sides[1], self.slip / 2)):
            (i, j), (di, dj) = place, MOVES[name]
            there = (i + di, j + dj) if self.cells.get((i + di, j + dj), "#") != "#" else place
            if chance:
                found[there] = found.get(there, Fraction(0)) + chance
        return found

    def nearest_ends(self) -> dict[Place, str]:
        """In each free cell the move along a shortest way to some end: a policy whose every flight ends.

        Raises:
            ConfigError: A cell from which no end can be reached.
        """
        ways: dict[Place, str] = {}
        border = self.ends
        while border:
            behind = []
            for i, j in border:
                for name, (di, dj) in MOVES.items():
                    there = (i - di, j - dj)
                    if self.cells.get(there, "#") in ".L" and there not in ways:
                        ways[there] = name
                        behind.append(there)
            border = behind
        if lost := [place for place in self.free if place not in ways]:
            raise ConfigError(f"no end can be reached from row {lost[0][0] + 1}, column {lost[0][1] + 1} of the map")
        return ways


@dataclass(frozen=True)
class Solution:
    """A policy with exact figures of each free cell; value = worth + step reward × steps."""

    policy: Mapping[Place, str]
    worth: Mapping[Place, Fraction]
    """Expected worth of the end."""
    steps: Mapping[Place, Fraction]
    """Expected moves until the end."""
    ends: Mapping[Place, Fraction]
    """From the start: the probability of each end."""

    def value(self, place: Place, step_reward: Fraction) -> Fraction:
        """Expected sum of rewards from a cell on."""
        return self.worth[place] + step_reward * self.steps[place]


@dataclass(frozen=True)
class Regime:
    """A range of step rewards with one best policy: above `low` and below `high`, where it flips."""

    low: Fraction
    high: Fraction
    solution: Solution
    flipped: tuple[Place, ...]
    """Cells in which it moves otherwise than in the range below."""


def evaluated(lander: Lander, policy: Mapping[Place, str]) -> Solution:
    """The exact figures of a policy, from the linear equations of its expected ends and moves."""
    number = {place: i for i, place in enumerate(lander.free)}
    rows: list[dict[int, Fraction]] = []
    sides: list[list[Fraction]] = []
    for place in lander.free:
        row, side = {number[place]: Fraction(1)}, [Fraction(0)] * len(lander.ends) + [Fraction(1)]
        for there, chance in lander.reached[place, policy[place]].items():
            if there in number:
                row[number[there]] = row.get(number[there], Fraction(0)) - chance
            else:
                side[lander.ends.index(there)] += chance
        rows.append(row)
        sides.append(side)
    solved = _solved(rows, sides)
    worths = [ENDS[lander.cells[end]] for end in lander.ends]
    return Solution(
        policy=dict(policy),
        worth={
            p: sum((c * w for c, w in zip(solved[i], worths, strict=False)), Fraction(0)) for p, i in number.items()
        },
        steps={place: solved[i][-1] for place, i in number.items()},
        ends=dict(zip(lander.ends, solved[number[lander.start]], strict=False)),
    )


def best_policy(
    lander: Lander, step_reward: Fraction, policy: Mapping[Place, str] | None = None, *, just_above: bool = False
) -> Solution:
    """Policy iteration (Howard 1960), in exact fractions.

    Args:
        lander: The world.
        step_reward: What each move is paid; below 0, for otherwise flying on for ever would be as good as any end.
        policy: A policy to begin with, whose flights end; a move stays where no other is better.
        just_above: The best policy for rewards a little above this one: of equally good moves, those with more steps.

    Raises:
        ConfigError: The step reward is not below 0.
    """
    if step_reward >= 0:
        raise ConfigError(f"the step reward must be below 0, or the craft need never land; got {float(step_reward):g}")
    now = evaluated(lander, policy or lander.nearest_ends())
    while True:
        better = {}
        for place in lander.free:
            worths = {move: _outlook(lander, now, place, move, step_reward, just_above) for move in MOVES}
            if max(worths.values()) > worths[now.policy[place]]:
                better[place] = max(worths, key=lambda move: worths[move])
        if not better:
            return now
        now = evaluated(lander, {**now.policy, **better})


def regimes(lander: Lander, lowest: Fraction, highest: Fraction = Fraction(0)) -> list[Regime]:
    """Every range of step rewards between two with one best policy, from low to high; the bounds between are exact.

    Under a fixed policy each value is a line in the step reward, so the next bound is where some other move's line first
    crosses that of the move taken; the policy just above it is found there by comparing slopes where values are equal.
    """
    found: list[Regime] = []
    low, now, flipped = lowest, best_policy(lander, lowest, just_above=True), ()
    while True:
        high = min((c for c in _crossings(lander, now) if c > low), default=highest)
        found.append(Regime(low, min(high, highest), now, flipped))
        if high >= highest:
            return found
        after = best_policy(lander, high, now.policy, just_above=True)
        flipped = tuple(place for place in lander.free if after.policy[place] != now.policy[place])
        low, now = high, after


@dataclass(frozen=True)
class Landings:
    """Simulated flights from the start."""

    ends: Int[np.ndarray, " flight"]
    """Number of each flight's end in `Lander.ends`; −1 where it was still flying."""
    steps: Int[np.ndarray, " flight"]


def landings(
    lander: Lander, policy: Mapping[Place, str], num_flights: int = 1000, *, seed: int = 0, longest: int = 10_000
) -> Landings:
    """Fly a policy many times; flights longer than `longest` moves are broken off."""
    places = [*lander.free, *lander.ends]
    number = {place: i for i, place in enumerate(places)}
    chances = np.zeros((len(lander.free), len(places)))
    for i, place in enumerate(lander.free):
        for there, chance in lander.reached[place, policy[place]].items():
            chances[i, number[there]] = float(chance)
    bounds: Float[np.ndarray, "free place"] = chances.cumsum(1)
    bounds[:, -1] = 1.0
    rng = np.random.default_rng(seed)
    at, steps = np.full(num_flights, number[lander.start]), np.zeros(num_flights, int)
    for _ in range(longest):
        flying = np.flatnonzero(at < len(lander.free))
        if not len(flying):
            break
        drawn = rng.random(len(flying))
        at[flying] = (drawn[:, None] >= bounds[at[flying]]).sum(1)
        steps[flying] += 1
    return Landings(np.where(at >= len(lander.free), at - len(lander.free), -1), steps)


def _outlook(
    lander: Lander, now: Solution, place: Place, move: str, step_reward: Fraction, just_above: bool
) -> tuple[Fraction, Fraction]:
    worth, steps = _line(lander, now, place, move)
    return worth + step_reward * steps, steps if just_above else Fraction(0)


def _line(lander: Lander, now: Solution, place: Place, move: str) -> tuple[Fraction, Fraction]:
    """Worth and steps of one move followed by the policy: the value's line in the step reward."""
    worth, steps = Fraction(0), Fraction(1)
    for there, chance in lander.reached[place, move].items():
        ends = lander.cells[there] in ENDS
        worth += chance * (ENDS[lander.cells[there]] if ends else now.worth[there])
        steps += Fraction(0) if ends else chance * now.steps[there]
    return worth, steps


def _crossings(lander: Lander, now: Solution) -> list[Fraction]:
    """Step rewards at which a move with more steps becomes as good as the one taken."""
    found = []
    for place in lander.free:
        for move in MOVES:
            worth, steps = _line(lander, now, place, move)
            if steps > now.steps[place]:
                found.append((now.worth[place] - worth) / (steps - now.steps[place]))
    return found


def _solved(rows: Sequence[dict[int, Fraction]], sides: Sequence[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss–Jordan elimination of a sparse system with several right sides; the diagonal of I − P never vanishes."""
    rows, sides = [dict(row) for row in rows], [list(side) for side in sides]
    for pivot in range(len(rows)):
        scale = rows[pivot][pivot]
        rows[pivot] = {column: value / scale for column, value in rows[pivot].items() if column >= pivot}
        sides[pivot] = [value / scale for value in sides[pivot]]
        for other, row in enumerate(rows):
            if other != pivot and (factor := row.pop(pivot, None)):
                for column, value in rows[pivot].items():
                    if column > pivot:
                        row[column] = row.get(column, Fraction(0)) - factor * value
                sides[other] = [a - factor * b for a, b in zip(sides[other], sides[pivot], strict=True)]
    return sides
