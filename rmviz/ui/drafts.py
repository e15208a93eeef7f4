"""What stands in the Playground: the texts that are typed, the text that they are compared with, and their address.

Texts of the data are named by their ids, short ones stand in the URL, long ones are kept in the workspace under an id that
is made from their content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from rmviz.errors import RmvizError
from rmviz.store.artifact import Artifact
from rmviz.store.kept import keep, kept
from rmviz.ui import cached, pickers, router
from rmviz.ui.active import EDIT, PAIR, Comparison
from rmviz.ui.edited import KEPT, MAX_LINK
from rmviz.ui.words import plain

PROMPT, FIRST, SECOND = "pg-prompt", "pg-a", "pg-b"
"""Session keys of the three text fields."""

MODES = {"text": "One text", "pair": "A pair", "edit": "Change a text"}
_FIELDS = {"prompt": PROMPT, "a": FIRST, "b": SECOND, "base_prompt": "_pg-base-prompt", "base": "_pg-base"}
"""Parameters of the URL that hold texts, and the session keys behind them."""

TOO_LONG = "What is here is too long for a link, and this workspace is read-only: the address does not hold it."

_SOURCE = "_pg-source"


@dataclass(frozen=True)
class Draft:
    """What the user has typed: a prompt and one reply or two, or a text and what it was before."""

    mode: str
    prompt: str
    first: str
    second: str = ""
    base: tuple[str, str] = field(default=("", ""))
    """Prompt and reply before they were changed."""

    @property
    def texts(self) -> list[tuple[str, str, str]]:
        """Name, prompt and reply of each text that is not empty."""
        if self.mode == "pair":
            named = [("Reply A", self.prompt, self.first), ("Reply B", self.prompt, self.second)]
            return [one for one in named if one[2].strip()]
        named = [("After" if self.mode == "edit" else "Text", self.prompt, self.first)]
        named = [("Before", *self.base), *named] if self.mode == "edit" else named
        return [one for one in named if (one[1] + one[2]).strip()]

    @property
    def comparison(self) -> Comparison | None:
        """How its two texts are set against each other; None where there is one."""
        return None if len(self.texts) < 2 else PAIR if self.mode == "pair" else EDIT

    @property
    def changed(self) -> bool:
        """Whether a text is compared with what it was before, and is another now."""
        return self.mode == "edit" and self.comparison is not None and self.base != (self.prompt, self.first)


def current(mode: str) -> Draft:
    """The texts as last submitted; a text that begins to be changed is its own base."""
    values = _values()
    if mode == "edit" and not (values["base"] + values["base_prompt"]).strip():
        take_base()
        values = _values()
    pair, edit = mode == "pair", mode == "edit"
    return Draft(
        mode,
        values["prompt"],
        values["a"],
        values["b"] if pair else "",
        (values["base_prompt"], values["base"]) if edit else ("", ""),
    )


def take_base() -> None:
    """The text that stands in the fields becomes the one that changes are compared with."""
    st.session_state[_FIELDS["base_prompt"]] = st.session_state.get(PROMPT, "")
    st.session_state[_FIELDS["base"]] = st.session_state.get(FIRST, "")


def back_to_base() -> None:
    """The fields hold the base again."""
    st.session_state[PROMPT] = st.session_state.get(_FIELDS["base_prompt"], "")
    st.session_state[FIRST] = st.session_state.get(_FIELDS["base"], "")


def take_link() -> None:
    """Fill the fields from the URL where a link brought something: the texts, their ids, or the id of a kept draft.

    A text that the link does not name is empty.
    """
    if any(pickers.arrived(param) is not None for param in _FIELDS):
        given = {param: st.query_params[param] for param in _FIELDS if param in st.query_params}
        _fill(given)
        for param, value in given.items():
            pickers.keep_in_url(param, value)
    if (key := pickers.arrived("texts")) is not None:
        pickers.keep_in_url("texts", key)
        try:
            _fill({n: str(v) for n, v in kept(router.workspace().root, KEPT, key).items() if n in _FIELDS})
        except RmvizError as error:
            st.warning(plain(f"{str(error)[:1].upper()}{str(error)[1:]}"))
    for owner, item in (("effects", "text"), ("effects", "pair"), ("dataset", "pair")):
        owner_id = st.query_params.get(owner)
        if owner_id is not None and (item_id := pickers.arrived(item)) is not None:
            pickers.keep_in_url(item, item_id)
            pickers.keep_in_url(owner, owner_id)
            if not _fill_from(owner_id, item, item_id):
                st.warning(f"The {item} “{plain(item_id[:80])}” is not in this workspace.")


def keep_link(draft: Draft) -> bool:
    """Write the texts, or their ids, into the URL; False where they are too long and the workspace cannot keep them."""
    parts = {"prompt": draft.prompt, "a": draft.first, "b": draft.second}
    parts |= {"base_prompt": draft.base[0], "base": draft.base[1]}
    parts = {name: text for name, text in parts.items() if text}
    params: dict[str, str] = {}
    source, texts = st.session_state.get(_SOURCE, ({}, {}))
    if parts and parts == {name: text for name, text in texts.items() if text}:
        params = dict(source)
    elif sum(map(len, parts.values())) <= MAX_LINK:
        params = parts
    elif not router.is_read_only():
        params = {"texts": keep(router.workspace().root, KEPT, parts)}
    for name in (*_FIELDS, "texts", "text", "pair", "effects", "dataset"):
        pickers.keep_in_url(name, params.get(name))
    return bool(params) or not parts


def fill_example(effects: Artifact, mode: str) -> None:
    """Put the next pair of a result's texts into the fields (a callback of a button)."""
    ids = list(dict.fromkeys(cached.texts(effects)["pair_id"].tolist()))
    number = st.session_state.get("_pg-example", -1) + 1
    st.session_state["_pg-example"] = number
    rows = _rows(effects, ids[number % len(ids)])
    if mode == "pair" and len(rows) > 1:
        _fill_from(effects.id, "pair", str(ids[number % len(ids)]))
    else:
        _fill_from(effects.id, "text", str(rows[0]["text_id"]))
    if mode == "edit":
        take_base()


def link_to_pair(dataset: str, pair_id: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Parameters that open a row of a dataset in the Playground: its texts where they are short, else its ids."""
    if sum(map(len, texts.values())) > MAX_LINK:
        return {"dataset": dataset, "pair": pair_id}
    return {name: text for name, text in texts.items() if text}


def _fill_from(owner_id: str, item: str, item_id: str) -> bool:
    """Fill the fields with a text or a pair of an artifact; whether it has it."""
    owner = next((a for a in router.workspace().list() if a.id == owner_id and a.kind in ("effects", "dataset")), None)
    texts: dict[str, str] = {}
    if owner is not None and owner.kind == "dataset":
        table = cached.dataset(owner)
        rows = table.loc[table["pair_id"] == item_id].to_dict("records")
        texts = {n: str(rows[0][c]) for n, c in _COLUMNS.items() if isinstance(rows[0][c], str)} if rows else {}
    elif owner is not None and item == "pair":
        rows = _rows(owner, item_id)
        texts = {"prompt": str(rows[0]["prompt"])} if rows else {}
        texts |= {name: str(row["reply"]) for name, row in zip("ab", rows, strict=False)}
    elif owner is not None and (found := cached.text_by_id(owner, item_id)):
        texts = dict(zip(("prompt", "a"), found, strict=True))
    if texts:
        _fill(texts)
        owner_param = owner.kind if owner is not None else ""
        params = {owner_param: owner_id, item: item_id}
        st.session_state[_SOURCE] = (params, texts)
    return bool(texts)


_COLUMNS = {"prompt": "prompt", "a": "chosen", "b": "rejected"}


def _rows(effects: Artifact, pair_id: str) -> list[dict[str, object]]:
    """The texts of a pair, the chosen one first."""
    texts = cached.texts(effects)
    rows = [{str(n): v for n, v in row.items()} for row in texts[texts["pair_id"] == pair_id].to_dict("records")]
    return sorted(rows, key=lambda row: str(row["side"]))


def _fill(values: Mapping[str, str]) -> None:
    """The fields hold these texts and nothing older; they say the mode where the URL does not."""
    for name, key in _FIELDS.items():
        st.session_state[key] = values.get(name, "")
    if "mode" not in st.query_params:
        st.session_state[pickers.choice_key("mode")] = "pair" if values.get("b") else "text"


def _values() -> dict[str, str]:
    return {name: str(st.session_state.get(key) or "") for name, key in _FIELDS.items()}
