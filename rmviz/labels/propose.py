"""How a language model is asked for a label, and what is taken from its answer."""

import re
from dataclasses import dataclass

import numpy as np

from rmviz.asking.models import REFUSAL
from rmviz.configs.labels import LONGEST_LABEL, Direction
from rmviz.features.texts import ScannedTexts
from rmviz.labels.texts import Sample

_LABEL = re.compile(r"^[\W_]*label[\W_]*?:[*_`\s]*(.+)$", re.IGNORECASE | re.MULTILINE)
_EFFECT = re.compile(r"^[\W_]*effect[\W_]*?:[*_`\s]*(raises|lowers)\b", re.IGNORECASE | re.MULTILINE)
_READ = 4000
"""Characters of an answer that are read: a label stands at its beginning."""


@dataclass(frozen=True)
class Proposal:
    """A label, what it claims of the reward, and what was wrong with the answer (empty: nothing)."""

    label: str
    direction: Direction
    problem: str = ""


def question(sample: Sample, texts: ScannedTexts, where: dict[int, np.ndarray], context: int) -> str:
    """What a language model is asked about one feature: marked firing texts with the effect of each, and silent texts.

    Args:
        sample: The texts it is shown.
        texts: All texts.
        where: By text, the positions at which the feature fires; the strongest first.
        context: Tokens shown on each side of the strongest.
    """
    parts = []
    for text, fires, effect in zip(sample.text.tolist(), sample.fires.tolist(), sample.effect.tolist(), strict=True):
        shown = _window(texts.tokens_of(text), where.get(text, np.zeros(0, int)), context)
        parts.append(f"FIRES, reward {effect:+.2g} through it: {shown}" if fires else f"SILENT: {shown}")
    return (
        "A reward model reads texts. One feature inside it fires on the tokens between « and » in the first texts, and is "
        "silent in the last ones. Beside each text stands how much the reward rises (+) or falls (−) through the feature.\n\n"
        + "\n\n".join(parts)
        + "\n\nWhat does the feature fire on, and what does it do to the reward? Answer with these two lines and nothing else:\n"
        "LABEL: (at most ten words)\nEFFECT: RAISES or LOWERS"
    )


def proposal(answer: str) -> Proposal:
    """The label in an answer; without one, the reason."""
    text = answer.strip()
    if not text:
        return Proposal("", "", "an empty answer")
    found = _LABEL.search(text[:_READ])
    label = " ".join(found.group(1).split()).strip("*_`\"' ") if found else ""
    if REFUSAL.match(label or text):
        return Proposal("", "", "a refusal")
    if not label:
        return Proposal("", "", f"no line with a label in {len(text):,} characters")
    if len(label) > LONGEST_LABEL:
        return Proposal("", "", f"a label of {len(label):,} characters" + ("" if len(text) < _READ else " or more"))
    effect = _EFFECT.search(text[:_READ])
    direction: Direction = "" if not effect else "raises" if effect.group(1).casefold() == "raises" else "lowers"
    return Proposal(label, direction)


def _window(tokens: list[str], positions: np.ndarray, context: int) -> str:
    """The tokens around the first of the positions (around the end where there is none), firing ones between « and »."""
    peak = int(positions[0]) if len(positions) else max(0, len(tokens) - context)
    fires = set(positions.tolist())
    low = max(0, peak - context)
    shown = [
        f"«{token}»" if place in fires else token
        for place, token in enumerate(tokens[low : peak + context + 1], start=low)
    ]
    return " ".join("".join(shown).split())
