"""Replies said in other words by a language model: what it is asked, what is taken of an answer, what may be wrong with it."""

import random
from collections.abc import Mapping
from dataclasses import replace

from rmviz.asking.models import REFUSAL
from rmviz.probes.edits import Edit

PROBLEMS = ("empty", "refusal", "too long", "word kept")
"""Why an answer is left out."""

OPENING = "REWRITTEN:"
"""What is put into the mouth of a model that only writes on."""

Answers = Mapping[tuple[str, str], str]
"""By name of an edit and reply: the reply in other words."""

_LONGER, _SLACK = 1.5, 40
"""An answer has at most 1.5 times as many characters as the reply, and 40."""

_CHARACTERS = 3
"""Characters of a reply per token of an answer: English has four and more, so an answer is hardly ever cut."""


def askable(reply: str, max_new_tokens: int) -> bool:
    """Whether a reply is short enough to be said again in so many tokens."""
    return len(reply) <= _CHARACTERS * max_new_tokens


def question(edit: Edit, reply: str) -> str:
    """What a language model is asked about one reply."""
    return (
        f"{reply.strip()}\n\nSay the text above again without any of these words: {', '.join(edit.words)}. Keep what it says, its "
        "order, its tone and its length, and every other word where you can. Answer with the new text alone."
    )


def taken(reply: str, answer: str) -> str:
    """The text in an answer, with the white space around it that the reply has; empty where there is none."""
    text = answer.encode("utf-8", "replace").decode().strip().removeprefix(OPENING).strip()
    inner = reply.strip()
    for left, right in ('""', "“”"):
        if len(text) > 1 and text[0] == left and text[-1] == right and inner[:1] != left:
            text = text[1:-1].strip()
    before, after = reply.split(inner, 1) if inner else ("", "")
    return f"{before}{text}{after}" if text else ""


def problem(edit: Edit, reply: str, new: str) -> str:
    """Which of `PROBLEMS` a reply in other words has; empty where it has none."""
    if not new:
        return "empty"
    if REFUSAL.match(new) and not REFUSAL.match(reply):
        return "refusal"
    if len(new) > _LONGER * len(reply) + _SLACK:
        return "too long"
    return "word kept" if edit.holds(new) else ""


def rewritten(edit: Edit, answers: Answers) -> Edit:
    """The same words taken out by a language model; replies that it was not asked about are too long."""

    def without(reply: str, rng: random.Random) -> str:
        return answers.get((edit.name, reply), "")

    def problem_of(reply: str, new: str) -> str:
        return problem(edit, reply, new) if (edit.name, reply) in answers else "too long"

    return replace(edit, without=without, problem=problem_of, problems=PROBLEMS)
