"""Which texts are the same text again, or nearly."""

import re
import unicodedata
from collections import Counter, defaultdict


def normalised(text: str) -> str:
    """A text without what does not make it another: case, punctuation, spacing, forms of the same letter."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def triples(text: str) -> frozenset[tuple[str, ...]]:
    """The word triples of a text; a shorter text is one piece."""
    words = normalised(text).split()
    if len(words) < 3:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def overlap(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Share of word triples that two texts have in common (Jaccard), 0 to 1."""
    return len(one & other) / len(one | other) if one or other else 1.0


class Likeness:
    """Finds the text that is most alike among those held, one per key; cost grows with shared triples only."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._pieces: dict[int, frozenset[tuple[str, ...]]] = {}
        self._holders: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)

    def put(self, key: int, pieces: frozenset[tuple[str, ...]]) -> None:
        """Hold the pieces of a text under a key, in place of what was held there."""
        for piece in self._pieces.get(key, ()):
            self._holders[piece].discard(key)
        self._pieces[key] = pieces
        for piece in pieces:
            self._holders[piece].add(key)

    def nearest(self, pieces: frozenset[tuple[str, ...]], but: int) -> tuple[int, float]:
        """Key and overlap of the text most alike, `but` left out; (−1, 0) where none shares a triple."""
        shared = Counter(key for piece in pieces for key in self._holders.get(piece, ()) if key != but)
        likeness = ((count / (len(pieces) + len(self._pieces[key]) - count), -key) for key, count in shared.items())
        best, key = max(likeness, default=(0.0, 1))
        return -key, best
