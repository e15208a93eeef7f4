"""The lander against the textbook's values, against simulation, and against every other policy."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from rmviz.errors import ConfigError
from rmviz.world.lander import MAP, Lander, best_policy, evaluated, landings, regimes

TEXTBOOK = "...G\n.#.S\nL..."
"""The 4 × 3 world of Russell and Norvig, Artificial Intelligence, 4th edition, section 16.1."""


def test_values_are_the_textbooks():
    lander = Lander.parsed(TEXTBOOK)
    step = Fraction(-4, 100)
    found = best_policy(lander, step)
    values = [round(float(found.value(place, step)), 3) for place in lander.free]
    assert values == [0.812, 0.868, 0.918, 0.762, 0.660, 0.705, 0.655, 0.611, 0.388]


def test_bounds_are_the_textbooks():
    bounds = [round(float(one.low), 4) for one in regimes(Lander.parsed(TEXTBOOK), Fraction(-3))]
    assert {-1.6497, -0.7311, -0.4526, -0.0850, -0.0274, -0.0221} <= set(bounds)


@pytest.mark.parametrize("text", [TEXTBOOK, MAP])
def test_ranges_meet_and_policy_iteration_agrees_inside_each(text):
    lander = Lander.parsed(text)
    ranges = regimes(lander, Fraction(-2))
    assert ranges[0].low == -2 and ranges[-1].high == 0
    assert all(a.high == b.low < b.high and b.flipped for a, b in itertools.pairwise(ranges))
    for one in ranges[::3]:
        middle = (one.low + one.high) / 2
        again = best_policy(lander, middle)
        assert all(again.value(place, middle) == one.solution.value(place, middle) for place in lander.free)


def test_at_a_bound_both_policies_are_worth_the_same_and_off_it_they_are_not():
    lander = Lander.parsed()
    for below, above in itertools.pairwise(regimes(lander, Fraction(-2))):
        a, b, bound = below.solution, above.solution, above.low
        assert all(a.value(place, bound) == b.value(place, bound) for place in lander.free)
        beyond = (above.low + above.high) / 2
        assert all(b.value(place, beyond) > a.value(place, beyond) for place in above.flipped)


def test_no_policy_is_better():
    lander = Lander.parsed("..G\nL.S")
    step = Fraction(-1, 10)
    best = best_policy(lander, step)
    for moves in itertools.product(("up", "right", "down", "left"), repeat=len(lander.free)):
        try:
            other = evaluated(lander, dict(zip(lander.free, moves, strict=True)))
        except ZeroDivisionError:  # its flights never end
            continue
        assert other.value(lander.start, step) <= best.value(lander.start, step)


def test_flights_end_where_and_when_the_exact_figures_say():
    lander = Lander.parsed()
    solution = best_policy(lander, Fraction(-1, 5))
    assert sum(solution.ends.values()) == 1
    flown = landings(lander, solution.policy, 20_000, seed=3)
    for number, end in enumerate(lander.ends):
        share, chance = float((flown.ends == number).mean()), float(solution.ends[end])
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 20_000) + 1e-9
    error = flown.steps.std() / np.sqrt(20_000)
    assert abs(flown.steps.mean() - float(solution.steps[lander.start])) < 4 * error


def test_what_is_dearer_is_over_sooner():
    lander = Lander.parsed()
    moves = [one.solution.steps[lander.start] for one in regimes(lander, Fraction(-2))]
    assert moves == sorted(moves)


def test_without_slip_the_shortest_way_is_flown():
    lander = Lander.parsed("L.#\n..G", "0")
    flown = landings(lander, best_policy(lander, Fraction(-1, 100)).policy, 10)
    assert (flown.steps == 3).all() and (flown.ends == 0).all()


@pytest.mark.parametrize(
    ("text", "slip", "words"),
    [
        ("..G", "0", "one start"), ("L.L\nG..", "0", "got 2"), ("L..", "0", "an end"), ("L?G", "0", "got ?"),
        ("L#G", "0", "row 1, column 1"), ("L" + "." * 80 + "G", "0", "at most 64"), ("L.G", "1", "below 1"),
    ],
)  # fmt: skip
def test_maps_that_make_no_world_are_told(text, slip, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        Lander.parsed(text, slip)


def test_a_free_step_is_refused():
    with pytest.raises(ConfigError, match="below 0"):
        best_policy(Lander.parsed(), Fraction(0))
