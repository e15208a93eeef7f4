"""Figures of texts that the model has just read: rewards before and after, prefix curves, coloured tokens."""

import math
from collections.abc import Sequence

import streamlit as st

from rmviz.backend.wire import AblateAnswer, FeaturesAnswer, ReadText
from rmviz.plots.captions import caption
from rmviz.plots.features import robust_limit
from rmviz.plots.rewards import prefix_curves
from rmviz.plots.tokens import escaped, legend_html, token_html
from rmviz.ui import style
from rmviz.ui.words import number, plain


def rewards(names: Sequence[str], answers: Sequence[ReadText], edits: Sequence[AblateAnswer]) -> None:
    """Each text's reward, and what the edit makes of it; for a pair, the margin too."""
    before: list[float | None] = [answer.reward for answer in answers]
    after: list[float | None] = [edit.ablated for edit in edits] if edits else [None] * len(before)
    labels = list(names)
    if len(before) == 2:
        labels.append("Margin A − B")
        before.append(_difference(before[0], before[1]))
        after.append(_difference(after[0], after[1]))
    cells = []
    for label, clean, edited in zip(labels, before, after, strict=True):
        cells.append(
            (
                f"{escaped(label)} · reward" if label != "Margin A − B" else label,
                _change(clean, edited),
                _under(clean, edited, bool(edits)),
            )
        )
    st.html(f'<div class="rm-rewards">{style.figures(cells)}</div>')


def curves(names: Sequence[str], answers: Sequence[ReadText], edits: Sequence[AblateAnswer]) -> None:
    """The reward after each token, before the edit and after it."""
    lines = []
    for index, (name, answer) in enumerate(zip(names, answers, strict=True)):
        values = _numbers(answer.prefix_rewards, len(answer.tokens))
        lines.append({"name": name if not edits else f"{name}, clean", "tokens": answer.tokens, "rewards": values})
        if edits and edits[index].prefix_ablated:
            values = _numbers(edits[index].prefix_ablated, len(answer.tokens))
            lines.append({"name": f"{name}, edited", "tokens": answer.tokens, "rewards": values})
    st.plotly_chart(style.compact(prefix_curves(lines), 290), key="prefix-curve", config=style.PLAIN_CHART)
    st.caption(plain(caption("prefix_rewards", n_tokens=sum(len(answer.tokens) for answer in answers))))


def tokens_by_change(names: Sequence[str], answers: Sequence[ReadText]) -> None:
    """Tokens coloured by how much each one changes the reward of the text so far."""
    steps = [_steps(_numbers(answer.prefix_rewards, len(answer.tokens))) for answer in answers]
    _tokens(names, answers, steps, "reward change at this token, if the text ended there", signed=True)


def tokens_by_edit(names: Sequence[str], answers: Sequence[ReadText], edits: Sequence[AblateAnswer]) -> None:
    """Tokens coloured by what the edit changes in the reward of the text so far."""
    changes = []
    for answer, edit in zip(answers, edits, strict=True):
        size = len(answer.tokens)
        pairs = zip(_numbers(edit.prefix_ablated, size), _numbers(edit.prefix_clean, size), strict=True)
        changes.append([after - before for after, before in pairs])
    _tokens(names, answers, changes, "edited − clean reward, if the text ended at this token", signed=True)


def tokens_by_feature(names: Sequence[str], answers: Sequence[FeaturesAnswer], feature: int) -> None:
    """Tokens coloured by the activation of one feature."""
    values = []
    for answer in answers:
        acts = [0.0] * len(answer.tokens)
        for row in (row for row in answer.rows if row.feature == feature):
            for position, activation in zip(row.positions, row.activations, strict=True):
                acts[position] = activation or 0.0
        values.append(acts)
    _tokens(names, answers, values, f"activation of feature {feature}", signed=False)


def _tokens(
    names: Sequence[str], answers: Sequence[ReadText], values: Sequence[Sequence[float]], what: str, *, signed: bool
) -> None:
    limit = robust_limit([value for line in values for value in line], 98.0 if signed else 100.0)
    parts = [legend_html(limit, what, signed=signed)]
    for name, answer, line in zip(names, answers, values, strict=True):
        heading = f'<p class="tk-head">{escaped(name)}</p>' if len(names) > 1 else ""
        parts.append(heading + token_html(answer.tokens, line, limit=limit, num_cut=answer.num_cut))
    st.html(f'<div class="rm-text rm-tokens">{"".join(parts)}</div>')


def _numbers(values: Sequence[float | None], size: int) -> list[float]:
    """One number per token; NaN where there is none."""
    return [math.nan if value is None else value for value in values] if values else [math.nan] * size


def _steps(rewards: Sequence[float]) -> list[float]:
    """What each token adds to the last reward known before it; NaN for the first one known."""
    steps, last = [], math.nan
    for reward in rewards:
        steps.append(reward - last)
        last = reward if reward == reward else last
    return steps


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _change(clean: float | None, edited: float | None) -> str:
    if edited is None:
        return f'<span class="rm-now">{number(clean, signed=True)}</span>'
    return f'<span class="muted">{number(clean, signed=True)} →</span> ' + (
        f'<span class="rm-now">{number(edited, signed=True)}</span>'
    )


def _under(clean: float | None, edited: float | None, is_edited: bool) -> str:
    if clean is None or (is_edited and edited is None):
        return "the model gives no finite number here"
    change = _difference(edited, clean)
    return (
        ""
        if change is None
        else f'change <span class="{style.sign_class(change)}">{number(change, signed=True)}</span>'
    )
