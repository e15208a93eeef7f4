"""Monte Carlo tree search over the tokens of replies; pure: who proposes tokens and who pays is handed in.

A node is the start of a reply. Each simulation walks from the root to a node that has not been looked at, asks the
policy once what comes next there and how it would write on, has the finished reply paid, and takes the value back to all
nodes on the way. Many problems are searched side by side, so that the policy is always asked about many at once.
Source: Silver et al. 2017 (doi:10.1038/nature24270), methods, "search algorithm"; rollouts in place of a value network.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

State = tuple[int, tuple[int, ...]]
"""Which problem, and the tokens of the reply so far."""


@dataclass(frozen=True)
class Opened:
    """What the policy says of one state."""

    priors: Sequence[tuple[int, float]]
    """Likeliest next tokens and their probabilities, likeliest first."""

    rollout: tuple[int, ...]
    """How it writes on to the end, one draw."""

    calls: int
    """Next-token distributions that were computed: one a token that was drawn, the first of them is the priors' own."""


@runtime_checkable
class Searched(Protocol):
    """Who proposes tokens, and who pays for finished replies."""

    def is_whole(self, tokens: tuple[int, ...]) -> bool:
        """Whether a reply ends here: by its own last token, or because it may not be longer."""
        ...

    def opened(self, states: Sequence[State], draw: int) -> Sequence[Opened]:
        """Priors and a rollout of each state, none of them whole; `draw` numbers the random draws."""
        ...

    def values(self, replies: Sequence[State]) -> Sequence[float]:
        """What each whole reply is worth."""
        ...


@dataclass(slots=True)
class Node:
    """The start of a reply, and what search knows of it."""

    tokens: tuple[int, ...]
    prior: float
    """Probability of its last token, among the `top_k` that were kept."""

    whole: bool
    visits: int = 0
    total: float = 0.0
    """Sum of the values that were taken back through it."""

    children: "list[Node]" = field(default_factory=list)
    reply: tuple[int, ...] = ()
    """The whole reply that was paid when the node was first looked at."""

    paid: float = math.nan
    """What that reply was worth."""

    @property
    def value(self) -> float:
        """Mean of the values that were taken back; NaN before the first."""
        return self.total / self.visits if self.visits else math.nan

    def walk(self) -> "Iterator[Node]":
        """This node and all below it that were looked at, parents first."""
        yield self
        for child in self.children:
            if child.visits:
                yield from child.walk()


@dataclass(slots=True)
class Tree:
    """The search tree of one problem."""

    root: Node
    calls: int = 0
    """Next-token distributions that the policy was asked for."""

    low: float = math.inf
    high: float = -math.inf
    """Values met so far; Q is put between them, so that `c_puct` means the same for every reward."""

    def scaled(self, value: float) -> float:
        """A value on the scale of this tree: 0 the lowest met, 1 the highest (Schrittwieser et al. 2020, eq. 5)."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0

    @property
    def best(self) -> Node:
        """The node whose first reply was worth most; the first of several."""
        return max(self.root.walk(), key=lambda node: node.paid)


def puct(tree: Tree, parent: Node, child: Node, c_puct: float) -> float:
    """What makes a child worth a visit: Q + c_puct · P · √N(parent) / (1 + N(child)).

    Q is the child's mean value on the tree's scale; a child that was never visited has its parent's. N(parent) counts the
    parent's own first look too, so that priors decide from the start.
    """
    known = child.value if child.visits else parent.value
    return tree.scaled(known) + c_puct * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


def descent(tree: Tree, c_puct: float) -> list[Node]:
    """The nodes from the root to the first that is whole or was never looked at; of equals, the likelier token's."""
    path = [tree.root]
    while path[-1].visits and not path[-1].whole:
        parent = path[-1]
        path.append(max(parent.children, key=lambda child: puct(tree, parent, child, c_puct)))
    return path


def search(
    num_problems: int,
    searched: Searched,
    *,
    num_simulations: int,
    c_puct: float,
    told: Callable[[int], None] = lambda simulation: None,
) -> list[Tree]:
    """One tree a problem, each grown by `num_simulations`; the same for the same draws of the policy.

    Args:
        num_problems: Problems 0, 1, … are searched side by side.
        searched: The policy and what pays.
        num_simulations: Visits of each root.
        c_puct: How much priors and rare visits count beside the values found.
        told: Called with each simulation's number before it.
    """
    trees = [Tree(Node((), 1.0, whole=searched.is_whole(()))) for _ in range(num_problems)]
    for simulation in range(num_simulations):
        told(simulation)
        paths = [descent(tree, c_puct) for tree in trees]
        _look(trees, paths, searched, simulation)
        for tree, path in zip(trees, paths, strict=True):
            value = path[-1].paid
            tree.low, tree.high = min(tree.low, value), max(tree.high, value)
            for node in path:
                node.visits += 1
                node.total += value
    return trees


def _look(trees: Sequence[Tree], paths: Sequence[Sequence[Node]], searched: Searched, draw: int) -> None:
    """Open and pay the new nodes at the ends of the paths."""
    new = [(problem, path[-1]) for problem, path in enumerate(paths) if not path[-1].visits]
    unfinished = [(problem, node) for problem, node in new if not node.whole]
    found = searched.opened([(problem, node.tokens) for problem, node in unfinished], draw) if unfinished else ()
    for (problem, node), opened in zip(unfinished, found, strict=True):
        trees[problem].calls += opened.calls
        node.reply = node.tokens + opened.rollout
        total = math.fsum(prior for _, prior in opened.priors)
        node.children = [
            Node(tokens := (*node.tokens, token), prior / total, searched.is_whole(tokens))
            for token, prior in opened.priors
        ]
    for _, node in new:
        node.reply = node.reply or node.tokens
    values = searched.values([(problem, node.reply) for problem, node in new]) if new else ()
    for (_, node), value in zip(new, values, strict=True):
        node.paid = float(value)
