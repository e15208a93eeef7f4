"""Sampled Shapley values against enumeration: exact where they must be, and intervals that hold at the stated rate."""

import numpy as np
import pytest

from rmviz.ablation.shapley import exact_shapley, sampled_shapley
from rmviz.errors import ConfigError

PLAYERS = 12


def toy_game(seed, order=3):
    """Additive worth, worth of pairs, and (order 3) worth of triples, up to the size of the additive part."""
    rng = np.random.default_rng(seed)
    own, pairs = rng.normal(size=PLAYERS), np.triu(rng.normal(size=(PLAYERS, PLAYERS)), 1)
    triples = [(rng.choice(PLAYERS, 3, replace=False), rng.normal()) for _ in range(30 if order == 3 else 0)]

    def game(sets):
        x = sets.astype(float)
        value = x @ own + np.einsum("si,ij,sj->s", x, pairs, x)
        return value + sum(worth * x[:, members].prod(axis=1) for members, worth in triples)

    return game


def test_enumeration_by_hand():
    def glove(sets):  # one left glove (player 0), two right ones: 2/3, 1/6, 1/6
        return (sets[:, 0] & (sets[:, 1] | sets[:, 2])).astype(float)

    np.testing.assert_allclose(exact_shapley(glove, 3), [2 / 3, 1 / 6, 1 / 6])


def test_an_additive_game_gives_each_player_its_worth():
    worth = np.arange(5.0)
    found = sampled_shapley(lambda sets: sets @ worth + 7, 5, num_permutations=4)
    np.testing.assert_allclose(found.value, worth, atol=1e-12)
    assert found.empty == 7 and found.full == 17 and np.abs(found.error).max() < 1e-12


def test_games_of_pairs_are_exact_at_once():
    game = toy_game(0, order=2)
    found = sampled_shapley(game, PLAYERS, num_permutations=4)
    np.testing.assert_allclose(found.value, exact_shapley(game, PLAYERS), atol=1e-9)


@pytest.mark.parametrize("num_permutations", [4, 9, 64])
def test_values_sum_to_the_whole_whatever_was_drawn(num_permutations):
    found = sampled_shapley(toy_game(1), PLAYERS, num_permutations=num_permutations, seed=5)
    assert found.value.sum() == pytest.approx(found.full - found.empty, abs=1e-9)
    assert found.num_permutations == num_permutations + num_permutations % 2


def test_intervals_cover_the_exact_value_at_the_stated_rate():
    covered, total = 0, 0
    for number in range(25):
        game = toy_game(100 + number)
        exact = exact_shapley(game, PLAYERS)
        for seed in range(16):
            found = sampled_shapley(game, PLAYERS, num_permutations=64, seed=seed)
            covered += int(((found.low <= exact) & (exact <= found.high)).sum())
            total += PLAYERS
    assert total == 4800 and 0.935 <= covered / total <= 0.965, covered / total


def test_equal_sets_are_asked_for_once():
    asked = []

    def game(sets):
        asked.append(len(np.unique(sets, axis=0)) == len(sets))
        return sets.sum(axis=1).astype(float)

    sampled_shapley(game, 9, num_permutations=20)
    assert asked == [True]


def test_impossible_wishes_are_sentences():
    with pytest.raises(ConfigError, match="at least 4 permutations"):
        sampled_shapley(toy_game(0), PLAYERS, num_permutations=2)
    with pytest.raises(ConfigError, match="1 to 16 players, got 40"):
        exact_shapley(toy_game(0), 40)
