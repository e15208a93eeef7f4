"""What stands around every page: the logo, the workspace's name, and how an error is told."""

import functools
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import streamlit as st

from rmviz.backend.wire import ReplacedError
from rmviz.errors import BackendError, RmvizError
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import banner, live, router
from rmviz.ui.words import plain

P = ParamSpec("P")
_log = logging.getLogger(__name__)


def sidebar(workspace: Workspace) -> None:
    """Logo above the navigation; below it, which workspace this is."""
    assets = router.ROOT / "assets"
    word = "wordmark-dark.svg" if st.context.theme.type == "dark" else "wordmark.svg"
    st.logo(str(assets / word), icon_image=str(assets / "logo.svg"), size="large")
    if workspace.list("reward_model"):
        live.warm(workspace.root)
    with st.sidebar:
        st.caption(f"Workspace  \n{plain(_short_path(workspace.root))}", help=plain(str(workspace.root)))


def title(text: str, sae: Artifact | None = None) -> None:
    """The page's title; beside it, how to read effects and, where one is given, the SAE's report card."""
    with st.container(horizontal=True, vertical_alignment="center", key="rm-title"):
        st.title(text, width="content")
        banner.report_popover(sae)
        banner.how_to_read()


@functools.cache
def settle() -> None:
    """Spare the collector the libraries: Streamlit runs it in full after every run, 50 ms each with all of them."""
    gc.collect()
    gc.freeze()


def problem(error: RmvizError) -> None:
    """Tell an error as the sentence that it is; never as a traceback."""
    _log.warning("%s: %s", type(error).__name__, error)
    words = str(error)
    st.error(plain(words[:1].upper() + words[1:]), icon=":material/error:")
    if isinstance(error, BackendError):
        st.button("Try again", icon=":material/refresh:", key="retry")


def fragment(function: Callable[P, None]) -> Callable[P, None]:
    """A part of a page that runs again by itself; app.py is not around it then, so errors are told here.

    A request to the backend that a newer one has replaced ends the run quietly: the newer one draws.
    """

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ReplacedError:
            return
        except RmvizError as error:
            problem(error)

    return st.fragment(told)


def _short_path(path: Path) -> str:
    home = Path.home()
    text = f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)
    return text if len(text) <= 60 else "…" + text[-59:]
