"""Which tokens belong to the template of a text, and which features only tell that they saw it."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

TEMPLATE_SHARE = 0.5
"""A feature with at least this share of its firings on template tokens is a template feature.

Half: below it, most of what the feature says is about words. On a reward model of hh-rlhf most of the twenty strongest
features fired on ":", "human", "assistant", "." and "?".
"""

EVER_FIRING_SHARE = 0.9
"""A feature that fires in at least this share of the texts tells little about any of them: it works as a bias."""

_ROLES = re.compile(
    r"(?:^|\n)\s*(?:human|assistant|user|system)\s*:"
    r"|<\|[^|<>\n]{1,40}\|>(?:user|assistant|system|human|model)?"
    r"|<(?:start|end)_of_turn>(?:user|model)?"
    r"|\[/?INST\]|<</?SYS>>|\[(?:CLS|SEP|PAD|UNK)\]|</?s>",
    re.IGNORECASE,
)


def template_tokens(tokens: Sequence[str]) -> Bool[np.ndarray, " position"]:
    """Which tokens of one text are role tags (`Human:`, `<|im_start|>user`), punctuation or white space.

    A token without text is a further piece of the character before it, and is marked as that is.
    """
    marks = np.ones(len(tokens), dtype=bool)
    for place, token in enumerate(tokens):
        marks[place] = not _says_something(token) if token or not place else marks[place - 1]
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    for match in _ROLES.finditer("".join(tokens)):
        first = int(np.searchsorted(ends, match.start(), side="right"))
        last = int(np.searchsorted(ends, match.end(), side="left"))
        marks[first : last + 1] = True
    return marks


@lru_cache(maxsize=65_536)
def _says_something(token: str) -> bool:
    """Whether it has a letter or number of any script, a sign of money, or an emoji: more than punctuation and space."""
    return any(c.isalnum() or unicodedata.category(c) in ("Mn", "Mc", "Sc", "So") for c in token)
