"""What stands in the Playground: the texts, the features that are switched or scaled, and the way back.

The URL holds all of it while it is short enough for a link.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.ui import cached, pickers
from rmviz.ui.words import plain

PROMPT, FIRST, SECOND = "pg-prompt", "pg-a", "pg-b"
"""Session keys of the three text fields."""

MODES = {"text": "One text", "pair": "A pair"}
LOW, HIGH, STEP = -2.0, 3.0, 0.25
MAX_LINK = 1500
"""Characters of text that go into the URL; longer ones make links that mail and chat programs break."""

_SCALES, _HISTORY, _GENERATION = "_pg-scales", "_pg-history", "_pg-generation"


@dataclass(frozen=True)
class Draft:
    """What the user has typed: a prompt and one reply or two."""

    prompt: str
    first: str
    second: str | None

    @property
    def texts(self) -> list[tuple[str, str, str]]:
        """Name, prompt and reply of each text that is not empty."""
        named = [("Text" if self.second is None else "Reply A", self.first), ("Reply B", self.second or "")]
        return [
            (name, self.prompt, reply)
            for name, reply in named
            if (self.prompt + reply if name == "Text" else reply).strip()
        ]


def current(mode: str) -> Draft:
    """The texts as last submitted."""
    prompt, first, second = (str(st.session_state.get(key) or "") for key in (PROMPT, FIRST, SECOND))
    return Draft(prompt, first, second if mode == "pair" else None)


def take_link(effects: list[Artifact]) -> None:
    """Fill the fields from the URL where a link brought something: the texts, one text of a result, or scales."""
    for key, param in ((PROMPT, "prompt"), (FIRST, "a"), (SECOND, "b")):
        if (value := pickers.arrived(param)) is not None:
            st.session_state[key] = value
            pickers.keep_in_url(param, value)
    if (text_id := pickers.arrived("text")) is not None:
        pickers.keep_in_url("text", text_id)
        source = next((artifact for artifact in effects if artifact.id == st.query_params.get("effects")), None)
        found = cached.text_by_id(source, text_id) if source else None
        if found:
            st.session_state[PROMPT], st.session_state[FIRST] = found
        else:
            st.warning(f"The text “{plain(text_id[:80])}” is not in this workspace.")
    if (value := pickers.arrived("scales")) is not None:
        pickers.keep_in_url("scales", value)
        set_scales(parsed_scales(value))


def keep_link(draft: Draft) -> bool:
    """Write the state into the URL; False (and the texts left out) when it is too long for a link."""
    fields = {"prompt": draft.prompt, "a": draft.first, "b": draft.second or ""}
    short = sum(map(len, fields.values())) <= MAX_LINK
    for param, value in fields.items():
        pickers.keep_in_url(param, value if short and value else None)
    for param in ("text", "effects"):
        pickers.keep_in_url(param, None)
    pickers.keep_in_url("scales", written_scales(scales()) or None)
    return short


def fill_example(effects: Artifact) -> None:
    """Put the next pair of a result's texts into the fields (a callback of a button)."""
    texts = cached.texts(effects)
    ids = list(dict.fromkeys(texts["pair_id"].tolist()))
    number = st.session_state.get("_pg-example", -1) + 1
    st.session_state["_pg-example"] = number
    rows = [row for row in texts.to_dict("records") if row["pair_id"] == ids[number % len(ids)]]
    st.session_state[PROMPT] = str(rows[0]["prompt"])
    for key, row in zip((FIRST, SECOND), rows, strict=False):
        st.session_state[key] = str(row["reply"])


def scales() -> dict[int, float]:
    """Features that are switched off (0) or scaled; those at 1 count as untouched but stay on the bench."""
    return dict(st.session_state.get(_SCALES, {}))


def generation() -> int:
    """Grows when the scales were set from elsewhere than the table, which must then be drawn anew."""
    return int(st.session_state.get(_GENERATION, 0))


def change_scales(new: Mapping[int, float]) -> None:
    """Set the scales from a widget that shows them already; the old ones can be had back."""
    if dict(new) != scales():
        st.session_state.setdefault(_HISTORY, []).append(scales())
        del st.session_state[_HISTORY][:-50]
        st.session_state[_SCALES] = dict(new)


def set_scales(new: Mapping[int, float]) -> None:
    """Set the scales from elsewhere: a link, or a button."""
    change_scales(new)
    st.session_state[_GENERATION] = generation() + 1


def undo() -> None:
    """Go one change back."""
    if history := st.session_state.get(_HISTORY):
        st.session_state[_SCALES] = history.pop()
        st.session_state[_GENERATION] = generation() + 1


def can_undo() -> bool:
    """Whether there is a change to go back."""
    return bool(st.session_state.get(_HISTORY))


def parsed_scales(text: str) -> dict[int, float]:
    """Scales from `12:0,44:2.5`; what is not of this form is left out."""
    found: dict[int, float] = {}
    for part in text[:2000].split(","):
        name, _, value = part.partition(":")
        try:
            scale = float(value)
        except ValueError:
            continue
        if name.isascii() and name.isdigit() and len(name) < 10 and math.isfinite(scale):
            found[int(name)] = min(max(round(scale / STEP) * STEP, LOW), HIGH)
    return found


def written_scales(scales: Mapping[int, float]) -> str:
    """Scales as `12:0,44:2.5`."""
    return ",".join(f"{feature}:{scale:g}" for feature, scale in scales.items())
