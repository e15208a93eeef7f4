"""Poems of a map as HTML strings: all text is escaped, long poems fold, every script runs its own way."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rmviz.plots.tokens import escaped

FOLD_LINES, FOLD_CHARS = 16, 900
"""What is shown of a poem before it folds."""

POEM_CSS = """<style>
.rm-poem { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; unicode-bidi: plaintext;
  text-align: start; margin: .3rem 0 0; padding: .1rem 0 .1rem .8rem;
  border-inline-start: 3px solid color-mix(in srgb, currentColor 18%, transparent); }
.rm-poem-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .6rem; margin: 0; }
.rm-poem-head b { font-size: 1.05rem; font-variant-numeric: tabular-nums; }
.rm-poem-head bdi { overflow-wrap: anywhere; }
.rm-fold { margin: .1rem 0 0 .8rem; } .rm-fold summary { cursor: pointer; opacity: .7; font-size: .85em; }
.rm-fold .rm-poem { margin-top: 0; padding-left: 0; border: 0; }
.rm-line { margin: .15rem 0 .5rem; padding-inline-start: .9rem; font-size: .9rem;
  border-inline-start: 2px solid color-mix(in srgb, currentColor 14%, transparent); }
.rm-line h5 { margin: 0; padding: .2rem 0 .1rem; font-size: .78rem; font-weight: 500; opacity: .66; }
.rm-line summary { cursor: pointer; } .rm-line p { margin: 0; }
</style>
"""
"""Put once before the poems of a page."""

_PROBLEMS = {
    "cut": "cut at the longest length",
    "no cell": "judged none of the map's cells",
    "no reward": "the reward model gave no number",
    "duplicate": "repeats an earlier poem, so it does not count",
    "near-duplicate": "nearly the elite of another cell, so it does not count",
    "empty": "no text",
    "refusal": "a refusal",
}
_MOVES = {"seed": "written from the request alone", "mutate": "rewrites", "cross": "joins"}


def poem_html(text: str) -> str:
    """A poem's text; what is long folds behind a line that says how much it is."""
    head, rest = folded(text)
    if not rest:
        return f'<div class="rm-poem">{escaped(head) or "<i>no text</i>"}</div>'
    lines = rest.count("\n")
    size = f"{len(rest):,} more characters" + (f", {lines + 1:,} lines" if lines > 1 else "")
    more = f'<details class="rm-fold"><summary>{size}</summary><div class="rm-poem">{escaped(rest)}</div></details>'
    return f'<div class="rm-poem">{escaped(head)}</div>{more}'


def folded(text: str) -> tuple[str, str]:
    """The beginning of a text that is shown, and the rest that folds; together they are the text."""
    lines = text.split("\n")
    head = "\n".join(lines[:FOLD_LINES])
    if len(lines) <= FOLD_LINES + 2 and len(text) <= 1.25 * FOLD_CHARS:
        return text, ""
    cut = min(len(head), FOLD_CHARS)
    return text[:cut], text[cut:]


def card_html(poem: Mapping[str, Any], rank: int) -> str:
    """One poem of a cell: its rank, its reward, the cells it was asked for and judged to be, how it was made."""
    mark = f"{rank}." if poem["counted"] else "–"
    facts = [f"<b>{mark} {reward_words(poem['reward'])}</b>", f"<span>{filing_html(poem)}</span>"]
    facts += ["<span>★ elite</span>"] if poem.get("elite") else []
    return (
        f'<div class="rm"><p class="rm-poem-head">{"".join(facts)}</p>'
        f'<p class="rm-poem-head muted"><span>{escaped(origin(poem))}</span></p>{poem_html(str(poem["text"]))}</div>'
    )


def filing_html(poem: Mapping[str, Any]) -> str:
    """The cell asked for, and the one that the judge found where that is another."""
    asked, judged = (place(poem[f"{side}_row"], poem[f"{side}_column"]) for side in ("asked", "judged"))
    if poem["asked"] < 0:
        return f"no cell asked for, judged <bdi>{escaped(judged)}</bdi>"
    if poem["asked"] == poem["judged"]:
        return f'asked and judged <bdi>{escaped(asked)}</bdi> <span class="muted">✓</span>'
    return f"asked <bdi>{escaped(asked)}</bdi> → judged <bdi>{escaped(judged)}</bdi>"


def origin(poem: Mapping[str, Any]) -> str:
    """How a poem was made, and what is wrong with it, in plain words."""
    parents = [f"#{int(parent)}" for parent in poem["parents"]]
    made = _MOVES.get(str(poem["move"]), str(poem["move"]))
    if parents:
        made += f" {' and '.join(parents)}"
    elif poem["move"] == "mutate":
        made += " the seed poem"
    words = [f"#{int(poem['attempt_id'])}", made, f"step {int(poem['step'])}"]
    return " · ".join([*words, *([_PROBLEMS.get(problem, problem)] if (problem := str(poem["problem"])) else [])])


def place(row: Any, column: Any) -> str:
    """A cell by its labels."""
    return " × ".join(part for part in (str(row), str(column)) if part) or "no cell"


def reward_words(reward: float) -> str:
    """A reward with its sign; words where there is none."""
    if reward is None or not math.isfinite(reward):
        return "no reward"
    return f"{float(reward):+.3f}".replace("-", "−")


def family_html(line: Sequence[Mapping[str, Any]], num_ancestors: int) -> str:
    """The poems that a poem came from, generation by generation, nearest first; each opens on a click.

    Args:
        line: Rows of `rmviz.qdaif.read.family`, the poem itself first.
        num_ancestors: Ancestors in all; those that are not in `line` are counted.
    """
    if len(line) < 2:
        return '<div class="rm">It was written from the request alone: no other poem went into it.</div>'
    parts, last = [], 0
    for poem in line[1:]:
        generation = int(poem["generation"])
        if generation != last:
            parts.append(f"<h5>{_generation(generation)}</h5>")
            last = generation
        parts.append(
            f"<details><summary><b>{reward_words(poem['reward'])}</b> {filing_html(poem)} "
            f'<span class="muted">{escaped(origin(poem))}</span></summary>{poem_html(str(poem["text"]))}</details>'
        )
    missing = num_ancestors - (len(line) - 1)
    rest = f'<p class="muted">{missing:,} more between them are not shown.</p>' if missing > 0 else ""
    return f'<div class="rm rm-line">{"".join(parts)}{rest}</div>'


def _generation(number: int) -> str:
    return {1: "Parents", 2: "Grandparents"}.get(number, f"{number} generations back")


def rescored_html(poem: Mapping[str, Any], rank: int, sides: Sequence[tuple[str, str]], change: tuple[str, str]) -> str:
    """One poem of a comparison with both rewards and what changed.

    Args:
        poem: A row of `poems.parquet` of the comparison.
        rank: Its place in its cell.
        sides: Column and name of each reward.
        change: Column and name of what changed.
    """
    rewards = " ".join(f"<span>{escaped(name)} <b>{reward_words(poem[column])}</b></span>" for column, name in sides)
    value = float(poem[change[0]])
    sign = "muted" if not value or not math.isfinite(value) else "up" if value > 0 else "down"
    return (
        f'<div class="rm"><p class="rm-poem-head"><b>{rank}.</b> {rewards} <span>{escaped(change[1])} '
        f'<span class="{sign} num">{reward_words(value)}</span></span></p>{poem_html(str(poem["text"]))}</div>'
    )
