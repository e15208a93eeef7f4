"""Which features of an SAE are changed in this browser tab: the edits, and the way back and forth."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from rmviz.errors import ConfigError, RmvizError
from rmviz.features.sets import Edit, Edits, parsed_edits, saved_set, written_edits
from rmviz.store.kept import keep, kept
from rmviz.ui import pickers, router
from rmviz.ui.words import plain

MAX_LINK = 1500
"""Characters of texts, and of edits, that go into the URL; mail and chat programs break longer links, so what is longer is
kept in the workspace, and the URL holds its id."""

KEPT = "drafts"
"""Folder of the workspace for what is too long for the URL."""

_STEPS = 100


class Edited:
    """The edits of one SAE's features; every SAE has its own, and so has every session."""

    def __init__(self, sae: str) -> None:
        """Look into this session's edits of an SAE."""
        self.sae = sae
        self._key = f"_pg-edits-{sae}"

    @property
    def now(self) -> Edits:
        """Features that are scaled or set; those at scale 1 change nothing but stay on the bench."""
        return dict(self._state["now"])

    @property
    def generation(self) -> int:
        """Grows when the edits were set from elsewhere than the table and the sliders, which must then be drawn anew."""
        return int(self._state["generation"])

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to go back."""
        return bool(self._state["past"])

    @property
    def can_redo(self) -> bool:
        """Whether a change was undone."""
        return bool(self._state["future"])

    def change(self, new: Mapping[int, Edit]) -> None:
        """Set the edits from a widget that shows them already; the old ones can be had back."""
        state = self._state
        if dict(new) == state["now"]:
            return
        state["past"].append(state["now"])
        del state["past"][:-_STEPS]
        state["future"].clear()
        state["now"] = dict(new)

    def put(self, new: Mapping[int, Edit]) -> None:
        """Set the edits from elsewhere: a button, or a saved set."""
        self.change(new)
        self._state["generation"] += 1

    def undo(self) -> None:
        """Go one change back."""
        self._turn("past", "future")

    def redo(self) -> None:
        """Take one change again that was undone."""
        self._turn("future", "past")

    def take_link(self) -> None:
        """Take over the edits that a link brought: written out, kept in the workspace, or a named set."""
        root = router.workspace().root
        for param in ("scales", "edits", "set"):
            if (value := pickers.arrived(param)) is None:
                continue
            pickers.keep_in_url(param, value)
            try:
                new = self._of_set(value) if param == "set" else parsed_edits(
                    value if param == "scales" else str(kept(root, KEPT, value).get("edits", ""))
                )  # fmt: skip
            except RmvizError as error:
                st.warning(plain(f"{str(error)[:1].upper()}{str(error)[1:]}"))
                continue
            self.put(new)

    def keep_link(self) -> bool:
        """Write the edits into the URL; False where they are too long and the workspace cannot keep them."""
        text = written_edits(self.now)
        key = None
        if len(text) > MAX_LINK and not router.is_read_only():
            key = keep(router.workspace().root, KEPT, {"edits": text})
        pickers.keep_in_url("scales", text if text and len(text) <= MAX_LINK else None)
        pickers.keep_in_url("edits", key)
        pickers.keep_in_url("set", None)
        return len(text) <= MAX_LINK or key is not None

    def _of_set(self, set_id: str) -> Edits:
        found = saved_set(router.workspace().root, set_id)
        if found.sae != self.sae:
            raise ConfigError(f"the set {found.name!r} is of the features of another SAE, {found.sae}; choose that one")
        return found.edits

    @property
    def _state(self) -> dict[str, Any]:
        return st.session_state.setdefault(self._key, {"now": {}, "past": [], "future": [], "generation": 0})

    def _turn(self, source: str, target: str) -> None:
        state = self._state
        if state[source]:
            state[target].append(state["now"])
            state["now"] = state[source].pop()
            state["generation"] += 1
