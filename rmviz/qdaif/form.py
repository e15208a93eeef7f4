"""The form of a poem: lines, syllables and rhymes, by the CMU pronouncing dictionary, and the genre that they fit."""

import re
from collections.abc import Sequence
from functools import lru_cache

import pronouncing

from rmviz.world.lexicon import rhyme_of, syllables

SCHEMES = {
    "sonnet": ("ABABCDCDEFEFGG", "ABBAABBACDECDE", "ABBAABBACDCDCD", "AABBCCDDEEFFGG"),
    "limerick": ("AABBA",),
    "hymn": ("AABB", "ABAB"),
    "ballad": ("ABCB",),
}
"""Rhyme schemes of a stanza (of the whole poem for a sonnet)."""

HAIKU = (5, 7, 5)
_SLACK = 1
"""Syllables by which a line of a haiku may be off: poets and dictionaries count differently."""


def words_of(line: str) -> list[str]:
    """The words of a line, in lower case, apostrophes kept."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", line.lower())


def verses(text: str) -> list[list[str]]:
    """The words of each line that has any."""
    return [words for line in text.splitlines() if (words := words_of(line))]


@lru_cache(maxsize=65536)
def num_syllables(word: str) -> int:
    """Syllables of a word: by the dictionary, else by its groups of vowels."""
    phones = pronouncing.phones_for_word(word)
    return pronouncing.syllable_count(phones[0]) if phones else syllables(word)


@lru_cache(maxsize=65536)
def rhyme(word: str) -> frozenset[str]:
    """What a word rhymes by: its sounds from the last stress on, in every pronunciation; else its spelling."""
    phones = pronouncing.phones_for_word(word)
    return frozenset(map(pronouncing.rhyming_part, phones)) or frozenset([rhyme_of(word)])


def rhyming_share(ends: Sequence[str], scheme: str) -> float:
    """Share of the scheme's rhymes that the last words of the lines keep, 0 to 1."""
    pairs = [(i, j) for i in range(len(scheme)) for j in range(i) if scheme[i] == scheme[j]]
    return sum(bool(rhyme(ends[i]) & rhyme(ends[j])) for i, j in pairs) / max(1, len(pairs))


def genre_of(text: str) -> str:
    """haiku, sonnet, limerick, hymn or ballad by form; empty where a poem has none of these.

    A haiku has three lines of 5, 7, 5 syllables (one off allowed), a limerick five lines AABBA, a sonnet fourteen; a
    poem of quatrains is a hymn where each rhymes AABB or ABAB and a ballad where it rhymes ABCB. Most rhymes must hold.
    """
    lines = verses(text)
    ends = [words[-1] for words in lines]
    if len(lines) == 3:
        counts = [sum(map(num_syllables, words)) for words in lines]
        return "haiku" if all(abs(a - b) <= _SLACK for a, b in zip(counts, HAIKU, strict=True)) else ""
    if len(lines) in (5, 14):
        genre = "limerick" if len(lines) == 5 else "sonnet"
        return genre if max(rhyming_share(ends, scheme) for scheme in SCHEMES[genre]) >= 0.5 else ""
    if lines and len(lines) % 4 == 0:
        stanzas = [ends[i : i + 4] for i in range(0, len(ends), 4)]
        kept = {
            genre: max(sum(rhyming_share(some, scheme) for some in stanzas) for scheme in SCHEMES[genre])
            for genre in ("hymn", "ballad")
        }
        best = "hymn" if kept["hymn"] >= kept["ballad"] and kept["hymn"] > len(stanzas) / 2 else "ballad"
        return best if kept[best] > len(stanzas) / 2 else ""
    return ""


def measures(text: str) -> dict[str, float]:
    """Numbers of lines, words, syllables and characters, and how rich in different words it is (0 to 1)."""
    lines = verses(text)
    words = [word for line in lines for word in line]
    return {
        "lines": float(len(lines)),
        "words": float(len(words)),
        "syllables": float(sum(map(num_syllables, words))),
        "characters": float(len(text)),
        "richness": len(set(words)) / len(words) if words else float("nan"),
    }
