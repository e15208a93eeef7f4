"""Shapley values of a game that is only known through its value function: sampled, and by enumeration. Pure arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t as student

from rmviz.ablation.statistics import LEVEL
from rmviz.errors import ConfigError

Game = Callable[[Bool[np.ndarray, "set player"]], Float[np.ndarray, " set"]]
"""The value of each set of players, given as a row that is True where a player is in."""

MOST_PLAYERS = 16
"""Enumeration asks for 2^players values."""


@dataclass(frozen=True)
class ShapleyEstimate:
    """Sampled Shapley values; they sum to `full − empty` whatever was drawn."""

    value: Float[np.ndarray, " player"]
    error: Float[np.ndarray, " player"]
    """Standard error of each value."""
    low: Float[np.ndarray, " player"]
    high: Float[np.ndarray, " player"]
    """95 % interval, from Student's t over the pairs of permutations."""
    empty: float
    """Value of the set without players."""
    full: float
    """Value of the set of all players."""
    num_permutations: int


def sampled_shapley(game: Game, num_players: int, *, num_permutations: int = 64, seed: int = 0) -> ShapleyEstimate:
    """Shapley values by permutation sampling, each permutation beside its reverse.

    Players enter one by one in a random order; a player's value is its mean contribution on entering. A permutation and its
    reverse make one draw: where players interact in pairs only, one draw is already exact.

    Args:
        game: Value of each set; asked once for every set that occurs.
        num_players: Players.
        num_permutations: Permutations drawn, reverses counted; rounded up to an even number, at least 4.
        seed: Seed of the draw.

    Raises:
        ConfigError: There are no players, or fewer than 4 permutations.

    Source: Castro, Gómez & Tejada 2009; antithetic permutations: Mitchell et al. 2022.
    """
    if num_players < 1 or num_permutations < 4:
        raise ConfigError(
            f"Shapley values need a player and at least 4 permutations, got {num_players} and {num_permutations}"
        )
    rng = np.random.default_rng(seed)
    forward = np.stack([rng.permutation(num_players) for _ in range((num_permutations + 1) // 2)])
    orders = np.stack([forward, forward[:, ::-1]], axis=1)  # (draw, direction, place)
    place = np.argsort(orders, axis=-1)
    entered = place[..., None, :] < np.arange(num_players + 1)[:, None]  # (draw, direction, number in, player)
    values = _asked(game, entered.reshape(-1, num_players)).reshape(entered.shape[:-1])
    steps = np.take_along_axis(np.diff(values, axis=-1), place, axis=-1)
    draws = steps.mean(axis=1)
    value, num_draws = draws.mean(axis=0), len(draws)
    error = draws.std(axis=0, ddof=1) / np.sqrt(num_draws)
    reach = student.ppf((1 + LEVEL) / 2, num_draws - 1) * error
    return ShapleyEstimate(
        value, error, value - reach, value + reach, float(values[0, 0, 0]), float(values[0, 0, -1]), 2 * num_draws
    )


def exact_shapley(game: Game, num_players: int) -> Float[np.ndarray, " player"]:
    """Shapley values by enumeration of all sets.

    Raises:
        ConfigError: There are more players than `MOST_PLAYERS`.

    Source: Shapley 1953.
    """
    if not 1 <= num_players <= MOST_PLAYERS:
        raise ConfigError(f"enumeration takes 1 to {MOST_PLAYERS} players, got {num_players}; sample instead")
    number = np.arange(2**num_players)
    sets = (number[:, None] >> np.arange(num_players)) & 1 == 1
    values = np.asarray(game(sets), float)
    size = sets.sum(axis=1)
    weight = np.array(
        [factorial(s) * factorial(num_players - s - 1) / factorial(num_players) for s in range(num_players)]
    )
    found = np.empty(num_players)
    for player in range(num_players):
        without = number[~sets[:, player]]
        found[player] = weight[size[without]] @ (values[without | (1 << player)] - values[without])
    return found


def _asked(game: Game, sets: np.ndarray) -> np.ndarray:
    """The value of each set, where equal sets are asked for once."""
    packed, place = np.unique(np.packbits(sets, axis=1), axis=0, return_inverse=True)
    unique = np.unpackbits(packed, axis=1, count=sets.shape[1]).astype(bool)
    return np.asarray(game(unique), float)[place.ravel()]
