"""Strings that know what made them: operation, parents, parameters. They work as strings everywhere.

An id is the hash of how a string was made, not of what it says: the same question to the same model with the same seed has
one id, whatever the answer. Editing one string tells which others would be made again; a replay makes just those, and
asks a writer only where the question itself has changed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rmviz.errors import DataError
from rmviz.plots.families import quoted
from rmviz.types import JSON

Writer = Callable[["Traced", str], str]
"""Answers the question of a generated string anew; it is given the old string, which knows model and seed."""

GENERATED, CONSTANT = "generate", "constant"
_LABEL = 44
_TURN = re.compile(r"^\s*(Human|User|Assistant|AI)\s*:", re.IGNORECASE | re.MULTILINE)


class Traced(str):
    """A string and the operation, parents and parameters that made it."""

    op: str
    parents: tuple["Traced", ...]
    params: Mapping[str, JSON]
    id: str

    def __new__(
        cls, text: str, op: str, parents: Sequence["Traced"] = (), params: Mapping[str, JSON] | None = None
    ) -> "Traced":
        """A string of this operation; `constant`, `formatted` and the others below make the common ones."""
        self = super().__new__(cls, text)
        self.op, self.parents, self.params = op, tuple(parents), dict(params or {})
        made = json.dumps([op, [parent.id for parent in self.parents], self.params], sort_keys=True, ensure_ascii=False)
        self.id = hashlib.blake2b(made.encode("utf-8", "replace"), digest_size=8).hexdigest()
        return self

    @property
    def name(self) -> str:
        """What the string is in the text that it belongs to."""
        return str(self.params.get("name", "")) or self.op

    @property
    def maker(self) -> str:
        """Who wrote it: the model of a generated string, else the operation."""
        return str(self.params.get("model", "")) or self.op


def constant(text: str, name: str = "", **params: JSON) -> Traced:
    """A string that nothing made."""
    return Traced(text, CONSTANT, (), {"text": text, **_named(name), **params})


def formatted(template: str, name: str = "", **parts: Traced | str) -> Traced:
    """A template with its slots filled; plain strings become part of it."""
    traced = {slot: part for slot, part in parts.items() if isinstance(part, Traced)}
    fixed: dict[str, JSON] = {slot: str(part) for slot, part in parts.items() if slot not in traced}
    params: dict[str, JSON] = {"template": template, "slots": list(traced), "fixed": fixed, **_named(name)}
    return _derived("format", tuple(traced.values()), params)


def concat(*parts: Traced, between: str = "", name: str = "") -> Traced:
    """Strings one after another."""
    return _derived("concat", parts, {"between": between, **_named(name)})


def sliced(text: Traced, start: int, stop: int | None, name: str = "") -> Traced:
    """Characters from start up to stop."""
    return _derived("slice", (text,), {"start": start, "stop": stop, **_named(name)})


def split(text: Traced, at: str, part: int, name: str = "") -> Traced:
    """One part of a string cut at each separator, without the space around it; empty where there are fewer."""
    return _derived("split", (text,), {"at": at, "part": part, **_named(name)})


def turns_of(text: Traced, name: str = "", *, opening: str = "", unless: str = "") -> Traced:
    """The turns found in a text as a transcript that is open for the assistant's reply; empty where there are none.

    It ends with a human's turn: what comes after the last one is dropped. The first turn gets the opening put before it
    unless it holds what is given as `unless`.
    """
    return _derived("turns", (text,), {"opening": opening, "unless": unless, **_named(name)})


def generated(question: Traced, text: str, *, model: str, seed: int, name: str = "", **params: JSON) -> Traced:
    """What a model answered to a question; parameters are all else that decided about the answer."""
    return Traced(text, GENERATED, (question,), {"model": model, "seed": seed, **_named(name), **params})


def lineage(target: Traced) -> list[Traced]:
    """The string and all it came from, each once, parents before children."""
    found: dict[str, Traced] = {}

    def visit(node: Traced) -> None:
        if node.id not in found:
            for parent in node.parents:
                visit(parent)
            found[node.id] = node

    visit(target)
    return list(found.values())


def stale_after(target: Traced, edited: str) -> list[Traced]:
    """What would be made again of the lineage of a string if the one with this id were edited, parents before children."""
    stale = {edited}
    found = []
    for node in lineage(target):
        if any(parent.id in stale for parent in node.parents):
            stale.add(node.id)
            found.append(node)
    return found


def replay(
    target: Traced, edits: Mapping[str, str], writer: Writer, kept: Mapping[str, str] | None = None
) -> tuple[Traced, list[Traced]]:
    """The string as it would be after edits, and which strings the writer was asked for.

    Args:
        target: What is made again.
        edits: New texts by id.
        writer: Asked for each generated string whose question says something else than before.
        kept: Answers of earlier replays by id: these are not asked for again.

    Raises:
        DataError: An edited id is not in the lineage.
    """
    new: dict[str, Traced] = {}
    asked: list[Traced] = []
    nodes = lineage(target)
    if missing := set(edits) - {node.id for node in nodes}:
        raise DataError(f"{', '.join(sorted(missing))} is not in the lineage of {target.id}; choose one of its strings")
    for node in nodes:
        parents = tuple(new[parent.id] for parent in node.parents)
        if node.id in edits:
            new[node.id] = constant(edits[node.id], node.name, instead_of=node.id)
        elif all(one.id == other.id for one, other in zip(parents, node.parents, strict=True)):
            new[node.id] = node
        elif node.op != GENERATED:
            new[node.id] = _derived(node.op, parents, node.params)
        else:
            again = Traced("", GENERATED, parents, node.params)
            if str(parents[0]) == str(node.parents[0]):
                text = str(node)
            elif kept and again.id in kept:
                text = kept[again.id]
            else:
                text = writer(node, str(parents[0]))
                asked.append(node)
            new[node.id] = Traced(text, GENERATED, parents, node.params)
    return new[target.id], asked


def to_records(target: Traced) -> list[dict[str, Any]]:
    """The lineage as JSON objects, parents before children; the last is the string itself."""
    return [
        {
            "id": node.id, "op": node.op, "parents": [parent.id for parent in node.parents],
            "params": dict(node.params), "text": str(node),
        }
        for node in lineage(target)
    ]  # fmt: skip


def from_records(records: Sequence[Mapping[str, Any]]) -> Traced:
    """The string that `to_records` wrote.

    Raises:
        DataError: The records are no graph, or one was changed: its id is not the hash of what made it.
    """
    made: dict[str, Traced] = {}
    try:
        for record in records:
            parents = [made[parent] for parent in record["parents"]]
            node = Traced(record["text"], record["op"], parents, record["params"])
            if node.id != record["id"]:
                raise DataError(
                    f"the text graph is damaged: {record['id']} was not made as it says; make the data again"
                )
            made[node.id] = node
        return list(made.values())[-1]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"no text graph: objects with id, op, parents, params and text were wanted ({error})"
        ) from error


def to_dot(target: Traced, *, dark: bool = False, chosen: str = "", stale: Sequence[str] = ()) -> str:
    """Graphviz source of the lineage: generated strings filled, the chosen one thick, those to be made again dashed."""
    ink, line, fill, strong = ("#e4e8e6", "#7b8a91", "#2f3b40", "#ff8a4c") if dark else (
        "#1d2426", "#9aa5a0", "#f2f3f1", "#d9480f"
    )  # fmt: skip
    lines = []
    for node in lineage(target):
        style = ["rounded"] + ["filled"] * (node.op == GENERATED) + ["dashed"] * (node.id in stale)
        marks = f'style="{",".join(style)}"' + f', color="{strong}"' * (node.id in stale or node.id == chosen)
        label = f"{node.name}\n{_shortened(str(node))}" + f"\n{node.maker}" * (node.op == GENERATED)
        lines.append(
            f"{quoted(node.id)} [label={quoted(label)}, tooltip={quoted(f'{node.op} {node.id}')}, {marks}"
            f"{', penwidth=2.5' if node.id == chosen else ''}]"
        )
        lines += [f"{quoted(parent.id)} -> {quoted(node.id)}" for parent in dict.fromkeys(node.parents)]
    look = (
        'rankdir=TB; bgcolor="transparent"; nodesep=0.2; ranksep=0.3; '
        f'node [shape=box, fillcolor="{fill}", color="{line}", fontcolor="{ink}", fontname="sans-serif", fontsize=11, '
        f'margin="0.12,0.06"]; edge [color="{line}", arrowsize=0.6]'
    )
    return f"digraph {{ {look}; {'; '.join(lines)} }}"


def _named(name: str) -> dict[str, JSON]:
    return {"name": name} if name else {}


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1]}…"


def _derived(op: str, parents: Sequence[Traced], params: Mapping[str, JSON]) -> Traced:
    return Traced(_OPERATIONS[op](parents, params), op, parents, params)


def _format(parents: Sequence[str], params: Mapping[str, Any]) -> str:
    slots = {**dict(zip(params["slots"], parents, strict=True)), **params["fixed"]}
    return re.sub(r"{(\w+)}", lambda slot: str(slots[slot.group(1)]), params["template"])


def _split(parents: Sequence[str], params: Mapping[str, Any]) -> str:
    parts = str(parents[0]).split(params["at"])
    return parts[params["part"]].strip() if params["part"] < len(parts) else ""


def _turns(parents: Sequence[str], params: Mapping[str, Any]) -> str:
    pieces = _TURN.split(str(parents[0]))[1:]
    said = [
        ("Human" if role.casefold() in ("human", "user") else "Assistant", " ".join(text.split()))
        for role, text in zip(pieces[::2], pieces[1::2], strict=True)
        if text.strip()
    ]
    while said and said[-1][0] != "Human":
        said.pop()
    opening = params["opening"]
    if said and opening and params["unless"] not in said[0][1]:
        first = said.pop(0) if said[0][0] == "Human" else ("Human", "")
        said.insert(0, ("Human", f"{opening} {first[1]}".strip()))
    return "".join(f"\n\n{role}: {text}" for role, text in said) + "\n\nAssistant:" if said else ""


_OPERATIONS: dict[str, Callable[[Sequence[str], Mapping[str, Any]], str]] = {
    "format": _format,
    "concat": lambda parents, params: params["between"].join(parents),
    "slice": lambda parents, params: str(parents[0])[params["start"] : params["stop"]],
    "split": _split,
    "turns": _turns,
}
