"""Where a poem came from, as a graph in Graphviz's language."""

from collections.abc import Mapping, Sequence
from typing import Any

from rmviz.plots.poems import place, reward_words

MAX_NODES = 24
"""Poems in the picture; a larger family is told in words alone beyond it."""


def family_dot(line: Sequence[Mapping[str, Any]], *, dark: bool) -> str:
    """Graphviz source: the first poems at the top, an arrow from each parent to what was made of it.

    Args:
        line: Rows of `rmviz.qdaif.read.family`, the poem itself first; the first `MAX_NODES` are drawn.
        dark: Whether it stands on a dark page.
    """
    ink, edge, fill, own = (
        ("#e4e8e6", "#55636a", "#1d2326", "#1f5f57") if dark else ("#1d2426", "#9aa5a0", "#f2f3f1", "#cdebe6")
    )
    shown = line[:MAX_NODES]
    ids = {int(poem["attempt_id"]) for poem in shown}
    nodes = [
        f'n{int(poem["attempt_id"])} [label={quoted(_label(poem))}, fillcolor="{own if number == 0 else fill}"]'
        for number, poem in enumerate(shown)
    ]
    edges = [
        f"n{int(parent)} -> n{int(poem['attempt_id'])}"
        for poem in shown
        for parent in poem["parents"]
        if int(parent) in ids
    ]
    look = (
        'rankdir=TB; bgcolor="transparent"; nodesep=0.15; ranksep=0.3; node [shape=box, style="rounded,filled", '
        f'color="{edge}", fontcolor="{ink}", fontname="sans-serif", fontsize=10, margin="0.1,0.05"]; '
        f'edge [color="{edge}", arrowsize=0.6]'
    )
    return f"digraph {{ {look}; {'; '.join([*nodes, *edges])} }}"


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes cannot end it or start an escape; a line break stays one."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _label(poem: Mapping[str, Any]) -> str:
    cell = place(poem["judged_row"], poem["judged_column"])
    cell = cell if len(cell) <= 30 else f"{cell[:29]}…"
    return f"#{int(poem['attempt_id'])}  {reward_words(poem['reward'])}\n{cell}"
