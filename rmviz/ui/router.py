"""Which pages there are, and that none of them runs without the frame that app.py lays around it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException, StreamlitPageNotFoundError
from streamlit.navigation.page import StreamlitPage

from rmviz.store.workspace import Workspace, default_root

_REPO = Path(__file__).resolve().parents[2]
ROOT = _REPO if (_REPO / "pages" / "overview.py").exists() else Path(__file__).resolve().parents[1] / "_app"
"""Where app.py, pages/ and assets/ lie: the checkout, or `_app` inside an installed package."""

_RAN = "_app_ran"
_TRIED = "_app_wanted"


_PAGES = {
    "": [("overview", "Overview", "home")],
    "Look": [
        ("features", "Features", "leaderboard"),
        ("models", "Models", "thumbs_up_down"),
        ("compare", "Compare", "compare_arrows"),
        ("maps", "Maps", "grid_view"),
        ("probes", "Probes", "science"),
        ("policies", "Policies", "route"),
        ("experiments", "Experiments", "biotech"),
        ("data", "Data", "table_rows"),
        ("trees", "Trees", "account_tree"),
        ("margins", "Margins", "balance"),
        ("pair", "Pair", "call_split"),
        ("derivation", "Derivation", "account_tree"),
    ],
    "Try": [("playground", "Playground", "tune"), ("lander", "Lander", "explore")],
    "Make": [("train", "Train", "model_training"), ("jobs", "Jobs", "checklist")],
}
"""Sections of the navigation: file, title and icon of each page; the first is the default."""


def build(*, icons: bool = True) -> StreamlitPage:
    """Tell Streamlit which pages there are; the one that the address names."""
    sections = {
        section: [
            st.Page(
                ROOT / "pages" / f"{name}.py",
                title=title,
                icon=f":material/{icon}:" if icons else None,
                default=name == "overview",
            )
            for name, title, icon in pages
        ]
        for section, pages in _PAGES.items()
    }
    return st.navigation(sections, expanded=True)  # it would fold away the last sections


def enter() -> None:
    """Note that app.py runs; called by app.py alone, before the page."""
    st.session_state[_RAN] = True


def guard() -> None:
    """Go through app.py when Streamlit ran a page file by itself; first line of every page.

    With a folder called pages/ beside app.py, a cold server runs the page of a deep link without app.py; naming the
    pages and running again sets that right. A page that is run as the main script (a test) goes on after one try.
    """
    if not st.session_state.get(_RAN) and not st.session_state.get(_TRIED):
        st.session_state[_TRIED] = True
        build(icons=False)  # without app.py's own icon, the browser would fetch the page's from the network
        st.rerun()


def workspace() -> Workspace:
    """The workspace of this app: the argument after `--`, else `RMVIZ_WORKSPACE`, else ./workspace."""
    return Workspace(_argument() or default_root())


def _argument() -> str:
    if Path(sys.argv[0]).name != "app.py":
        return ""
    words = [part for word in sys.argv[1:] for part in word.split("=", 1)]
    if "--workspace" in words[:-1]:
        return words[words.index("--workspace") + 1]
    return words[0] if words and not words[0].startswith("-") else ""


def page_link(page: str, label: str, query_params: Mapping[str, str] | None = None, icon: str | None = None) -> None:
    """A link to a page of this app that keeps the session; its name alone where the pages are not known."""
    try:
        st.page_link(ROOT / "pages" / f"{page}.py", label=label, icon=icon, query_params=dict(query_params or {}))
    except StreamlitPageNotFoundError:
        st.markdown(label)


def go(page: str, query_params: Mapping[str, str]) -> None:
    """Open a page of this app at once; a link to it where the pages are not known."""
    try:
        st.switch_page(ROOT / "pages" / f"{page}.py", query_params=dict(query_params))
    except StreamlitAPIException:
        page_link(page, f"Open {page.capitalize()}", query_params)


def is_read_only() -> bool:
    """Whether the workspace is one that this process must not write."""
    root = workspace().root
    return root.exists() and not os.access(root, os.W_OK)
