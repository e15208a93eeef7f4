"""What pages ask the backend; answers are kept by what was asked, so that going back costs nothing."""

import contextlib
import os
import secrets
import threading
from pathlib import Path
from typing import TypeVar

import streamlit as st

from rmviz.backend.client import Backend, backend
from rmviz.backend.wire import AblateAnswer, FeaturesAnswer, PrefixAnswer, ScoreAnswer
from rmviz.backend.wire_pair import PairAnswer, ShapleyAnswer
from rmviz.errors import RmvizError
from rmviz.types import Pair, Text
from rmviz.ui import router
from rmviz.ui.words import plain

Answer = TypeVar("Answer")
Numbers = tuple[tuple[int, float], ...]
"""Features and a number each, sorted: their scales (0 off, 1 as it is), or the values that they are set to."""


# shared, never changed: a copy of thousands of rows for every click would take longer than the click
@st.cache_resource(max_entries=128, show_spinner=False)
def _features(root: str, model: str, sae: str, prompt: str, reply: str, _view: str) -> FeaturesAnswer:
    return backend(Path(root)).features(model, sae, live_text(prompt, reply), limit=100_000, view=_view)


@st.cache_resource(max_entries=128, show_spinner=False)
def _prefixes(root: str, model: str, prompt: str, reply: str, _view: str) -> PrefixAnswer:
    return backend(Path(root)).prefixes(model, live_text(prompt, reply), view=_view)


@st.cache_data(max_entries=512, show_spinner=False)
def _ablation(
    root: str,
    model: str,
    sae: str,
    prompt: str,
    reply: str,
    scales: Numbers,
    values: Numbers,
    prefixes: bool,
    _view: str,
) -> AblateAnswer:
    text, edit = live_text(prompt, reply), {"scales": dict(scales), "values": dict(values)}
    return backend(Path(root)).ablate(model, sae, text, **edit, with_prefixes=prefixes, view=_view)


@st.cache_data(max_entries=256, show_spinner=False)
def _scores(root: str, model: str, dataset: str, chunk: int, _texts: list[Text]) -> ScoreAnswer:
    return backend(Path(root)).score(model, _texts)


@st.cache_data(max_entries=128, show_spinner=False)
def _pair(root: str, model: str, sae: str, texts: tuple[str, str, str], _view: str) -> PairAnswer:
    return backend(Path(root)).pair(model, sae, _live_pair(texts), view=_view)


@st.cache_data(max_entries=128, show_spinner=False)
def _shapley(
    root: str, model: str, sae: str, texts: tuple[str, str, str], num_features: int, num_permutations: int, _view: str
) -> ShapleyAnswer:
    size = {"num_features": num_features, "num_permutations": num_permutations}
    return backend(Path(root)).shapley(model, sae, _live_pair(texts), view=_view, **size)


def features(model: str, sae: str, prompt: str, reply: str, view: str) -> FeaturesAnswer:
    """Every feature that fires on a text, with its exact effect, and the reward of each prefix."""
    root = str(_ready().root)
    return _told(_features(root, model, sae, prompt, reply, _session(view)))


def prefixes(model: str, prompt: str, reply: str, view: str) -> PrefixAnswer:
    """The reward after each token of a text."""
    return _told(_prefixes(str(_ready().root), model, prompt, reply, _session(view)))


def ablation(
    model: str, sae: str, prompt: str, reply: str, scales: Numbers, values: Numbers, view: str, *, with_prefixes: bool
) -> AblateAnswer:
    """The reward of a text with each feature scaled or set as given, beside the clean one."""
    root = str(_ready().root)
    return _told(_ablation(root, model, sae, prompt, reply, scales, values, with_prefixes, _session(view)))


def scores(model: str, dataset: str, chunk: int, texts: list[Text]) -> ScoreAnswer:
    """The rewards of one chunk of a dataset; `chunk` and the ids say which texts these are."""
    return _told(_scores(str(_ready().root), model, dataset, chunk, texts))


def pair(model: str, sae: str, one: Pair, view: str) -> PairAnswer:
    """The margin of a pair taken apart."""
    root = str(_ready().root)
    return _told(_pair(root, model, sae, (one.prompt, one.chosen, one.rejected), _session(view)))


def shapley(model: str, sae: str, one: Pair, num_features: int, num_permutations: int, view: str) -> ShapleyAnswer:
    """Shapley values of a pair's top features; after fewer permutations, only what more ones add is computed."""
    root, texts = str(_ready().root), (one.prompt, one.chosen, one.rejected)
    return _told(_shapley(root, model, sae, texts, num_features, num_permutations, _session(view)))


def _live_pair(texts: tuple[str, str, str]) -> Pair:
    return Pair(pair_id="live", prompt=texts[0], chosen=texts[1], rejected=texts[2])


def live_text(prompt: str, reply: str) -> Text:
    """A text that was typed."""
    return Text(text_id="live", prompt=prompt, reply=reply)


def warm(root: Path) -> None:
    """Start the backend while the first page is read, where `rmviz app` opened it: loading torch takes seconds."""
    if os.environ.get("RMVIZ_WARM"):
        _warmed(str(root))


@st.cache_resource(show_spinner=False)
def _warmed(root: str) -> threading.Thread:
    def ask() -> None:
        with contextlib.suppress(RmvizError):  # told to whoever asks for something live
            backend(Path(root)).health()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


def _ready() -> Backend:
    """The connection; a backend that is not there is started, with a word on the screen while that takes long."""
    with st.spinner("Starting the backend, which holds the models"):
        return backend(router.workspace().root)


def _told(answer: Answer) -> Answer:
    """The answer, after what the user should know of the backend was said."""
    for notice in backend(router.workspace().root).notices():
        st.toast(plain(notice[:1].upper() + notice[1:]) + ".", icon=":material/restart_alt:", duration="long")
    return answer


def _session(view: str) -> str:
    """A name of this view in this browser tab, so that a newer request replaces only one's own older ones."""
    return f"{st.session_state.setdefault('_session', secrets.token_hex(6))}/{view}"
