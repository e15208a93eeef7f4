"""From one raw row to preference pairs or a text, whatever format the data has.

Understood, in this order (further scalar columns become `extra`):

- ranked replies: `prompt` and `replies` (or `responses`, `completions`), a list of texts or of objects with a text;
  with `ranks` (1 is best) or `scores` (more is better), else the best comes first. Every two replies of different
  rank make a pair;
- `prompt`, `chosen`, `rejected`, as texts or as lists of chat messages;
- `chosen`, `rejected` alone: whole transcripts (hh-rlhf) or lists of messages; what they share becomes the prompt;
- `messages` (or `conversations`), or `text`: one text without a pair.

Chat messages are `{role, content}` or `{from, value}` and are stored as a transcript.
"""

import itertools
import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rmviz.data.problems import excerpt
from rmviz.errors import DataError
from rmviz.types import JSON, Pair, Text

ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query"),
    "chosen": ("chosen", "selected", "preferred", "chosen_response", "response_j"),
    "rejected": ("rejected", "dispreferred", "rejected_response", "response_k"),
    "replies": ("replies", "responses", "completions"),
    "ranks": ("ranks", "rank"),
    "scores": ("scores", "ratings"),
    "messages": ("messages", "conversations"),
    "text": ("text",),
}
"""Column names that mean the same; the first that a row has is taken."""

ASSISTANT = "\n\nAssistant:"
_ROLES = {
    "user": "Human",
    "human": "Human",
    "prompter": "Human",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "bot": "Assistant",
}
_REPLY_TEXT = ("text", "content", "response", "reply", "value")
_REPLY_SCORE = ("score", "rating", "overall_score")


class BadRow(DataError):
    """A row cannot be used; the text says why."""


def row_items(row: Any, row_id: str) -> list[Pair | Text]:
    """The pairs (or the one text) in a raw row.

    Args:
        row: A decoded JSON value, or a row of a table.
        row_id: Becomes the pair's id, or its start where a row holds several pairs.

    Raises:
        BadRow: The row has none of the known formats, or an empty, missing or non-text field.
    """
    if not isinstance(row, Mapping):
        raise BadRow(f"an object with named columns was wanted, got {_kind(row)}")
    names = {field: name for field, options in ALIASES.items() if (name := _present(row, options))}
    extra = _extra(row, set(names.values()))
    if "replies" in names:
        return _ranked_pairs(row, names, row_id, extra)
    if "chosen" in names or "rejected" in names:
        missing = {"chosen", "rejected"} - set(names)
        if missing:
            raise BadRow(f"no {missing.pop()} column; there are: {_columns(row)}")
        return [_pair(row, names, row_id, extra)]
    if "messages" in names or "text" in names:
        column = names.get("messages") or names["text"]
        prompt, reply = split_transcript(_full_text(row[column], column))
        return [Text(text_id=row_id, prompt=prompt, reply=_require_text(reply, f"the reply in {column}"))]
    raise BadRow(f"no chosen and rejected, no replies and no text column; there are: {_columns(row)}")


def split_transcript(text: str) -> tuple[str, str]:
    """Prompt (up to the last "Assistant:") and reply; joined they are the text to the letter."""
    cut = _reply_start(text, len(text))
    return text[:cut], text[cut:]


def split_pair(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Shared prompt and the two replies of two transcripts.

    The prompt ends at the last "Assistant:" that both share (it is empty if there is none); prompt + reply is each
    transcript to the letter.
    """
    cut = _reply_start(chosen, _num_shared(chosen, rejected))
    return chosen[:cut], chosen[cut:], rejected[cut:]


def transcript(messages: Any, column: str = "messages") -> str:
    """Chat messages as one text: each turn is a blank line, its role, a colon, a space and its content."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise BadRow(f"{column} must be a list of chat messages, got {_kind(messages)}")
    return "".join(_turn(message, column) for message in messages)


def _pair(row: Mapping[str, Any], names: Mapping[str, str], row_id: str, extra: dict[str, JSON]) -> Pair:
    chosen, rejected = row[names["chosen"]], row[names["rejected"]]
    for column, side in ((names["chosen"], chosen), (names["rejected"], rejected)):
        _require_text(_full_text(side, column), column)
    if isinstance(chosen, str) and isinstance(rejected, str) and "prompt" in names:
        prompt, chosen, rejected = _replies_to(row[names["prompt"]], names["prompt"], [chosen, rejected])
    else:
        before = row[names["prompt"]] if "prompt" in names else None
        prompt, chosen, rejected = split_pair(_with_prompt(before, chosen), _with_prompt(before, rejected))
    _require_text(chosen, names["chosen"])
    _require_text(rejected, names["rejected"])
    if chosen == rejected:
        raise BadRow(f"{names['chosen']} and {names['rejected']} are identical")
    return Pair(pair_id=row_id, prompt=prompt, chosen=chosen, rejected=rejected, extra=extra)


def _ranked_pairs(
    row: Mapping[str, Any], names: Mapping[str, str], row_id: str, extra: dict[str, JSON]
) -> list[Pair | Text]:
    replies = row[names["replies"]]
    if not isinstance(replies, (list, tuple)) or len(replies) < 2:
        raise BadRow(f"{names['replies']} must be a list of at least two replies, got {_kind(replies)}")
    ranks = _ranks(row, names, replies)
    texts = [_reply_text(reply, f"{names['replies']}[{number}]") for number, reply in enumerate(replies)]
    prompt = ""
    if "prompt" in names:
        prompt, *texts = _replies_to(row[names["prompt"]], names["prompt"], texts)
    order = sorted(range(len(texts)), key=lambda number: ranks[number])
    pairs: list[Pair | Text] = [
        Pair(
            pair_id=f"{row_id}-{better + 1}v{worse + 1}", prompt=prompt, chosen=texts[better], rejected=texts[worse],
            extra=extra | {"chosen_rank": ranks[better], "rejected_rank": ranks[worse]},
        )
        for better, worse in itertools.combinations(order, 2)
        if ranks[better] < ranks[worse] and texts[better] != texts[worse]
    ]  # fmt: skip
    if not pairs:
        raise BadRow(f"no two {names['replies']} differ in text and in rank")
    return pairs


def _ranks(row: Mapping[str, Any], names: Mapping[str, str], replies: Any) -> list[float]:
    """One number per reply, smaller is better."""
    sign, values = 1.0, list(range(1, len(replies) + 1))
    if "ranks" in names:
        values = row[names["ranks"]]
    elif "scores" in names:
        sign, values = -1.0, row[names["scores"]]
    elif all(isinstance(reply, Mapping) and _present(reply, _REPLY_SCORE) for reply in replies):
        sign, values = -1.0, [reply[_present(reply, _REPLY_SCORE)] for reply in replies]
    column = names.get("ranks") or names.get("scores") or "the replies' scores"
    if not isinstance(values, (list, tuple)) or len(values) != len(replies):
        raise BadRow(f"{column} must hold one number for each of the {len(replies)} replies, got {_kind(values)}")
    if not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values
    ):
        raise BadRow(f"{column} must be numbers, got {excerpt(values)}")
    return [sign * float(value) for value in values]


def _replies_to(prompt: Any, column: str, replies: list[str]) -> tuple[str, ...]:
    """The prompt as text, then the replies without it where they repeat it."""
    if isinstance(prompt, (list, tuple)):
        return transcript(prompt, column) + ASSISTANT, *(f" {reply}" for reply in replies)
    _require_text(prompt, column)
    if prompt.endswith(ASSISTANT) and all(reply.startswith(prompt) for reply in replies):
        return prompt, *(reply.removeprefix(prompt) for reply in replies)
    return prompt, *replies


def _with_prompt(prompt: Any, side: Any) -> str:
    """One whole transcript; the prompt is put before messages that do not hold it already."""
    if isinstance(side, str):
        return side
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or ())
    answered_only = _role(side[0], "") == "Assistant"
    return transcript([*asked, *side] if answered_only else side)


def _full_text(value: Any, column: str) -> str:
    return transcript(value, column) if isinstance(value, (list, tuple)) else _require_text(value, column)


def _turn(message: Any, column: str) -> str:
    content = (
        next((message[name] for name in ("content", "value") if name in message), None)
        if isinstance(message, Mapping)
        else None
    )
    if isinstance(content, (list, tuple)):  # parts, as multi-modal chats have them
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if not isinstance(content, str):
        raise BadRow(f"a message of {column} must have a role and a text content, got {excerpt(message)}")
    return f"\n\n{_role(message, column)}: {content}"


def _role(message: Any, column: str) -> str:
    role = (message.get("role") or message.get("from")) if isinstance(message, Mapping) else None
    if not isinstance(role, str) or not role.strip():
        raise BadRow(f"a message of {column or 'the reply'} must have a role, got {excerpt(message)}")
    return _ROLES.get(role.strip().lower(), role.strip().capitalize())


def _reply_text(reply: Any, column: str) -> str:
    if isinstance(reply, Mapping) and (name := _present(reply, _REPLY_TEXT)):
        reply = reply[name]
    return _require_text(reply, column)


def _require_text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{column} must be text, got {_kind(value)}")
    if not value.strip():
        raise BadRow(f"{column} is empty")
    return value


def _reply_start(text: str, stop: int) -> int:
    """Where the reply to the last "Assistant:" before `stop` begins; 0 if there is none."""
    found = text.rfind(ASSISTANT, 0, stop)
    return found + len(ASSISTANT) if found >= 0 else 0


def _num_shared(a: str, b: str) -> int:
    """Length of the common start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def _present(row: Mapping[str, Any], options: tuple[str, ...]) -> str:
    return next((name for name in options if row.get(name) is not None), "")


def _extra(row: Mapping[str, Any], used: set[str]) -> dict[str, JSON]:
    values = ((_clean(str(name)), _scalar(value)) for name, value in row.items() if name not in used)
    return {name: value for name, value in values if value is not None}


def _scalar(value: Any) -> str | int | float | bool | None:
    """The value if it is one number, text or truth value, else None."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, (int, float, bool)) else None


def _clean(text: str) -> str:
    """Text that can be stored: halves of surrogate pairs become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _columns(row: Mapping[str, Any]) -> str:
    names = ", ".join(_clean(str(name)) for name, value in itertools.islice(row.items(), 12) if value is not None)
    return names or "none"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", bytes: "bytes", dict: "an object"}
    return names.get(type(value), type(value).__name__)
