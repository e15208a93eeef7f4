"""A real browser on the real app: `streamlit run app.py` with a synthetic workspace and a stand-in backend."""

import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
NUM_PAGES = len(list((REPO / "pages").glob("*.py")))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("RMVIZ_CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = _chromium()
    if path is None:
        assert not os.environ.get("CI"), (
            "CI must not skip the browser tests: install Chromium, or name it in RMVIZ_CHROMIUM"
        )
        pytest.skip("no Chromium found; install one or name it in RMVIZ_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{url}: the process ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return  # something that answers, if only that a token is missing
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds} s")


class App:
    """Servers of one workspace; `restart` gives a cold Streamlit."""

    def __init__(self, root: Path, *, real: bool = False) -> None:
        self.root = root
        self.backend_port, self.port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "RMVIZ_WORKSPACE": str(root),
            "RMVIZ_BACKEND": f"http://127.0.0.1:{self.backend_port}",
            "RMVIZ_BACKEND_TOKEN": "test",
        }
        serve = f"from rmviz.backend.service import serve; serve({str(root)!r}, port={self.backend_port})"
        if real:  # the backend itself answers 401 until a token comes: it stands then
            self.backend = self._start([sys.executable, "-c", serve], f"http://127.0.0.1:{self.backend_port}/health")
            self.streamlit = self._streamlit()
            return
        fake = [sys.executable, str(Path(__file__).with_name("fake_backend.py")), str(self.backend_port)]
        self.backend = self._start(fake, f"http://127.0.0.1:{self.backend_port}/health")
        self.streamlit = self._streamlit()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restart(self) -> None:
        self._stop(self.streamlit)
        self.port = free_port()
        self.streamlit = self._streamlit()

    def close(self) -> None:
        for process in self.processes:
            self._stop(process)

    def _streamlit(self) -> subprocess.Popen[bytes]:
        flags = [f"--server.port={self.port}", "--server.headless=true"]
        return self._start([sys.executable, "-m", "streamlit", "run", "app.py", *flags], f"{self.url}/_stcore/health")

    def _start(self, command: list[str], health: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, cwd=REPO, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        wait_for(health, process)
        return process

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def make_app(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., App]]:
    apps: list[App] = []

    def made(world: str = "synthetic", **sizes: int) -> App:
        root = tmp_path_factory.mktemp("browser") / "workspace"
        runpy.run_path(str(REPO / "tests" / "pages" / f"{world}.py"))["build"](root, **sizes)
        apps.append(App(root))
        return apps[-1]

    yield made
    for app in apps:
        app.close()


@pytest.fixture(scope="session")
def app(make_app: Callable[..., App]) -> App:
    return make_app()


@pytest.fixture(scope="session")
def maps_app(make_app: Callable[..., App]) -> App:
    return make_app("synthetic_maps")


class Watched:
    """A browser tab, and whatever went wrong in it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.troubles: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        page.on("console", self._console)
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        """Streamlit asks below the page's own address first, in vain, where it is served."""
        if message.type == "error" and "/_stcore/" not in message.location.get("url", ""):
            self.troubles.append(f"console: {message.text} {message.location}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.troubles.append(f"request to {request.url}")

    def open(self, path: str, title: str = "") -> Any:
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1", timeout=60_000)
        self.settle()
        if title:
            assert self.page.locator("h1").inner_text() == title
        return self.page

    def settle(self) -> None:
        self.page.wait_for_selector('[data-test-script-state="notRunning"]', timeout=60_000)

    def check(self) -> None:
        assert not self.troubles, self.troubles
        assert self.page.locator('[data-testid="stException"]').count() == 0


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Open tabs; each is checked for errors, dialogs and requests to other hosts at the end."""
    watched: list[Watched] = []

    def opened(app: App, **options: Any) -> Watched:
        page = browser.new_page(viewport={"width": 1440, "height": 900}, **options)
        page.set_default_timeout(90_000)
        watched.append(Watched(page, app.url))
        return watched[-1]

    yield opened
    for each in watched:
        each.check()
        each.page.close()
