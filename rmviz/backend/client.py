"""The door to the live backend: finds it or starts it, asks it, and starts it again when it died."""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

from rmviz.backend import process, wire
from rmviz.backend.letters import AnyPair, AnyText, checked, headers, is_lost, pair_in, read, text_in, words_of
from rmviz.backend.process import Address
from rmviz.backend.wire_pair import PairAnswer, PairRequest, ShapleyAnswer, ShapleyRequest
from rmviz.errors import BackendError

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""Seconds; a first request may wait for a model of many gigabytes to load."""
PATIENCE = 30.0
"""Seconds in which a lost replica is replaced, or its requests reach another one."""
HEALTH_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Seconds; a busy backend on a busy machine is slow to say that it is well."""

_log = logging.getLogger(__name__)
_A = TypeVar("_A", bound=wire.Answer)
_connected: dict[str, "Backend"] = {}
_connecting = threading.Lock()


def backend(workspace_root: Path | str, *, start: bool = True, wait: float = 120.0) -> "Backend":
    """The backend of a workspace: the one at `RMVIZ_BACKEND`, the one that runs, or one that is started now.

    Cheap to call again and again: the connection is kept, and a backend that died meanwhile is replaced.

    Args:
        workspace_root: Folder of the workspace.
        start: Start one when none answers (never when `RMVIZ_BACKEND` is set).
        wait: Seconds to wait for one that starts.

    Raises:
        BackendError: None answers, or it did not start; the last lines of its log are told.
    """
    root = Path(workspace_root).expanduser().resolve()
    name = f"{root}|{os.environ.get('RMVIZ_BACKEND', '')}"
    with _connecting:
        if name not in _connected:
            _connected[name] = Backend(root, start=start, wait=wait)
        return _connected[name].ready(start=start, wait=wait)


class Backend:
    """Asks the backend of one workspace; safe to share between threads.

    Texts are records of rmviz or bare strings. `view` names who asks: a newer request of the same kind and view
    replaces one that still waits, which then raises `wire.ReplacedError`. Every method raises what the backend raised,
    with its words (`NotFoundError`, `ModelError`, `DataError`, `ConfigError`, `ArtifactError`), and `BackendError` for
    all else.
    """

    def __init__(self, workspace_root: Path, *, start: bool = True, wait: float = 120.0) -> None:
        """Connect; see `backend`."""
        self.root = workspace_root
        self.remote = os.environ.get("RMVIZ_BACKEND", "").rstrip("/")
        """Address of a backend that is not ours to start or stop; empty for the workspace's own."""
        self._start, self._wait = start, wait
        self._lock = threading.Lock()
        self._notices: list[str] = []
        self._http = httpx.Client(timeout=TIMEOUT, trust_env=False)
        self._address = self._found()

    def health(self) -> wire.Health:
        """How it is, and which models it holds."""
        return self._ask("/health", None, wire.Health)

    def score(self, model: str, texts: Sequence[AnyText], *, view: str = "") -> wire.ScoreAnswer:
        """Rewards of texts, in their order."""
        request = checked(wire.ScoreRequest, model=model, texts=[text_in(text) for text in texts], view=view)
        return self._ask("/score", request, wire.ScoreAnswer)

    def prefixes(self, model: str, text: AnyText, *, view: str = "") -> wire.PrefixAnswer:
        """The reward after each token of a text."""
        request = checked(wire.PrefixRequest, model=model, text=text_in(text), view=view)
        return self._ask("/prefixes", request, wire.PrefixAnswer)

    def features(
        self,
        model: str,
        sae: str,
        text: AnyText,
        *,
        limit: int = 500,
        with_prefixes: bool = True,
        view: str = "",
    ) -> wire.FeaturesAnswer:
        """Every feature that fires on a text with its exact effect (the largest `limit`), and the prefix rewards."""
        values = {"model": model, "sae": sae, "text": text_in(text), "limit": limit, "with_prefixes": with_prefixes}
        return self._ask("/features", checked(wire.FeaturesRequest, view=view, **values), wire.FeaturesAnswer)

    def ablate(
        self,
        model: str,
        sae: str,
        text: AnyText,
        scales: Mapping[int, float],
        *,
        values: Mapping[int, float] | None = None,
        with_prefixes: bool = False,
        view: str = "",
    ) -> wire.AblateAnswer:
        """The reward with each feature scaled as given (0 off, 1 as it is) or set to a value, beside the clean one."""
        edit = {"scales": dict(scales), "values": dict(values or {})}
        given = {"model": model, "sae": sae, "text": text_in(text), **edit}
        request = checked(wire.AblateRequest, with_prefixes=with_prefixes, view=view, **given)
        return self._ask("/ablate", request, wire.AblateAnswer)

    def pair(self, model: str, sae: str, pair: AnyPair, *, view: str = "") -> PairAnswer:
        """The margin of a pair taken apart: every feature's effect, the SAE's error, base and interaction rest."""
        request = checked(PairRequest, model=model, sae=sae, pair=pair_in(pair), view=view)
        return self._ask("/pair", request, PairAnswer)

    def shapley(
        self,
        model: str,
        sae: str,
        pair: AnyPair,
        *,
        num_features: int = 10,
        num_permutations: int = 64,
        seed: int = 0,
        view: str = "",
    ) -> ShapleyAnswer:
        """Its Shapley values; after fewer permutations of the same pair, only what more ones add is computed."""
        values = {"num_features": num_features, "num_permutations": num_permutations, "seed": seed}
        request = checked(ShapleyRequest, model=model, sae=sae, pair=pair_in(pair), view=view, **values)
        return self._ask("/shapley", request, ShapleyAnswer)

    def notices(self) -> list[str]:
        """Sentences that the user should see (the backend died and was started again); each is told once."""
        with self._lock:
            told, self._notices = self._notices, []
        return told

    def ready(self, *, start: bool = True, wait: float = 120.0) -> "Backend":
        """This connection; if the local backend behind it has ended, with another one behind it."""
        self._start, self._wait = start, wait
        address = self._address
        if not self.remote and not process.runs(address):
            self._revive(address, None)
        return self

    def stop(self) -> None:
        """End the local backend, whatever it is doing; nothing else is lost.

        Raises:
            BackendError: It stands on another machine.
        """
        if self.remote:
            raise BackendError(f"the backend at {self.remote} is not ours to stop; stop it where it runs")
        process.end(self._address)
        if process.read_address(self.root) == self._address:
            (self.root / process.ADDRESS_FILE).unlink(missing_ok=True)

    def _ask(self, path: str, request: wire.Request | None, answer: type[_A]) -> _A:
        failure: Exception | None = None
        for attempt in range(2):
            address = self._address
            try:
                response = self._exchanged(address, path, request)
                if response.status_code != 401 or attempt or self.remote:
                    return read(response, answer)
            except httpx.TimeoutException as error:
                raise BackendError(
                    f"the backend did not answer in time ({TIMEOUT.read:.0f} s at most); try a shorter text. "
                    + process.log_end(self.root)
                ) from error
            except httpx.HTTPError as error:
                failure = error
            if attempt == 0:
                self._revive(address, failure)
        raise BackendError(
            f"the backend stopped twice over this request ({process.cause_of_death(self._address)}); take a shorter "
            f"text or a smaller model. {process.log_end(self.root)}"
        ) from failure

    def _exchanged(self, address: Address, path: str, request: wire.Request | None) -> httpx.Response:
        """One answer. Where a replica is lost over it, another one is asked: requests change nothing, so that is safe."""
        method, body = ("GET", None) if request is None else ("POST", request.model_dump_json())
        own = headers(address, getattr(request, "view", ""))
        deadline, pause = time.monotonic() + PATIENCE, 0.1
        while True:
            try:
                response = self._http.request(method, address.url + path, content=body, headers=own)
                if not is_lost(response) or time.monotonic() > deadline:
                    return response
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):  # broken off while it was at work
                if not self.remote or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _revive(self, old: Address, error: Exception | None) -> None:
        """Put another backend in the place of one that does not answer, and note it if that one had died."""
        if self.remote:
            raise BackendError(
                f"the backend at {old.url} does not answer ({words_of(error)}); is it running, and can it be reached?"
            ) from error
        cause = process.cause_of_death(old)
        with self._lock:
            if self._address != old:
                return  # another thread was quicker
            killed = process.read_address(self.root) == old  # one that ends in order takes its file away
            self._address = self._found()
            if killed and self._address != old:
                self._notices.append(f"the backend had stopped ({cause}) and was started again")
                _log.warning("the backend had stopped (%s) and was started again", cause)

    def _found(self) -> Address:
        if self.remote:
            address = Address(self.remote, os.environ.get("RMVIZ_BACKEND_TOKEN", ""))
            self._health(address)
            return address
        if address := self._running():
            return address
        if not self._start:
            raise BackendError(
                f"no backend runs for {self.root}; start one with: rmviz backend --workspace {self.root}"
            )
        with process.starting(self.root):
            return self._running() or self._started()

    def _running(self) -> Address | None:
        """The backend that the workspace's address file names, if it answers for this workspace."""
        address = process.read_address(self.root)
        try:
            health = None if address is None else self._health(address)
        except BackendError:
            return None
        if address is None or health is None or health.workspace != str(self.root):
            return None
        if health.version != process.own_version():
            self._notices.append(f"the backend was of rmviz {health.version} and was started again")
            process.end(address)
            return None
        return address

    def _started(self) -> Address:
        begin = process.log_size(self.root)
        child = process.start(self.root)
        deadline = time.monotonic() + self._wait
        while time.monotonic() < deadline:
            address = process.read_address(self.root)
            if address is not None and address.pid == child.pid and self._running():
                return address
            if child.poll() is not None:
                words = process.exit_words(child.returncode)
                raise BackendError(f"the backend did not start ({words}). {process.log_end(self.root, begin)}")
            time.sleep(0.05)
        child.terminate()
        raise BackendError(
            f"the backend did not answer within {self._wait:.0f} s of its start. {process.log_end(self.root, begin)}"
        )

    def _health(self, address: Address) -> wire.Health:
        try:
            response = self._http.get(address.url + "/health", headers=headers(address), timeout=HEALTH_TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendError(f"no backend answers at {address.url} ({words_of(error)})") from error
        return read(response, wire.Health)
