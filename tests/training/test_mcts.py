"""Tree search against a tree that can be worked out by hand, and against brute force."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.training.mcts import Opened, descent, puct, search
from rmviz.training.tree_pairs import sampled_pair, tree_pairs, tree_rows

DEPTH = 2


class Toy:
    """Replies of two tokens, each 1 or 2; token 1 has prior .7; the rollout is a string of 1s."""

    def __init__(self, worth, priors=((1, 0.7), (2, 0.3)), depth=DEPTH):
        self.worth, self.priors, self.depth = worth, priors, depth
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def is_whole(self, tokens):
        return len(tokens) == self.depth

    def opened(self, states, draw):
        self.asked += states
        return [
            Opened(self.priors, (self.priors[0][0],) * (self.depth - len(tokens)), self.depth - len(tokens))
            for _, tokens in states
        ]

    def values(self, replies):
        return [self.worth[tokens] for _, tokens in replies]


WORTH = {(1, 1): 0.0, (1, 2): 0.5, (2, 1): 1.0, (2, 2): 0.25}


def grown(num_simulations, c_puct=1.0, worth=WORTH):
    toy = Toy(worth)
    (tree,) = search(1, toy, num_simulations=num_simulations, c_puct=c_puct)
    return tree, toy


def node(tree, *tokens):
    return next(one for one in tree.root.walk() if one.tokens == tokens)


def test_seven_simulations_by_hand():
    """Priors .7 and .3, c = 1; Q is on the tree's scale, 0 as long as all values are equal.

    1: the root, rollout 1 1, paid 0.
    2: U .7 against .3: node 1, rollout 1 1, paid 0.
    3: .7 √2/2 = .495 against .3 √2 = .424: node 1, below it .7 against .3: 1 1 is whole, paid 0.
    4: .7 √3/3 = .404 against .3 √3 = .520: node 2, rollout 2 1, paid 1.
    5: 0 + .7 √4/3 = .467 against 1 + .3 √4/2 = 1.3: node 2, below it 1 + .7 against 1 + .3: 2 1 is whole, paid 1.
    6: .522 against 1.224: node 2, below it 1 + .7 √2/2 = 1.495 against 1 + .3 √2 = 1.424: 2 1 again.
    7: .572 against 1.184: node 2, below it 1 + .7 √3/3 = 1.404 against 1 + .3 √3 = 1.520: 2 2 is whole, paid .25.
    """
    visits = [
        {(): 1},
        {(): 2, (1,): 1},
        {(): 3, (1,): 2, (1, 1): 1},
        {(): 4, (1,): 2, (1, 1): 1, (2,): 1},
        {(): 5, (1,): 2, (1, 1): 1, (2,): 2, (2, 1): 1},
        {(): 6, (1,): 2, (1, 1): 1, (2,): 3, (2, 1): 2},
        {(): 7, (1,): 2, (1, 1): 1, (2,): 4, (2, 1): 2, (2, 2): 1},
    ]
    for num, expected in enumerate(visits, start=1):
        tree, _ = grown(num)
        assert {one.tokens: one.visits for one in tree.root.walk()} == expected
    assert node(tree, 2).value == pytest.approx((1 + 1 + 1 + 0.25) / 4)
    assert (node(tree, 1).value, tree.root.value) == (0.0, pytest.approx(3.25 / 7))
    assert tree.calls == 2 + 1 + 1
    assert (node(tree, 2).reply, tree.best.reply, tree.low, tree.high) == ((2, 1), (2, 1), 0.0, 1.0)
    assert puct(tree, tree.root, node(tree, 2), 1.0) == pytest.approx(3.25 / 4 + 0.3 * math.sqrt(7) / 5)
    assert puct(tree, tree.root, node(tree, 1), 1.0) == pytest.approx(0.7 * math.sqrt(7) / 3)
    assert [one.tokens for one in descent(tree, 1.0)] == [(), (2,), (2, 1)]


def test_an_unvisited_child_has_its_parents_value():
    tree, _ = grown(2, worth=WORTH | {(1, 1): 0.4})
    tree.low, tree.high = 0.0, 1.0
    unseen = tree.root.children[1]
    assert puct(tree, tree.root, unseen, 0.0) == pytest.approx(0.4)


@given(st.integers(2, 40), st.floats(0, 4), st.lists(st.sampled_from([0.0, 0.2, 0.7, 1.0]), min_size=4, max_size=4))
def test_every_visit_is_counted_once_on_its_way(num_simulations, c_puct, worth):
    tree, toy = grown(num_simulations, c_puct, dict(zip(itertools.product((1, 2), repeat=2), worth, strict=True)))
    assert tree.root.visits == num_simulations
    for one in tree.root.walk():
        if not one.whole:
            assert one.visits == 1 + sum(child.visits for child in one.children)
            assert one.total == pytest.approx(one.paid + sum(child.total for child in one.children))
    assert tree.calls == sum(DEPTH - len(tokens) for _, tokens in toy.asked)
    assert len(set(toy.asked)) == len(toy.asked) == sum(not one.whole for one in tree.root.walk())


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_enough_simulations_find_the_best_leaf_of_all(seed):
    rng = random.Random(seed)
    worth = {leaf: rng.random() for leaf in itertools.product(range(3), repeat=3)}
    toy = Toy(worth, priors=((0, 0.5), (1, 0.3), (2, 0.2)), depth=3)
    (tree,) = search(1, toy, num_simulations=600, c_puct=3.0)
    assert tree.best.paid == max(worth.values())


def test_problems_do_not_disturb_each_other():
    toys = {0: WORTH, 1: {leaf: 1 - value for leaf, value in WORTH.items()}}

    class Both(Toy):
        def values(self, replies):
            return [toys[problem][tokens] for problem, tokens in replies]

    trees = search(2, Both(WORTH), num_simulations=9, c_puct=1.0)
    for problem, tree in enumerate(trees):
        alone, _ = grown(9, worth=toys[problem])
        assert tree_rows(tree) == tree_rows(alone)


def test_rewards_of_any_scale_give_the_same_tree():
    tree, _ = grown(20)
    scaled, _ = grown(20, worth={leaf: 40 * value - 300 for leaf, value in WORTH.items()})
    assert [row["visits"] for row in tree_rows(tree)] == [row["visits"] for row in tree_rows(scaled)]


@pytest.fixture
def tree():
    return grown(40)[0]


def test_siblings_share_all_but_their_last_token(tree):
    pairs = tree_pairs(tree, "siblings", min_visits=1)
    rows = tree_rows(tree)
    assert {(pair.chosen.node, pair.rejected.node) for pair in pairs} == {
        (number((2,), rows), number((1,), rows)),
        (number((1, 2), rows), number((1, 1), rows)),
        (number((2, 1), rows), number((2, 2), rows)),
    }
    assert pairs == sorted(pairs, key=lambda pair: -pair.gap)
    top = next(pair for pair in pairs if pair.chosen.depth == 1)
    assert (top.chosen.reply, top.chosen.paid, top.rejected.reply, top.rejected.paid) == ((2, 1), 1.0, (1, 1), 0.0)


def number(tokens, rows):
    names: dict[int, tuple[int, ...]] = {}
    for row in rows:
        names[row["node"]] = (*names[row["parent"]], row["token"]) if row["parent"] >= 0 else ()
    return next(place for place, name in names.items() if name == tokens)


@pytest.mark.parametrize("how", ["siblings", "depths", "paths"])
@pytest.mark.parametrize(("min_visits", "min_gap", "limit"), [(1, 0.0, 0), (3, 0.2, 0), (1, 0.3, 1), (100, 0.0, 0)])
def test_laws_of_pairs(tree, how, min_visits, min_gap, limit):
    rows = {row["node"]: row for row in tree_rows(tree)}
    pairs = tree_pairs(tree, how, min_visits=min_visits, min_gap=min_gap, limit=limit)
    used = [side.node for pair in pairs for side in (pair.chosen, pair.rejected)]
    assert len(set(used)) == len(used) and (not limit or len(pairs) <= limit)
    if min_visits == 100 and how != "paths":
        assert not pairs
    for pair in pairs:
        assert pair.gap >= min_gap and pair.chosen.paid > pair.rejected.paid
        for side in (pair.chosen, pair.rejected):
            row = rows[side.node]
            assert side.value == row["paid" if how == "paths" else "value"] and WORTH[side.reply] == side.paid
            assert how == "paths" or row["visits"] >= min_visits
        one, other = rows[pair.chosen.node], rows[pair.rejected.node]
        assert how != "siblings" or one["parent"] == other["parent"]
        assert how != "depths" or one["depth"] != other["depth"]


def test_depths_never_compare_a_node_with_one_below_it(tree):
    parent = {row["node"]: row["parent"] for row in tree_rows(tree)}

    def above(place):
        return [] if place < 0 else [place, *above(parent[place])]

    pairs = tree_pairs(tree, "depths")
    assert pairs
    for pair in pairs:
        assert pair.chosen.node not in above(pair.rejected.node) and pair.rejected.node not in above(pair.chosen.node)


def test_two_samples_prefer_the_better_and_leave_ties_out():
    pair = sampled_pair([(1,), (2, 3)], [0.2, 0.9])
    assert pair and (pair.chosen.reply, pair.rejected.reply, pair.gap) == ((2, 3), (1,), pytest.approx(0.7))
    assert sampled_pair([(1,), (2,)], [0.5, 0.5]) is None
    assert sampled_pair([(1,), (2,)], [0.5, 0.6], min_gap=0.2) is None
