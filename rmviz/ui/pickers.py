"""Choosing what a page shows. The choice stands in the URL as a plain id, and a link that arrives wins."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.ui.words import moment, plain

PAGE = "_page"
_WRITTEN = "_written-"


def arrived(param: str) -> str | None:
    """The URL's value of a parameter if somebody else set it (a link, the address bar) since this session wrote it."""
    value = st.query_params.get(param)
    return None if value is None or value == st.session_state.get(_WRITTEN + param) else value


def keep_in_url(param: str, value: str | None) -> None:
    """Write a parameter into the URL, or take it out."""
    if value is None:
        st.query_params.pop(param, None)
        st.session_state.pop(_WRITTEN + param, None)
    elif st.query_params.get(param) != value:
        st.query_params[param] = value
    if value is not None:
        st.session_state[_WRITTEN + param] = value


def labels(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """What to call each artifact: its name, with date and id where names repeat."""
    counts = Counter(artifact.name for artifact in artifacts)
    return {a.id: a.name if counts[a.name] == 1 else f"{a.name} · {moment(a.created)} · {a.id[-8:]}" for a in artifacts}


def artifact_picker(label: str, artifacts: Sequence[Artifact], param: str, help: str | None = None) -> Artifact | None:
    """One of these artifacts, newest first; None where there is none. The URL's `param` may hold its id or its name."""
    if not artifacts:
        return None
    ids = [artifact.id for artifact in artifacts]
    key = f"pick-{param}"
    wanted = arrived(param)
    if wanted is not None:
        named = next((a.id for a in artifacts if wanted in (a.id, a.name)), None)
        if named is None:
            st.warning(f"Nothing to choose under “{label}” is called “{plain(wanted[:120])}”; the newest is shown.")
        st.session_state[key] = named or ids[0]
    if st.session_state.get(key) not in ids:
        st.session_state[key] = ids[0]
    names = labels(artifacts)
    picked = st.selectbox(
        label, ids, format_func=lambda i: names.get(str(i), ""), key=key, help=help, persist_state="session"
    )
    keep_in_url(param, picked)
    return next((artifact for artifact in artifacts if artifact.id == picked), None)


def choice(
    label: str,
    options: Mapping[str, str],
    param: str,
    default: str,
    *,
    help: str | None = None,
    label_visibility: Literal["visible", "collapsed"] = "visible",
) -> str:
    """One of a few named options as buttons; its id stands in the URL under `param` unless it is the default."""
    key = choice_key(param)
    wanted = arrived(param)
    if wanted in options:
        st.session_state[key] = wanted
    if st.session_state.get(key) not in options:
        st.session_state[key] = default
    picked = st.segmented_control(
        label,
        list(options),
        format_func=lambda name: options[name],
        key=key,
        required=True,
        help=help,
        label_visibility=label_visibility,
        persist_state="session",
    )
    chosen = picked if picked in options else default
    keep_in_url(param, None if chosen == default else chosen)
    return str(chosen)


def named(label: str, options: Mapping[str, str], param: str) -> str:
    """One of many named options from a list, the first at first; it stands in the URL under `param`."""
    names = list(options)
    key = choice_key(param)
    if (wanted := arrived(param)) in options:
        st.session_state[key] = wanted
    if st.session_state.get(key) not in options:
        st.session_state[key] = names[0]
    picked = st.selectbox(
        label, names, format_func=lambda name: options[name], key=key, persist_state="session", width=300
    )
    chosen = picked if picked in options else names[0]
    keep_in_url(param, None if chosen == names[0] else chosen)
    return str(chosen)


def choice_key(param: str) -> str:
    """The session key of a choice: each page has its own."""
    return f"pick-{st.session_state.get(PAGE, '')}-{param}"


def turn_page(page: str) -> None:
    """Note which page runs. On another page than before, every parameter of the URL counts as new."""
    if st.session_state.get(PAGE) != page:
        st.session_state[PAGE] = page
        for name in [name for name in st.session_state if str(name).startswith(_WRITTEN)]:
            del st.session_state[name]


def descendants(artifacts: Iterable[Artifact], parent: str, kind: str) -> list[Artifact]:
    """The artifacts of a kind that were made from this one."""
    return [artifact for artifact in artifacts if artifact.kind == kind and parent in artifact.parents]
