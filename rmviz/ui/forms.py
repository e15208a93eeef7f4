"""A form made from a config: one widget per field by its type, its docstring as the help, its checks beside it."""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import streamlit as st

from rmviz.configs.base import field_docs, parents, required
from rmviz.configs.files import config_of
from rmviz.configs.kinds import KINDS
from rmviz.configs.presets import PRESETS
from rmviz.errors import ConfigError
from rmviz.store.artifact import Artifact
from rmviz.ui.pickers import labels
from rmviz.ui.words import listed, plain, shortened

_SHORT = 70
"""Characters of a field's meaning that its label holds; of a longer one, its first clause."""

LARGEST = 2**53 - 1
"""Beyond it a browser cannot tell whole numbers apart."""


def config_form(kind: str, artifacts: Sequence[Artifact], values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Draw a kind's form: what must be said, what is often changed, and the rest folded away; what stands in it.

    Args:
        kind: The job kind.
        artifacts: What the workspace holds, newest first.
        values: What the fields hold at first.
        key: Session keys of the widgets begin so; another key is another form.
    """
    first, often, rest = field_groups(kind)
    found = _drawn(kind, first, artifacts, values, key)
    if often:
        found |= _drawn(kind, often, artifacts, values, key)
    if rest:
        with st.expander("More settings", key=f"{key}-more"):
            found |= _drawn(kind, rest, artifacts, values, key)
    return {f.name: found[f.name] for f in fields(KINDS[kind])}


def field_groups(kind: str) -> tuple[list[str], list[str], list[str]]:
    """Fields of a kind: those without a default; its name, what presets change, what else often changes; the others."""
    changed = {name for preset in PRESETS.get(kind, {}).values() for name in preset} | {"name"}
    every = fields(KINDS[kind])
    changed |= {f.name for f in every if f.metadata.get("often") or "artifact" in f.metadata}
    first = [f.name for f in every if required(f)]
    rest = [f.name for f in every if not required(f) and f.name not in changed]
    often = [f.name for f in every if f.name not in (*first, *rest)]
    return (first, often, rest) if len(rest) > 2 else (first, [*often, *rest], [])


def default_values(kind: str) -> dict[str, Any]:
    """What the form holds before anything is chosen; fields without a default hold None."""
    return {f.name: _default(f) for f in fields(KINDS[kind])}


def checked(kind: str, values: Mapping[str, Any]) -> tuple[Any, str]:
    """The config that the form's values make, or None and the sentence that says why there is none."""
    empty = [f.name for f in fields(KINDS[kind]) if required(f) and values.get(f.name) in (None, "")]
    if empty:
        return None, f"{listed(empty)} {'is' if len(empty) == 1 else 'are'} still empty."
    try:
        return config_of(kind, dict(values)), ""
    except ConfigError as error:
        words = str(error)  # one that begins with a field keeps the field's spelling
        return None, f"{words if words.split()[0] in values else words[:1].upper() + words[1:]}."


def fits_form(values: Mapping[str, Any]) -> None:
    """Refuse numbers that no field of a web page can hold.

    Raises:
        ConfigError: A number is infinite, or too large.
    """
    for name, value in values.items():
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST):
            raise ConfigError(f"{name} must be a number up to {LARGEST:,} here, got {value}; the command line takes it")


def widget_key(key: str, name: str) -> str:
    """The session key of a field's widget."""
    return f"{key}-{name}"


def _default(f: "Field[Any]") -> Any:
    if required(f):
        return None
    return f.default if f.default_factory is MISSING else f.default_factory()


def _drawn(
    kind: str, names: Sequence[str], artifacts: Sequence[Artifact], values: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """Widgets of some fields in two columns."""
    by_name, hints = {f.name: f for f in fields(KINDS[kind])}, get_type_hints(KINDS[kind])
    docs, kinds, found = field_docs(KINDS[kind]), parents(KINDS[kind]), {}
    columns: Sequence[Any] = ()
    for number, name in enumerate(names):
        if number % 2 == 0:
            columns = st.columns(2, gap="medium", vertical_alignment="bottom")
        with columns[number % 2]:
            at = widget_key(key, name)
            if name in kinds:
                options = [artifact for artifact in artifacts if artifact.kind in kinds[name]]
                found[name] = _parent(by_name[name], docs[name], options, kinds[name], values.get(name), at)
            else:
                found[name] = _widget(name, docs[name], hints[name], values.get(name), at, required(by_name[name]))
    return found


def _parent(
    f: "Field[Any]", doc: str, options: list[Artifact], kinds: Sequence[str], value: Any, key: str
) -> str | None:
    """An artifact of the workspace; where the config allows it, also a folder or a hub id that is typed in, or none."""
    name, external, needed = f.name, bool(f.metadata.get("external")), required(f)
    ids, names = [artifact.id for artifact in options], labels(options)
    wanted = next((a.id for a in options if value in (a.id, a.name)), value if external and value else None)
    if value and wanted is None:
        st.warning(
            f"{plain(name)}: there is no {_kinds(kinds)} called “{plain(shortened(str(value)))}”; choose another."
        )
    index = ids.index(wanted) if wanted in ids else (0 if ids and not value and needed else None)
    if index is None and wanted and key not in st.session_state:
        st.session_state[key] = wanted
    if st.session_state.get(key) not in (None, *ids) and not external:
        del st.session_state[key]  # it was deleted while the page was open
    nothing = f"no {_kinds(kinds)} yet" if not ids else f"choose a {_kinds(kinds)}" if needed else "none"
    picked = st.selectbox(
        _label(name, doc),
        ids,
        index=index,
        format_func=lambda i: names.get(str(i), str(i)),
        key=key,
        help=_help(doc),
        placeholder="a folder or a hub id, or choose" if external else nothing,
        accept_new_options=external,
        persist_state="session",
    )
    return (None if needed else "") if picked is None else str(picked).strip()


def _kinds(kinds: Sequence[str]) -> str:
    return " or ".join(kind.replace("_", " ") for kind in kinds)


def _widget(name: str, doc: str, hint: Any, value: Any, key: str, needed: bool) -> Any:
    """A field by its type; its label holds its meaning."""
    inner, optional = _inner(hint)
    shared: Any = {"key": key, "help": _help(doc), "persist_state": "session"}
    label = _label(name, doc)
    if get_origin(inner) is Literal:
        options = [None, *get_args(inner)] if optional else list(get_args(inner))
        index = options.index(value) if value in options else 0
        return st.selectbox(
            label, options, index=index, format_func=lambda o: "not set" if o is None else str(o), **shared
        )
    if get_origin(inner) is tuple:
        start = value if isinstance(value, str) else ", ".join(map(str, value or ()))
        text = st.text_input(label, start, placeholder="several, with commas", **shared)
        kind = next((arg for arg in get_args(inner) if arg is not Ellipsis), str)
        return _several(name, text or "", kind)
    if inner is bool:
        return st.toggle(label, bool(value), **shared)
    if inner in (int, float):
        start = value if value is not None or optional or needed else 0
        start = inner(start) if start is not None else None
        step: Any = 1 if inner is int else _step(start)
        number = st.number_input(label, value=start, step=step, format="%d" if inner is int else "%g", **shared)
        return number if number is not None or optional or needed else start
    text = st.text_input(label, str(value or ""), placeholder="needed" if needed else "", **shared)
    return text or (None if optional else "")


def _label(name: str, doc: str) -> str:
    """The field's name as files and the command line write it, and what it means in short."""
    return f"{name} · {_first(doc)}"  # without markup: a screen reader gets the label as it stands here


def _help(doc: str) -> str | None:
    """The rest of what a field means, if its label does not say all."""
    return plain(doc) if _first(doc) != doc.rstrip(".") else None


def _first(doc: str) -> str:
    return doc.split(". ")[0].split("; ")[0].rstrip(".") if len(doc) > _SHORT else doc.rstrip(".")


def _inner(hint: Any) -> tuple[Any, bool]:
    """A type without its `| None`, and whether it had one."""
    if isinstance(hint, types.UnionType) or get_origin(hint) not in (None, Literal, tuple):
        options = [option for option in get_args(hint) if option is not type(None)]
        return options[0], len(options) < len(get_args(hint))
    return hint, False


def _step(value: float | None) -> float:
    """What one click on + adds: the unit of the number's leading digit."""
    return 10.0 ** math.floor(math.log10(abs(value))) if value else 0.01


def _several(name: str, text: str, kind: type) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(kind(part) for part in parts)
    except ValueError:
        raise ConfigError(f"{name} must be {kind.__name__} values with commas between them, got {text!r}") from None
