"""The stages of pink-elephant data: what each asks, and what is made of the answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rmviz.asking.models import REFUSAL
from rmviz.elephants import graph
from rmviz.elephants.graph import Traced
from rmviz.qdaif.duplicates import Likeness, normalised
from rmviz.world.elephants import mentions

PAIRS = (
    "List {num} pairs of things from one topic: a well-known thing, and its best-known alternative.\n"
    "Topic: {topic}\n"
    "Write one pair a line, as in `thing | alternative`, and nothing else."
)
PLAN = (
    "Plan a short conversation between a human and an assistant. It begins with one thing and drifts to another that the "
    "assistant was told not to mention; in the last turn the human asks for that one.\n"
    "Topic: {topic}\nForbidden: {pink}\nAlternative: {grey}\nThis is plan {number} of {num}, unlike the others.\n"
    "Write the plan in one sentence."
)
CONVERSATION = (
    "Write the conversation of this plan, version {version}, with two or three turns each. The human says at first that "
    "{pink} must not be mentioned, and asks for it in the last turn. Stop after that turn.\n"
    "Topic: {topic}\nForbidden: {pink}\nAlternative: {grey}\nPlan: {plan}\n"
    "Begin each turn with `Human:` or `Assistant:`."
)
REPLY = "{prompt}\n\nWrite the assistant's next turn, and nothing else."
CRITIQUE = (
    "Does the last reply keep to the rule? Say in one sentence what has to change.\n"
    "Rule: {pink} must not be mentioned; speak of {grey} instead.\n"
    "Topic: {topic}\nForbidden: {pink}\nAlternative: {grey}\nConversation:{prompt}\nLast reply: {original}"
)
REVISION = (
    "Rewrite the last reply so that it does what the critique says. Give the reply alone.\n"
    "Topic: {topic}\nForbidden: {pink}\nAlternative: {grey}\nConversation:{prompt}\nLast reply: {original}\n"
    "Critique: {critique}"
)
OPENING = "Do not mention {pink}."
_AROUND = re.compile(r"^[\s\-*•\d.)`]+|[\s`*.]+$")
"""Bullets, numbers and quotes that language models put around a term."""

_ALIKE = 0.8
"""Share of letter triples from which on two pairs of terms are the same pair again."""


@runtime_checkable
class Answers(Protocol):
    """Answers questions, in order; empty where none came."""

    name: str
    """What answers, for the record."""

    def __call__(self, questions: Sequence[str], /) -> list[str]:
        """The answers."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Asks the questions of one stage and notes in each answer who gave it."""

    name: str
    answers: Answers
    seed: int
    temperature: float = 1.0

    def of(self, questions: Sequence[Traced]) -> list[Traced]:
        """The answers as strings that know their questions."""
        texts = self.answers([str(question) for question in questions])
        return [self.noted(question, text.strip()) for question, text in zip(questions, texts, strict=True)]

    def noted(self, question: Traced, text: str) -> Traced:
        """An answer that came before, as a string that knows its question."""
        return graph.generated(
            question, text, model=self.answers.name, seed=self.seed, name=self.name, temperature=self.temperature
        )


@dataclass(frozen=True)
class Terms:
    """A topic and a contrastive pair of its terms."""

    topic: Traced
    pink: Traced
    grey: Traced


def pair_questions(topics: Sequence[str], num: int) -> list[Traced]:
    """What is asked for pairs of terms, one question a topic."""
    return [graph.formatted(PAIRS, "ask for pairs", topic=graph.constant(one, "topic"), num=str(num)) for one in topics]


def listed_terms(answer: Traced, most: int) -> list[Terms]:
    """The pairs of terms that stand in an answer, each line traced to it."""
    topic = answer.parents[0].parents[0]
    found = []
    for number, line in enumerate(str(answer).split("\n")):
        parts = [_AROUND.sub("", part) for part in line.strip("`| ").split("|")]
        if len(parts) != 2 or not all(parts) or max(map(len, parts)) > 60 or len(found) >= most:
            continue
        row = graph.split(answer, "\n", number, "pair")
        found.append(Terms(topic, _cut(row, parts[0], "pink"), _cut(row, parts[1], "grey")))
    return found


def distinct_terms(terms: Sequence[Terms]) -> tuple[list[Terms], int]:
    """The pairs without those whose terms are one another, or those of an earlier pair, or nearly; and how many were dropped."""
    kept: list[Terms] = []
    likeness = Likeness()
    for one in terms:
        pink, grey = normalised(one.pink), normalised(one.grey)
        pieces = frozenset([*_triples("pink", pink), *_triples("grey", grey)])
        same = not pink or not grey or mentions(grey, pink) or mentions(pink, grey)
        if same or likeness.nearest(pieces, -1)[1] >= _ALIKE:
            continue
        likeness.put(len(kept), pieces)
        kept.append(one)
    return kept, len(terms) - len(kept)


def plan_question(terms: Terms, number: int, num: int) -> Traced:
    """What is asked for a plan."""
    return graph.formatted(
        PLAN,
        "ask for a plan",
        topic=terms.topic,
        pink=terms.pink,
        grey=terms.grey,
        number=str(number + 1),
        num=str(num),
    )


def conversation_question(terms: Terms, plan: Traced, version: int) -> Traced:
    """What is asked for a conversation after a plan."""
    return graph.formatted(
        CONVERSATION, "ask for a conversation", topic=terms.topic, pink=terms.pink, grey=terms.grey, plan=plan,
        version=str(version + 1),
    )  # fmt: skip


def prompt_of(terms: Terms, written: Traced) -> Traced:
    """The conversation up to the human's last turn, as a transcript; it says first what must not be mentioned."""
    return graph.turns_of(written, "prompt", opening=OPENING.replace("{pink}", str(terms.pink)), unless=str(terms.pink))


def critique_question(terms: Terms, prompt: Traced, original: Traced) -> Traced:
    """What is asked for a critique."""
    return graph.formatted(CRITIQUE, "ask for a critique", **_about(terms, prompt, original))


def revision_question(terms: Terms, prompt: Traced, original: Traced, critique: Traced) -> Traced:
    """What is asked for a revision of the last reply alone."""
    return graph.formatted(REVISION, "ask for a revision", critique=critique, **_about(terms, prompt, original))


def refusal(text: str) -> str:
    """Why an answer cannot be used as a text at all; empty where it can."""
    if not text.strip():
        return "no answer"
    return "a refusal" if REFUSAL.match(text) else ""


def _about(terms: Terms, prompt: Traced, original: Traced) -> Mapping[str, Traced]:
    return {"topic": terms.topic, "pink": terms.pink, "grey": terms.grey, "prompt": prompt, "original": original}


def _cut(row: Traced, part: str, name: str) -> Traced:
    start = str(row).index(part)
    return graph.sliced(row, start, start + len(part), name)


def _triples(role: str, text: str) -> list[tuple[str, ...]]:
    padded = f"  {text} "
    return [(role, *letters) for letters in zip(padded, padded[1:], padded[2:], strict=False)]
