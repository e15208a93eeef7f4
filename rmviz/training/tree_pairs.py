"""From search trees to preference pairs: which two nodes are compared, and which replies stand for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rmviz.configs.mcts import PairsFrom
from rmviz.training.mcts import Node, Tree

TREES = "trees.parquet"
"""The file of a dataset that holds its trees."""

_LEAST_GAP = 1e-12
"""Equal values are never a preference."""


@dataclass(frozen=True)
class Side:
    """One side of a pair: a node, what search thinks of it, and the whole reply that stands for it."""

    node: int
    """Number of the node in `tree_rows`; which sample it is, where there is no tree."""

    value: float
    visits: int
    depth: int
    reply: tuple[int, ...]
    paid: float
    """What the reply is worth."""


@dataclass(frozen=True)
class TreePair:
    """A preference: `chosen.value` is above `rejected.value`, and what its reply was paid above the other's."""

    chosen: Side
    rejected: Side

    @property
    def gap(self) -> float:
        """Difference of value."""
        return self.chosen.value - self.rejected.value


@dataclass(frozen=True)
class _Placed:
    """A node, its number, the numbers of all nodes above it, and the best and the worst reply paid at it or below."""

    number: int
    above: tuple[int, ...]
    node: Node
    best: Node
    worst: Node


def tree_pairs(
    tree: Tree, how: PairsFrom, *, min_visits: int = 1, min_gap: float = 0.0, limit: int = 0
) -> list[TreePair]:
    """The preferences of one tree, widest gap first; no node stands in two of them.

    The best node is set against the worst that it can be compared with, then the best of those left, and so on.

    Args:
        tree: A search tree.
        how: siblings: nodes that differ in their last token alone; depths: nodes of different depths, neither below the
            other; both are compared by mean value, and the chosen node stands for the best reply that was paid at it or
            below, the rejected one for the worst. paths: finished replies, compared by what they were paid.
        min_visits: Least visits of both nodes; it does not bear on paths, each of which was seen whole.
        min_gap: Least difference of value.
        limit: Most pairs; 0 for all.
    """
    placed = _placed(tree)
    found = [
        TreePair(chosen, rejected)
        for group in _groups(placed, how, min_visits)
        for chosen, rejected in _matched(group, how, max(min_gap, _LEAST_GAP))
    ]
    found.sort(key=lambda pair: -pair.gap)
    return found[:limit] if limit else found


def pairs_of(tree: int) -> str:
    """How the ids of the pairs of one tree begin."""
    return f"T{tree:06d}-"


def sampled_pair(replies: Sequence[tuple[int, ...]], values: Sequence[float], min_gap: float = 0.0) -> TreePair | None:
    """The base case: of two samples to one problem, the one that is paid more; None where the gap is too small."""
    sides = [Side(i, values[i], 1, len(reply), reply, values[i]) for i, reply in enumerate(replies)]
    worse, better = sorted(sides, key=lambda side: side.value)
    pair = TreePair(better, worse)
    return pair if pair.gap >= max(min_gap, _LEAST_GAP) else None


def tree_rows(tree: Tree) -> list[dict[str, Any]]:
    """The nodes that were looked at, parents first; a parent or a token of −1 is none.

    Columns: node, parent, depth, token, prior, visits, value, whole, reply (token ids), paid.
    """
    return [
        {
            "node": one.number,
            "parent": one.above[-1] if one.above else -1,
            "depth": len(one.node.tokens),
            "token": one.node.tokens[-1] if one.node.tokens else -1,
            "prior": one.node.prior,
            "visits": one.node.visits,
            "value": one.node.value,
            "whole": one.node.whole,
            "reply": one.node.reply,
            "paid": one.node.paid,
        }
        for one in _placed(tree)
    ]


def _groups(placed: Sequence[_Placed], how: PairsFrom, min_visits: int) -> list[list[_Placed]]:
    """Nodes that may be compared."""
    if how == "paths":
        first: dict[tuple[int, ...], _Placed] = {}
        for one in placed:
            first.setdefault(one.node.reply, one)
        return [list(first.values())]
    often = [one for one in placed if one.above and one.node.visits >= min_visits]
    if how == "depths":
        return [often]
    families: dict[int, list[_Placed]] = {}
    for one in often:
        families.setdefault(one.above[-1], []).append(one)
    return list(families.values())


def _matched(group: list[_Placed], how: PairsFrom, min_gap: float) -> Iterator[tuple[Side, Side]]:
    left = sorted(group, key=lambda one: _value(one, how))
    while left:
        best = left.pop()
        for place, worst in enumerate(left):
            if _value(best, how) - _value(worst, how) < min_gap:
                break
            if how != "depths" or _apart(best, worst):
                yield _side(best, how, best.best), _side(worst, how, worst.worst)
                del left[place]
                break


def _apart(one: _Placed, other: _Placed) -> bool:
    """Whether two nodes have different depths and neither lies below the other."""
    return len(one.above) != len(other.above) and one.number not in other.above and other.number not in one.above


def _value(placed: _Placed, how: PairsFrom) -> float:
    return placed.node.paid if how == "paths" else placed.node.value


def _side(placed: _Placed, how: PairsFrom, shown: Node) -> Side:
    node = placed.node
    shown = node if how == "paths" else shown
    return Side(placed.number, _value(placed, how), node.visits, len(node.tokens), shown.reply, shown.paid)


def _placed(tree: Tree) -> list[_Placed]:
    """All nodes that were looked at, in the order of `walk`."""
    found: dict[int, _Placed] = {}

    def visit(node: Node, above: tuple[int, ...]) -> _Placed:
        number = len(found)
        found[number] = one = _Placed(number, above, node, node, node)
        below = [visit(child, (*above, number)) for child in node.children if child.visits]
        best = max((one, *below), key=lambda part: part.best.paid).best
        worst = min((one, *below), key=lambda part: part.worst.paid).worst
        found[number] = _Placed(number, above, node, best, worst)
        return found[number]

    visit(tree.root, ())
    return [found[number] for number in range(len(found))]
