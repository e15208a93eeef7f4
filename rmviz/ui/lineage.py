"""How the artifacts came from each other, as a graph."""

from collections.abc import Sequence

from rmviz.configs.compare import ON_COMPARE
from rmviz.plots.families import quoted
from rmviz.store.artifact import Artifact
from rmviz.ui.words import shortened

KINDS = {
    "dataset": "data",
    "policy": "policy",
    "reward_model": "reward model",
    "ensemble": "ensemble",
    "sae": "SAE",
    "effects": "effects",
    "features": "features",
    "labels": "labels",
    "map": "map",
    "comparison": "comparison",
    "probe": "probe",
    "experiment": "experiment",
}
"""Kinds that pages show, in the order in which one is made from another, and what to call them."""

BY_WHAT = dict.fromkeys(ON_COMPARE, ("compare", "comparison")) | {"margins": ("margins", "probe")}
"""Page and parameter of artifacts that another page shows than the rest of their kind, by what they say they are."""

MAX_NODES = 60


def lineage_dot(artifacts: Sequence[Artifact], *, dark: bool) -> str:
    """Graphviz source: one box per artifact, an arrow from each parent that is shown; the newest `MAX_NODES`."""
    ink, line, fill = ("#e4e8e6", "#55636a", "#1d2326") if dark else ("#1d2426", "#9aa5a0", "#f2f3f1")
    shown = list(artifacts)[:MAX_NODES]
    ids = {artifact.id for artifact in shown}
    nodes = [f"{quoted(a.id)} [label={quoted(_label(a))}, tooltip={quoted(a.id)}]" for a in shown]
    edges = [
        f"{quoted(p)} -> {quoted(a.id)}"
        for a in shown
        for p in dict.fromkeys(a.parents)
        if p in ids and not _is_implied(p, a, shown)
    ]
    look = (
        'rankdir=LR; bgcolor="transparent"; nodesep=0.18; ranksep=0.42; '
        f'node [shape=box, style="rounded,filled", fillcolor="{fill}", color="{line}", fontcolor="{ink}", '
        'fontname="sans-serif", '
        'fontsize=11, margin="0.14,0.07"]; '
        f'edge [color="{line}", arrowsize=0.6]'
    )
    return f"digraph {{ {look}; {'; '.join([*nodes, *edges])} }}"


def _is_implied(parent: str, child: Artifact, shown: Sequence[Artifact]) -> bool:
    """Whether another parent of the child comes from this parent already, so that the arrow says nothing new."""
    others = {a.id: a for a in shown if a.id in child.parents and a.id != parent}
    return any(parent in other.parents for other in others.values())


def _label(artifact: Artifact) -> str:
    return f"{shortened(artifact.name, 34)}\n{KINDS.get(artifact.kind, artifact.kind)}"
