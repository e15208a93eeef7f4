"""Edits that keep what a text says: words for other words, literally; and how much of the words remains."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from rmviz.configs.word_lists import STAND_IN, WordList
from rmviz.errors import ConfigError
from rmviz.world.grammar import euphemised, swap_topic
from rmviz.world.lexicon import EUPHEMISMS, TOPICS
from rmviz.world.truth import NOMINAL_SPEC


@dataclass(frozen=True)
class Edit:
    """A way to say a text without some words; the same seed gives the same text."""

    name: str
    words: tuple[str, ...]
    without: Callable[[str, random.Random], str]
    problem: Callable[[str, str], str] = lambda reply, new: ""
    """What is wrong with an edited text, one of `problems`; empty: nothing."""
    problems: tuple[str, ...] = ()

    def holds(self, text: str) -> bool:
        """Whether any of the words stands in a text."""
        return _pattern(self.words).search(text) is not None


def word_edit(words: WordList) -> Edit:
    """Each word replaced by one of its substitutes (the same one throughout a text), or by `something`; letter case is kept."""
    return Edit(words.name, tuple(words.substitutes), lambda text, rng: substituted(text, words, rng))


def world_edit(topic: str, *, veiled: bool) -> Edit:
    """A topic of the planted world said in euphemisms where it has some and `veiled`, else in a neutral topic's words.

    Raises:
        ConfigError: There is no such topic.
    """
    if topic not in TOPICS:
        raise ConfigError(f"no topic called {topic[:80]!r} in the planted world; it has {', '.join(TOPICS)}")
    neutral = [name for name, weight in NOMINAL_SPEC.topics.items() if not weight and name not in (topic, *EUPHEMISMS)]

    def without(text: str, rng: random.Random) -> str:
        if veiled and topic in EUPHEMISMS:
            return euphemised(text, topic, rng)
        return swap_topic(text, topic, rng.choice(neutral), rng)

    return Edit(topic, TOPICS[topic].words, without)


def substituted(text: str, words: WordList, rng: random.Random) -> str:
    """A text with every word of a list replaced."""
    chosen = {word: rng.choice(others) if others else STAND_IN for word, others in words.substitutes.items()}

    def swap(match: re.Match[str]) -> str:
        found = match.group()
        word = chosen.get(" ".join(found.lower().split()), found)  # ſ matches s, and stays
        if found.isupper() and len(found) > 1:
            return word.upper()
        return word[:1].upper() + word[1:] if found[:1].isupper() else word

    return _pattern(tuple(words.substitutes)).sub(swap, text)


def similarity(one: str, other: str) -> float:
    """1 − word edit distance / words of the longer text: the share of the words that remains, 0 to 1.

    Source: Levenshtein 1966, over words.
    """
    a, b = one.split(), other.split()
    longest = max(len(a), len(b))
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    return 1 - _distance(a, b) / longest if longest else 1.0


def _distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Edit distance; one row of the table at a time."""
    ids = {word: number for number, word in enumerate({*a, *b})}
    other = np.array([ids[word] for word in b], int)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for number, word in enumerate(a, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (other != ids[word]))
        # insertions run along the row: the least of all that stand before, plus the way
        row = np.minimum.accumulate(np.concatenate([[number], best]) - steps) + steps
    return int(row[-1])


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, literally and as whole words, longest first; spaces in phrases may be any white space."""
    ordered = sorted(words, key=len, reverse=True)
    parts = [r"\s+".join(re.escape(part) for part in word.split()) for word in ordered]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE)
