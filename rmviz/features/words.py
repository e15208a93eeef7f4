"""Names for features: the words they fire on more than chance would have it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

PRIOR = 100.0
"""Weight of the prior, in firings: a word seen once is no name."""

_LONGEST = 40


def word_of(token: str) -> str:
    """What a token is called in lists: lower case, one line, no outer space; white space and nothing get a sign."""
    word = " ".join(token.split()).casefold()
    if word:
        return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"
    return "↵" if "\n" in token or "\r" in token else "␣" if token else "∅"


def log_odds(
    counts: Int[np.ndarray, " word"], total: int, base: Int[np.ndarray, " word"], base_total: int
) -> Float[np.ndarray, " word"]:
    """How far each word is over-represented among a feature's firings, in standard deviations.

    The log-odds ratio of firings against all tokens, with a Dirichlet prior in proportion to the base frequencies, over
    its standard error.

    Args:
        counts: Firings of the feature on each word.
        total: All firings of the feature.
        base: How often each word occurs in the texts, at least once.
        base_total: All tokens of the texts.

    Source: Monroe, Colaresi & Quinn 2008, eq. 16–22 (doi:10.1093/pan/mpn018).
    """
    share = base / base_total
    prior = PRIOR * share
    inside = np.log(counts + prior) - np.log(np.maximum(total - counts, 0) + PRIOR - prior + 1e-9)
    outside = np.log(share) - np.log1p(-share + 1e-9)
    return (inside - outside) / np.sqrt(1 / (counts + prior) + 1 / base)


def top_words(scores: Float[np.ndarray, " word"], counts: Int[np.ndarray, " word"], n: int) -> Int[np.ndarray, " top"]:
    """Places of the `n` most telling words, best first; words below chance only where there is nothing else."""
    order = np.lexsort((-counts, -scores))[:n]
    above = order[scores[order] > 0]
    return above if len(above) else order[:1]


def joined(words: Sequence[str]) -> str:
    """A feature's name for lists: `pregnancy · baby · birth`."""
    return " · ".join(words)
