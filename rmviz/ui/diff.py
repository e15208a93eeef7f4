"""Two texts side by side, as HTML: the words that the other one does not have are marked. All text is escaped."""

import difflib
import re

from rmviz.plots.tokens import escaped

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MAX_WORDS = 4000
_MAX_CHARS = 60_000


def marked_difference(text: str, other: str) -> str:
    """HTML of a text with the words that the other one does not have marked; very long texts stay unmarked."""
    mine, theirs = _WORDS.findall(text[:_MAX_CHARS]), _WORDS.findall(other[:_MAX_CHARS])
    if len(mine) > _MAX_WORDS or len(theirs) > _MAX_WORDS:
        return _cut(text)
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    parts = []
    for kind, start, end, _, _ in matcher.get_opcodes():
        words = escaped("".join(mine[start:end]))
        parts.append(words if kind == "equal" or not words.strip() else f"<ins>{words}</ins>")
    return "".join(parts)


def text_box(prompt: str, marked: str) -> str:
    """HTML of one text: its prompt dimmed, its reply already marked."""
    return marked_box(_cut(prompt.lstrip()), marked)


def marked_box(prompt: str, reply: str) -> str:
    """HTML of one text, prompt and reply already marked."""
    return f'<div class="rm-text"><span class="prompt">{prompt}</span>{reply}</div>'


def _cut(text: str) -> str:
    left = len(text) - _MAX_CHARS
    return escaped(text[:_MAX_CHARS]) + (f"<i> … {left:,} more characters</i>" if left > 0 else "")
