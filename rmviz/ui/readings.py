"""Figures of texts that the model has just read: rewards before and after, prefix curves, coloured tokens."""

import math
from collections.abc import Sequence

import streamlit as st

from rmviz.backend.wire import AblateAnswer, FeaturesAnswer, ReadText
from rmviz.plots.captions import caption
from rmviz.plots.features import robust_limit
from rmviz.plots.prefixes import Curve, height_of, prefix_panels
from rmviz.plots.tokens import escaped, legend_html, token_html
from rmviz.ui import aligned, drafts, style
from rmviz.ui.words import number, plain

_SHARED_TOKENS = 60
"""Tokens of what two texts share that are shown, the last ones."""


def rewards(draft: drafts.Draft, answers: Sequence[ReadText], edits: Sequence[AblateAnswer]) -> None:
    """Each text's reward, and what the edit makes of it; of two texts, the difference too."""
    before: list[float | None] = [answer.reward for answer in answers]
    after: list[float | None] = [edit.ablated for edit in edits] if edits else [None] * len(before)
    labels = [f"{escaped(name)} · reward" for name, _, _ in draft.texts]
    if (versus := draft.comparison) is not None:
        labels.append(versus.title)
        for values in (before, after):
            values.append(difference(values[versus.plus], values[versus.minus]))
    cells = [
        (label, _change(clean, edited), _under(clean, edited, bool(edits)))
        for label, clean, edited in zip(labels, before, after, strict=True)
    ]
    st.html(f'<div class="rm-rewards">{style.figures(cells)}</div>')


def curves_of(
    draft: drafts.Draft, answers: Sequence[ReadText], edits: Sequence[AblateAnswer], model: str
) -> list[Curve]:
    """The reward after each token by one model, before the edit and after it."""
    lines = []
    for index, ((name, _, reply), answer) in enumerate(zip(draft.texts, answers, strict=True)):
        ends = aligned.ends(answer, reply)
        lines.append(_curve(model, f"{name}, clean" if edits else name, answer, ends, answer.prefix_rewards))
        if edits and edits[index].prefix_ablated:
            lines.append(_curve(model, f"{name}, edited", answer, ends, edits[index].prefix_ablated))
    return lines


def curves(
    draft: drafts.Draft, answers: Sequence[ReadText], lines: Sequence[Curve], *, standardised: bool = False
) -> None:
    """The figure of the curves, what two texts share marked; `answers` are those of the first model."""
    shared = aligned.shared_start(answers, [text[2] for text in draft.texts]) if draft.comparison else None
    figure = prefix_panels(lines, shared_until=shared.until if shared else None, standardised=standardised)
    num_models = len({line.model for line in lines})
    height = height_of(1 if standardised else num_models)
    st.plotly_chart(style.compact(figure, height), key="prefix-curve", config=style.PLAIN_CHART)
    kind = "prefix_rewards" if num_models == 1 else "prefix_z" if standardised else "prefix_models"
    st.caption(plain(caption(kind, n_tokens=sum(len(line.tokens) for line in lines))))


def _curve(model: str, name: str, answer: ReadText, ends: Sequence[int], values: Sequence[float | None]) -> Curve:
    rewards = _numbers(values, len(answer.tokens))
    asked = answer.prefix_positions or list(range(len(answer.tokens)))
    return Curve(model, name, [ends[i] for i in asked], [answer.tokens[i] for i in asked], [rewards[i] for i in asked])


def tokens_by_change(draft: drafts.Draft, answers: Sequence[ReadText]) -> None:
    """Tokens coloured by how much each one changes the reward of the text so far."""
    steps = [_steps(_numbers(answer.prefix_rewards, len(answer.tokens))) for answer in answers]
    _tokens(draft, answers, steps, "reward change at this token, if the text ended there", signed=True)


def tokens_by_edit(draft: drafts.Draft, answers: Sequence[ReadText], edits: Sequence[AblateAnswer]) -> None:
    """Tokens coloured by what the edit changes in the reward of the text so far."""
    changes = []
    for answer, edit in zip(answers, edits, strict=True):
        size = len(answer.tokens)
        pairs = zip(_numbers(edit.prefix_ablated, size), _numbers(edit.prefix_clean, size), strict=True)
        changes.append([after - before for after, before in pairs])
    _tokens(draft, answers, changes, "edited − clean reward, if the text ended at this token", signed=True)


def tokens_by_feature(draft: drafts.Draft, answers: Sequence[FeaturesAnswer], feature: int) -> None:
    """Tokens coloured by the activation of one feature."""
    values = []
    for answer in answers:
        acts = [0.0] * len(answer.tokens)
        for row in (row for row in answer.rows if row.feature == feature):
            for position, activation in zip(row.positions, row.activations, strict=True):
                acts[position] = activation or 0.0
        values.append(acts)
    _tokens(draft, answers, values, f"activation of feature {feature}", signed=False)


def _tokens(
    draft: drafts.Draft, answers: Sequence[ReadText], values: Sequence[Sequence[float]], what: str, *, signed: bool
) -> None:
    limit = robust_limit([value for line in values for value in line], 98.0 if signed else 100.0)
    parts = [legend_html(limit, what, signed=signed)]
    begin, num_cut = 0, answers[0].num_cut
    if draft.comparison and (shared := aligned.shared_start(answers, [text[2] for text in draft.texts])):
        begin = shared.num_tokens
        first = max(0, begin - _SHARED_TOKENS)
        window = token_html(
            answers[0].tokens[first:begin], values[0][first:begin], limit=limit, before=first, num_cut=num_cut
        )
        parts.append(f'<div class="rm-shared"><p class="tk-head">Shared by both</p>{window}</div>')
    for (name, _, _), answer, line in zip(draft.texts, answers, values, strict=True):
        heading = f'<p class="tk-head">{escaped(name)}</p>' if len(draft.texts) > 1 else ""
        cut = 0 if begin else answer.num_cut
        rest = token_html(answer.tokens[begin:], line[begin:], limit=limit, before=begin, num_cut=cut)
        parts.append(heading + rest)
    two = " rm-two" if len(draft.texts) > 1 else ""
    st.html(f'<div class="rm-text rm-tokens{two}">{"".join(parts)}</div>')


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


def difference(first: float | None, second: float | None) -> float | None:
    """One number less another; None where one is missing."""
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
    change = difference(edited, clean)
    return (
        ""
        if change is None
        else f'change <span class="{style.sign_class(change)}">{number(change, signed=True)}</span>'
    )
