"""The lander as texts: every place and every move is one word, so that a language model can fly, and its values are known.

A prompt names a flight and its start, a reply alternates moves and the places they led to: `up cb up bb right bc`. Moves are
the policy's tokens; places are drawn by the world (`ENVIRONMENT` finds them). What is paid is that of `rmviz.world.lander`:
the step reward for each move, and the worth of the end; a craft that stops in the air, or writes what cannot be, is lost.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerFast

from rmviz.errors import ConfigError, DataError
from rmviz.types import JSON
from rmviz.world.lander import ENDS, MOVES, Lander, Place, Solution, best_policy
from rmviz.world.tokenizer import word_tokenizer

ENVIRONMENT = r" (?!up)[a-h][a-h]\b"
"""Regular expression of the places within a reply."""

LOST = -1.0
"""What it is worth to stop in the air, or to write what cannot be."""

_LETTERS = "abcdefgh"
_LONGEST, _NUM_FLIGHTS = 60, 1_000_000


@dataclass(frozen=True)
class LanderTask:
    """Flights of a craft that knows the best move half of the time, and else moves at random."""

    name: str = "lander"
    lander: Lander = field(default_factory=Lander.parsed)
    step_reward: Fraction = Fraction(-1, 25)
    skill: float = 0.5
    """Share of an unskilled flight's moves that are those of the best policy; the others are any."""

    format: Literal["plain", "transcript"] = "plain"
    reward_words: str = "−0.04 a move, +1 on the goal, −1 in a sandstorm or when it never lands"
    max_length: int = 136

    def __post_init__(self) -> None:
        """Check that every place has a name.

        Raises:
            ConfigError: The map has more than 8 rows or columns, or some move would never be tried.
        """
        if max(self.lander.shape) > len(_LETTERS):
            raise ConfigError(f"flights are written on maps of at most 8 rows and columns, got {self.lander.shape}")
        if not 0 <= self.skill < 1:
            raise ConfigError(f"skill must be a share from 0 to below 1, got {self.skill}")

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Every move and every place is one token; the flight's number is bytes."""
        places = " ".join(f"{row}{column}" for row in _LETTERS for column in _LETTERS)
        return word_tokenizer(
            (f"flight from {' '.join(MOVES)} {places}", f" flight {' '.join(MOVES)}"), self.max_length
        )

    def prompt(self, rng: random.Random) -> str:
        """A flight from any free place; its number only tells flights apart."""
        return self.prompt_from(rng.choice(self.lander.free), rng)

    def prompt_from(self, place: Place, rng: random.Random) -> str:
        """A flight from this place."""
        return f"flight {rng.randrange(_NUM_FLIGHTS)} from {place_name(place)}"

    def reply(self, prompt: str, rng: random.Random) -> str:
        """An unskilled flight: every move has a chance everywhere. It is lost in the air after 60."""
        at, words = self._start(prompt), list[str]()
        best = self._best.policy
        while at in best and len(words) < 2 * _LONGEST:
            move = best[at] if rng.random() < self.skill else rng.choice(list(MOVES))
            reached = self.lander.reached[at, move]
            at = rng.choices(list(reached), [float(chance) for chance in reached.values()])[0]
            words += [move, place_name(at)]
        return " ".join(words)

    def behaviour(self) -> Float[np.ndarray, "free move"]:
        """How likely each move is in each free place, in unskilled flights."""
        moves = list(MOVES)
        chances = np.full((len(self.lander.free), len(moves)), (1 - self.skill) / len(moves))
        for row, place in enumerate(self.lander.free):
            chances[row, moves.index(self._best.policy[place])] += self.skill
        return chances

    def reward(self, prompt: str, reply: str) -> float:
        """Step rewards and the worth of the end, −1 where it never lands; a move whose place is not told yet is not paid."""
        moves, end = self._flown(prompt, reply)
        return float(self.step_reward) * moves + (LOST if end is None else float(ENDS[end]))

    def best(self, prompt: str) -> float | None:
        """What the best policy is paid on average; luck may pay more."""
        return float(self._best.value(self._start(prompt), self.step_reward))

    def facts(self, prompt: str, reply: str) -> Mapping[str, JSON]:
        """Moves made, and where it ended."""
        moves, end = self._flown(prompt, reply)
        return {"moves": moves, "end": {"G": "goal", "S": "sandstorm"}.get(end or "", "lost")}

    @cached_property
    def _best(self) -> Solution:
        return best_policy(self.lander, self.step_reward)

    def _start(self, prompt: str) -> Place:
        words = prompt.split()
        place = named_place(words[-1]) if len(words) == 4 and words[0] == "flight" and words[2] == "from" else None
        if place not in self.lander.free:
            raise DataError(
                f"a flight reads like 'flight 17 from {place_name(self.lander.start)}', got {prompt[:80]!r}; ask the policy of "
                "this task only prompts of this task"
            )
        return place

    def _flown(self, prompt: str, reply: str) -> tuple[int, str | None]:
        """How many moves were made, and the sign of the end; None where there is none, or something cannot be."""
        at, words, moves = self._start(prompt), reply.split(), 0
        for move, name in zip(words[::2], words[1::2], strict=False):
            there = named_place(name)
            if move not in MOVES or self.lander.cells[at] in ENDS or there not in self.lander.reached[at, move]:
                return moves, None
            at, moves = there, moves + 1
        landed = self.lander.cells[at] in ENDS and len(words) == 2 * moves
        return moves, self.lander.cells[at] if landed else None


def still_lander() -> LanderTask:
    """The same without slips: a move always leads where it points."""
    return LanderTask(name="lander-still", lander=Lander.parsed(slip="0"))


def place_name(place: Place) -> str:
    """Row and column as two letters: `aa` is the upper left."""
    return _LETTERS[place[0]] + _LETTERS[place[1]]


def named_place(name: str) -> Place | None:
    """The place of this name; None where it names none."""
    if len(name) != 2 or not set(name) <= set(_LETTERS):
        return None
    return _LETTERS.index(name[0]), _LETTERS.index(name[1])


def expectile_values(
    lander: Lander, behaviour: Float[np.ndarray, "free move"], step_reward: float, tau: float
) -> tuple[Float[np.ndarray, "free move"], Float[np.ndarray, " free"]]:
    """What implicit Q-learning converges to on this world: Q of each move and V of each free place, to 1e-10.

    V(s) is the τ-expectile of Q(s, ·) over the behaviour's moves, Q(s, a) the reward and the mean V of where it leads: at τ = ½
    the behaviour's own values, at τ → 1 the best ones. Source: Kostrikov et al. 2021 (arXiv:2110.06169), section 4.3.
    """
    places = {place: row for row, place in enumerate(lander.free)}
    chances = np.zeros((len(places), len(MOVES), len(places)))
    paid = np.full((len(places), len(MOVES)), step_reward)
    for place, row in places.items():
        for column, move in enumerate(MOVES):
            for there, chance in lander.reached[place, move].items():
                if there in places:
                    chances[row, column, places[there]] += float(chance)
                else:
                    paid[row, column] += float(chance) * float(ENDS[lander.cells[there]])
    return _fixed_point(paid, chances, behaviour, tau)


def flown_values(
    lander: Lander, flights: Iterable[tuple[str, str]], step_reward: float, tau: float
) -> tuple[Float[np.ndarray, "free move"], Float[np.ndarray, " free"]]:
    """The same by how often the moves of these flights led where: what their number alone leaves open is the difference.

    Args:
        lander: The world.
        flights: Prompts and replies.
        step_reward: What each move is paid.
        tau: Expectile of V.

    Raises:
        DataError: Some move was never made in some place.
    """
    places = {place: row for row, place in enumerate([*lander.free, *lander.ends])}
    moves, num_free = list(MOVES), len(lander.free)
    counts = np.zeros((num_free, len(moves), len(places)))
    for prompt, reply in flights:
        at, words = named_place(prompt.split()[-1]), reply.split()
        for move, name in zip(words[::2], words[1::2], strict=False):
            there = named_place(name)
            counts[places[at], moves.index(move), places[there]] += 1  # type: ignore[index]  # flights are of this world
            at = there
    made = counts.sum(2)
    if not made.all():
        row, column = np.argwhere(made == 0)[0]
        raise DataError(
            f"no flight moves {moves[column]} from {place_name(lander.free[row])}, so its value is not known; add flights"
        )
    shares = counts / made[..., None]
    worths = np.array([float(ENDS[lander.cells[end]]) for end in lander.ends])
    paid = step_reward + shares[..., num_free:] @ worths
    return _fixed_point(paid, shares[..., :num_free], made / made.sum(1, keepdims=True), tau)


def _fixed_point(
    paid: Float[np.ndarray, "free move"],
    chances: Float[np.ndarray, "free move free"],
    behaviour: Float[np.ndarray, "free move"],
    tau: float,
) -> tuple[Float[np.ndarray, "free move"], Float[np.ndarray, " free"]]:
    values = np.zeros(len(paid))
    while True:
        q = paid + chances @ values
        after = _expectiles(q, behaviour, tau)
        if np.abs(after - values).max() < 1e-11:
            return q, after
        values = after


def _expectiles(q: np.ndarray, weights: np.ndarray, tau: float) -> np.ndarray:
    """The τ-expectile of each row: where the weighted means of what lies above and below balance."""
    found = (q * weights).sum(1)
    for _ in range(
        100
    ):  # Newton's method on a piecewise linear function: exact after as many steps as there are pieces
        sides = np.where(q > found[:, None], tau, 1 - tau) * weights
        found = (sides * q).sum(1) / sides.sum(1)
    return found
