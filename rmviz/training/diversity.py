"""How varied a policy's replies are: RLHF narrows them."""

import re
from collections.abc import Sequence

MOST_COMPARED = 32
"""Replies that self-BLEU compares with one another."""


def words(text: str) -> list[str]:
    """Words and marks of a text, in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of the texts, 0 to 1 (Li et al. 2016, arXiv:1510.03055); 0 where there is none."""
    grams = [tuple(some[i : i + n]) for some in map(words, texts) for i in range(len(some) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of each of the first texts against the others, 0 to 1: 1 where all are the same.

    Source: Zhu et al. 2018 (arXiv:1802.01886); smoothed by method 1 of Chen & Cherry 2014.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    split = [words(text) for text in texts[:MOST_COMPARED]]
    smooth = SmoothingFunction().method1
    scores = [
        float(sentence_bleu(split[:i] + split[i + 1 :], one, smoothing_function=smooth)) if one else 0.0  # type: ignore[arg-type]
        for i, one in enumerate(split)
    ]
    return sum(scores) / len(scores) if len(scores) > 1 else 0.0
