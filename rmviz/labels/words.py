"""Labels that are word lists, and the judge that needs no model: a text is said to fire when it holds one of the words."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from rmviz.features.words import joined, log_odds, word_of

WORDS, NEAR = "words", "words of its texts"
"""The sources of labels that are word lists: the words that the feature fires on, or those of the texts it fires in."""

CLEARLY = 0.1
"""Balanced accuracy by which the words of the texts must be better, on the half that labels are made from."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after all also an and any are as at be been before being between both but by can common contains content do
        does e each especially etc even every expressions feature fires followed for from g had has have he her here his how
        i if in including into is it its just kind like many may mention mentions more most near not of often on one or other
        our out over phrase phrases such text texts that the their them there these they this those to token tokens topic
        topics towards two use used uses using various was we were what when where which who will with word words would you
        your""",
    )
)
"""Words of a label that name nothing."""


def label_words(label: str) -> frozenset[str]:
    """The words that a label stands for: the entries of `womb · midwife`, or the content words of a phrase; in lower case."""
    if "·" in label:
        return frozenset(word_of(part.strip()) for part in label.split("·") if part.strip())
    words = frozenset(word.casefold() for word in _WORD.findall(label))
    return words - _STOP or words


def holds(words: frozenset[str], tokens: Sequence[str], text: str) -> bool:
    """Whether a text has one of the words: as a token of its own, or as a whole word in whatever tokens."""
    return any(_named(token) in words for token in tokens) or bool(
        words & {word.casefold() for word in _WORD.findall(text)}
    )


@lru_cache(maxsize=65_536)
def _named(token: str) -> str:
    return word_of(token)


def word_texts(
    word_of_token: Int[np.ndarray, " token"], text_of_token: Int[np.ndarray, " token"], shape: tuple[int, int]
) -> csr_array:
    """Which text (row) holds which word (column), as 0 and 1."""
    found = csr_array((np.ones(len(word_of_token), np.int32), (text_of_token, word_of_token)), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def chosen_words(
    names: Sequence[str],
    counts: Int[np.ndarray, " word"],
    base: Int[np.ndarray, " word"],
    in_text: csr_array,
    fires: Bool[np.ndarray, " text"],
    num_words: int,
) -> tuple[str, str]:
    """The label of a feature by log-odds: the first k words by it, k at most `num_words` and best on the same texts.

    A feature may fire on full stops or articles because of what was said before; the words it fires on then tell nothing.
    So the words of the texts that it fires in, by log-odds over texts, are taken where they are better by `CLEARLY`.

    Args:
        names: The words.
        counts: Firings of the feature on each.
        base: How often each stands in the texts.
        in_text: Which text holds which word.
        fires: In which text the feature fires.
        num_words: Words at most.

    Returns:
        The label, as in `womb · midwife`, empty where it fires nowhere; and `words` or `words of its texts`.
    """
    near = np.asarray(in_text[fires].sum(axis=0)).ravel()
    own, own_value = _best(counts, base, in_text, fires, num_words)
    other, other_value = _best(near, np.asarray(in_text.sum(axis=0)).ravel(), in_text, fires, num_words)
    if other_value > own_value + CLEARLY:
        return joined([names[word] for word in other]), NEAR
    return joined([names[word] for word in own]), WORDS


def _best(
    counts: np.ndarray, base: np.ndarray, in_text: csr_array, fires: Bool[np.ndarray, " text"], num_words: int
) -> tuple[list[int], float]:
    """The words, and the balanced accuracy of saying that a text with one of them fires."""
    known = np.flatnonzero(counts)
    if not len(known):
        return [], 0.0
    scores: Float[np.ndarray, " word"] = log_odds(counts[known], int(counts.sum()), base[known], int(base.sum()))
    order = known[np.lexsort((-counts[known], -scores))][:num_words]
    if not fires.any() or fires.all():
        return order[:1].tolist(), 0.5
    said = np.logical_or.accumulate(np.asarray(in_text[:, order].todense(), bool), axis=1)
    right = (said[fires].mean(axis=0) + (~said[~fires]).mean(axis=0)) / 2
    best = int(np.argmax(right))
    return order[: best + 1].tolist(), float(right[best])
