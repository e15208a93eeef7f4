"""How numbers and other people's text are shown: three significant digits, always a sign on effects, all escaped."""

import math
import re
import time
from collections.abc import Sequence

SIGN = "Effect = reward with the feature − reward without it: positive means the feature raises the reward."
"""The one sign convention, said wherever effects are shown."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>$~:&-])")
_LINK = re.compile(r"(?i)(https?|ftp|www|mailto|xmpp|@)(?=[:.\w])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Text that Markdown shows as it is: no link, image, colour or formula can come out of data."""
    unlinked = _LINK.sub(
        "\\1\u2060", _CONTROL.sub("\ufffd", text)
    )  # a word joiner: Markdown makes links of bare addresses
    return _MARKDOWN.sub(r"\\\1", unlinked).replace("\n", " ")


def shortened(text: str, length: int = 120) -> str:
    """One line of at most `length` characters."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[: length - 1] + "…"


def number(value: float | None, *, signed: bool = False) -> str:
    """A number with three significant digits and a real minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15 and not signed:
        return f"{int(value):,}".replace("-", "−")
    digits = f"{value:+.3g}" if signed else f"{value:.3g}"
    if "e" in digits and 1e-3 <= abs(value) < 1e9:
        digits = f"{round(value, -math.floor(math.log10(abs(value))) + 2):+,.0f}" if signed else f"{value:,.0f}"
    return digits.replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage with up to three significant digits."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.3g} %"


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval."""
    return f"[{number(low, signed=True)}, {number(high, signed=True)}]"


def q_value(value: float | None) -> str:
    """A q-value, small ones as a bound."""
    if value is None or not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def counted(count: int, noun: str) -> str:
    """`1 pair`, `2,000 pairs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def ago(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{counted(int(seconds // size), unit)} ago"
    return "just now"


def moment(created: float) -> str:
    """Date and time, local."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created))


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
