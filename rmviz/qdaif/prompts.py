"""How a request is put into words for a language model."""

import re

from rmviz.configs.axes import Grid
from rmviz.qdaif.requests import Request

_HEAD = "Poem of"


def lines_of(text: str) -> list[str]:
    """The lines of a poem that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def described(grid: Grid, labels: tuple[str, ...]) -> str:
    """`tone happy, genre haiku`; `any kind` where no cell is meant."""
    named = [f"{axis.name} {label}" for axis, label in zip(grid.axes, labels, strict=False)]
    return ", ".join(reversed(named)) or "any kind"


def instruction(grid: Grid, request: Request) -> str:
    """A wish for a poem, for a model that follows instructions."""
    kind = described(grid, request.labels)
    last = "Answer with the poem alone, without a title and without any remark."
    match request.sources:
        case ():
            return f"Write an outstanding poem ({kind}). {last}"
        case (source,):
            return f"{source.text}\n\nRewrite the poem above as an outstanding poem ({kind}). {last}"
        case sources:
            shown = "\n\n".join(f"Poem {i}:\n{source.text}" for i, source in enumerate(sources, start=1))
            return f"{shown}\n\nWrite an outstanding new poem ({kind}) that takes the best of the poems above. {last}"


def examples(grid: Grid, request: Request) -> str:
    """A few-shot prompt for a model that only writes on: the parents as examples, then an open one."""
    shown = [f"{_HEAD} {described(grid, source.labels)}:\n{source.text.strip()}\n\n" for source in request.sources]
    return "".join([*shown, f"{_HEAD} {described(grid, request.labels)}:\n"])


def first_example(text: str) -> str:
    """The poem that answers `examples`: what comes before a further example."""
    return re.split(rf"\n\s*{_HEAD}\b", text, maxsplit=1)[0].strip()
