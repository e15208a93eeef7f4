"""Texts with highlighted tokens, as HTML strings: all data is escaped, both themes work, sign is not by hue alone."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rmviz.plots.style import NEGATIVE, POSITIVE

TOKEN_CSS = f"""<style>
.tk {{ white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.7; margin: 0 0 .9rem 0; }}
.tk span {{ position: relative; border-radius: 3px; unicode-bidi: isolate; }}
.tk .p, .tk .n {{ background: color-mix(in srgb, var(--c) calc(var(--a) * 1%), transparent); }}
.tk .p {{ --c: {POSITIVE}; }}
.tk .n {{ --c: {NEGATIVE}; text-decoration: underline dotted; text-underline-offset: 3px; }}
.tk .nl::after {{ content: "\\21B5"; opacity: .45; }}
.tk .more, .tk-head {{ opacity: .65; font-size: .85em; }}
.tk-head {{ margin: 0; }}
.tk span[data-v]:hover::after {{ content: attr(data-v); position: absolute; left: 0; bottom: 100%; z-index: 9;
  background: #222; color: #fff; padding: 1px 6px; border-radius: 3px; font-size: .8em; white-space: nowrap; }}
</style>
"""
"""Put once before the token texts of a page; Streamlit keeps `class`, `style="--a:…"` and `data-v`."""

_FAINTEST = 6  # percent of colour below which a token is left plain
_DARKEST = 70  # percent; above it, text on the colour is hard to read
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


def shown(text: str) -> str:
    """The text as it stands on the page: control characters as their pictures (␀, ␍, ␛), everything else as it is."""
    return text.translate(_PICTURES)


def escaped(text: str) -> str:
    """Text from data or a model, safe inside an element or a quoted attribute."""
    return html.escape(shown(text), quote=True)


def span(token: str, value: float, limit: float) -> str:
    """One token, coloured by its value: orange above zero, blue and underlined below, the number on hover.

    Args:
        token: Text from data; may hold anything.
        value: Activation or effect; NaN and 0 leave the token plain.
        limit: |value| at full colour; above 0.
    """
    text = escaped(token).replace("\n", '<i class="nl"></i>\n')
    share = min(1.0, abs(value) / limit) if math.isfinite(value) else 0.0
    alpha = round(_DARKEST * share)
    if alpha < _FAINTEST:
        return f"<span>{text}</span>"
    return f'<span class="{"p" if value > 0 else "n"}" style="--a:{alpha}" data-v="{value:+.3g}">{text}</span>'


def token_html(
    tokens: Sequence[str],
    values: Sequence[float],
    *,
    limit: float | None = None,
    before: int = 0,
    after: int = 0,
    num_cut: int = 0,
) -> str:
    """One text, or a window of it.

    Args:
        tokens: Its tokens in order.
        values: One value per token.
        limit: |value| at full colour; the largest of this text when not given. Texts that are compared share one.
        before: Tokens of the text that stand before the window; shown as an ellipsis.
        after: Tokens that stand after it.
        num_cut: Tokens that the model never saw, cut from the left to fit its context; shown as a mark.
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    top = limit or largest or 1.0
    body = "".join(span(token, value, top) for token, value in zip(tokens, values, strict=True))
    cut = (
        _more(
            f"✂ {num_cut:,} tokens cut ",
            f"The text is longer than the model's context: its first {num_cut:,} tokens were left out.",
        )
        if num_cut
        else ""
    )
    left = _more("… ", f"{before:,} tokens before") if before else ""
    right = _more(" …", f"{after:,} tokens after") if after else ""
    return f'<div class="tk">{cut}{left}{body}{right}</div>'


def legend_html(limit: float, what: str = "activation", *, signed: bool = False) -> str:
    """What the colours of token texts mean, from 0 to `limit`."""
    ends = (
        [(1.0, "raises the reward"), (-1.0, "lowers the reward")]
        if signed
        else [(0.3, "weak"), (1.0, f"strong ({limit:.3g})")]
    )
    keys = " ".join(span(name, sign * limit, limit) for sign, name in ends)
    return f'<div class="tk tk-head">{escaped(what)}: {keys} · the number shows on hover</div>'


def examples_html(examples: Sequence[Mapping[str, Any]], *, css: bool = True) -> str:
    """The examples of a feature's page under one legend, strongest first, coloured on one scale.

    Args:
        examples: As a feature's page holds them.
        css: Whether to put the style sheet first; False where the page has it already.
    """
    limit = max((float(example["activation"]) for example in examples), default=0.0) or 1.0
    parts = [TOKEN_CSS if css else "", legend_html(limit)]
    for example in examples:
        after = max(0, int(example.get("num_tokens", 0)) - int(example["start"]) - len(example["tokens"]))
        marks = {"before": int(example["start"]), "after": after, "num_cut": int(example.get("num_cut", 0))}
        parts += [_heading(example), token_html(example["tokens"], example["acts"], limit=limit, **marks)]
    return "".join(parts)


def _heading(example: Mapping[str, Any]) -> str:
    facts = [
        f"activation {float(example['activation']):.3g}",
        f"effect {float(example['effect']):+.3g}",
        f"reward {float(example['reward']):.3g}",
    ]
    names = [str(example.get("side") or ""), str(example.get("pair_id") or example.get("text_id") or "")]
    return f'<p class="tk-head">{" · ".join(facts + [escaped(name) for name in names if name])}</p>'


def _more(mark: str, title: str) -> str:
    return f'<span class="more" title="{escaped(title)}">{mark}</span>'
