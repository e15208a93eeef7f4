import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from rmviz.backend.client import Backend
from rmviz.backend.letters import pair_in

REPO = Path(__file__).resolve().parents[2]
SYNTHETIC = runpy.run_path(str(REPO / "tests" / "pages" / "synthetic.py"))
FAKE = runpy.run_path(str(REPO / "tests" / "browser" / "fake_backend.py"))


class FakeBackend(Backend):
    """Answers as the backend would, without a process; `broken` is raised instead when it is set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []
        self.broken: Exception | None = None
        self.broken_models: dict[str, Exception] = {}
        self.requests: list[str] = []
        self.asked: list[object] = []

    def _ask(self, path: str, request: object) -> object:
        self.requests.append(path)
        self.asked.append(request)
        broken = self.broken or self.broken_models.get(getattr(request, "model", ""))
        if broken is not None:
            raise broken
        return FAKE["answer"](path, request.model_dump_json().encode())  # type: ignore[attr-defined]

    def score(self, model, texts, *, view=""):
        wire = FAKE["wire"]
        return self._ask("/score", wire.ScoreRequest(model=model, texts=[wire.TextIn.of(t) for t in texts]))

    def prefixes(self, model, text, *, view=""):
        wire = FAKE["wire"]
        return self._ask("/prefixes", wire.PrefixRequest(model=model, text=wire.TextIn.of(text)))

    def features(self, model, sae, text, *, limit=500, with_prefixes=True, view=""):
        wire = FAKE["wire"]
        return self._ask("/features", wire.FeaturesRequest(model=model, sae=sae, text=wire.TextIn.of(text)))

    def ablate(self, model, sae, text, scales, *, values=None, with_prefixes=False, view=""):
        wire = FAKE["wire"]
        given = {"text": wire.TextIn.of(text), "scales": scales, "values": values or {}}
        request = wire.AblateRequest(model=model, sae=sae, **given)
        return self._ask("/ablate", request)

    def pair(self, model, sae, pair, *, view=""):
        return self._ask("/pair", FAKE["PairRequest"](model=model, sae=sae, pair=pair_in(pair)))

    def shapley(self, model, sae, pair, *, num_features=10, num_permutations=64, seed=0, view=""):
        size = {"num_features": num_features, "num_permutations": num_permutations}
        return self._ask("/shapley", FAKE["ShapleyRequest"](model=model, sae=sae, pair=pair_in(pair), **size))

    def notices(self) -> list[str]:
        told, self.told = self.told, []
        return told


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Artifacts of the synthetic workspace, by kind."""
    return SYNTHETIC["build"](tmp_path_factory.mktemp("pages") / "workspace")


@pytest.fixture(scope="session")
def mapped(tmp_path_factory):
    """Artifacts of a synthetic workspace with maps, by name."""
    build = runpy.run_path(str(REPO / "tests" / "pages" / "synthetic_maps.py"))["build"]
    return build(tmp_path_factory.mktemp("mapped") / "workspace")


@pytest.fixture
def fake(planted, monkeypatch) -> FakeBackend:
    double = FakeBackend(planted["sae"].folder.parents[1])
    monkeypatch.setattr("rmviz.ui.live.backend", lambda root: double)
    return double


@pytest.fixture
def open_page(planted, fake, monkeypatch) -> Iterator[Callable[..., AppTest]]:
    """Open a page of the app, as a browser would: page name, then query parameters."""

    def opened(page: str = "overview", root: Path | None = None, **params: str) -> AppTest:
        monkeypatch.setenv("RMVIZ_WORKSPACE", str(root or fake.root))
        test = AppTest.from_file(str(REPO / "app.py"), default_timeout=30)
        for name, value in params.items():
            test.query_params[name] = value
        test.switch_page(f"pages/{page}.py").run()
        assert not test.exception, test.exception
        return test

    _forget()
    yield opened
    _forget()


def _forget() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


def shown(test: AppTest) -> str:
    """All text and HTML of a page."""
    kinds = ("markdown", "caption", "title", "subheader", "header", "error", "warning", "info", "success", "code")
    parts = [str(element.value) for kind in kinds for element in getattr(test, kind)]
    return "\n".join(parts + [str(element.value) for element in test.get("html")])


@pytest.fixture
def text_of() -> Callable[[AppTest], str]:
    return shown
