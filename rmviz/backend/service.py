"""The live backend's HTTP side: who may ask, what is asked, and what an error becomes."""

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from rmviz.backend import wire
from rmviz.backend.guard import LOOPBACK, Guard, problem
from rmviz.backend.process import ADDRESS_FILE, own_version
from rmviz.backend.replicas import replicated
from rmviz.backend.residents import OutOfMemoryError, Residents, process_bytes
from rmviz.backend.wire_pair import PairRequest, ShapleyRequest
from rmviz.configs.base import require
from rmviz.errors import ArtifactError, BackendError, ConfigError, NotFoundError, RmvizError
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace, writing

_log = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[RmvizError], int], ...] = (
    (wire.ReplacedError, 409),
    (OutOfMemoryError, 507),
    (BackendError, 503),
    (NotFoundError, 404),
    (ArtifactError, 500),
    (RmvizError, 422),
)


def create_app(
    workspace_root: Path | str, token: str, *, hosts: Sequence[str] = LOOPBACK, residents: Residents | None = None
) -> FastAPI:
    """The backend of a workspace as an ASGI app.

    Args:
        workspace_root: Folder of the workspace.
        token: Every request, `/health` too, must carry it as bearer token.
        hosts: Names that the Host header may have; `*` allows any.
        residents: The models to answer with; by default those of the workspace, none loaded.
    """
    held = residents or Residents(Workspace(workspace_root))
    started = time.time()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token, hosts=hosts)  # pyright: ignore[reportArgumentType]
    app.state.last_use = time.monotonic()
    app.state.residents = held

    async def answer(request: wire.Request) -> Response:
        future = await asyncio.to_thread(held.submit, request)
        return Response(await asyncio.wrap_future(future), media_type="application/json")

    @app.get("/health")
    def health() -> Response:
        gpu = torch.cuda.is_available()
        values = wire.Health(
            version=own_version(),
            pid=os.getpid(),
            workspace=str(held.workspace.root),
            started=started,
            models=held.loaded(),
            used_bytes=held.used_bytes,
            budget_bytes=held.budget_bytes,
            process_bytes=process_bytes(),
            device="cuda" if gpu else "cpu",
            dtype="bfloat16" if gpu else "float32",
        )
        return Response(values.model_dump_json(), media_type="application/json")

    @app.post("/score")
    async def score(request: wire.ScoreRequest) -> Response:
        return await answer(request)

    @app.post("/prefixes")
    async def prefixes(request: wire.PrefixRequest) -> Response:
        return await answer(request)

    @app.post("/features")
    async def features(request: wire.FeaturesRequest) -> Response:
        return await answer(request)

    @app.post("/ablate")
    async def ablate(request: wire.AblateRequest) -> Response:
        return await answer(request)

    @app.post("/pair")
    async def pair(request: PairRequest) -> Response:
        return await answer(request)

    @app.post("/shapley")
    async def shapley(request: ShapleyRequest) -> Response:
        return await answer(request)

    _add_error_answers(app)
    return app


def serve(
    workspace_root: Path | str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    idle_timeout: float | None = None,
    allow_remote: bool = False,
    hosts: Sequence[str] = (),
    num_replicas: int = 0,
) -> None:
    """Answer until a signal ends it, or until nobody asked for `idle_timeout` seconds.

    While it runs, `<workspace>/backend.json` (mode 0600) tells its address and token; the token is taken from
    `RMVIZ_BACKEND_TOKEN` where that is set. TLS is left to a proxy.

    Args:
        workspace_root: Folder of the workspace.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        idle_timeout: Seconds without a request (`/health` does not count) after which it ends; None: never.
        allow_remote: Must be True for an address that other machines can reach.
        hosts: Further names that the Host header may have; with `allow_remote` and none given, any.
        num_replicas: Replicas under Ray Serve, one per GPU; 0: one process, without Ray.

    Raises:
        ConfigError: A setting does not fit; the address can be reached from other machines and `allow_remote` is not set, or is taken.
        BackendError: Another backend serves this workspace already.
        ArtifactError: The workspace cannot be written.
    """
    require(num_replicas >= 0, f"replicas must be at least 0, got {num_replicas}")
    require(not (num_replicas and idle_timeout), "replicas do not end by themselves; leave idle_timeout out")
    if not allow_remote and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines; use 127.0.0.1, or say --allow-remote if that is meant"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    root = Workspace(workspace_root).root
    token = os.environ.get("RMVIZ_BACKEND_TOKEN") or secrets.token_urlsafe(32)
    allowed = [*LOOPBACK, *hosts] if hosts or not allow_remote else ["*"]
    with writing(root), _only_one(root), _listening(host, port) as sock:
        shown, port = f"[{host}]" if ":" in host else host, sock.getsockname()[1]
        url = f"http://{shown}:{port}"

        def made() -> FastAPI:
            return create_app(root, token, hosts=allowed)

        if num_replicas:
            sock.close()  # Serve's proxy listens there
            with (
                _ending_in_order(),
                replicated(made, host, port, num_replicas),
                _address_file(root, url=url, token=token),
            ):
                _log.info("%d replicas of the backend of %s answer at %s", num_replicas, root, url)
                threading.Event().wait()
            return
        app = made()
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=5
            )
        )
        with _address_file(root, url=url, token=token):
            _log.info("the backend of %s answers at %s", root, url)
            if idle_timeout:
                threading.Thread(target=_stop_when_idle, args=(server, app, idle_timeout), daemon=True).start()
            with _ending_in_order():
                server.run(sockets=[sock])


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C, which uvicorn raises again once it has ended, end the block and not the process."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _log.info("the backend was told to end")
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "backend.running").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackendError(
                f"a backend runs for {root} already; its address stands in {root / ADDRESS_FILE}"
            ) from error
        yield


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host.strip("[]"), port))
        except (OSError, OverflowError) as error:
            reason = "the port is taken" if getattr(error, "errno", 0) == errno.EADDRINUSE else str(error)
            raise ConfigError(
                f"cannot listen at {host}:{port} ({reason}); choose another --port, or 0 for any free one"
            ) from error
        sock.listen(128)
        yield sock


@contextlib.contextmanager
def _address_file(root: Path, *, url: str, token: str) -> Iterator[None]:
    """Tell clients where the backend is, while it is there; readable by the owner alone."""
    path = root / ADDRESS_FILE
    old_mask = os.umask(0o077)
    try:
        write_json(
            path, {"url": url, "token": token, "pid": os.getpid(), "started": time.time(), "version": own_version()}
        )
    finally:
        os.umask(old_mask)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
                path.unlink()


def _stop_when_idle(server: uvicorn.Server, app: FastAPI, seconds: float) -> None:
    while not server.should_exit:
        if app.state.residents.busy:
            app.state.last_use = time.monotonic()
        left = app.state.last_use + seconds - time.monotonic()
        if left <= 0:
            _log.info("nobody asked for %.0f s: the backend ends", seconds)
            server.should_exit = True
        time.sleep(min(max(left, 0.05), 1.0))


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(RmvizError)
    async def told(request: Any, error: RmvizError) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return problem(type(error).__name__, str(error), status)

    @app.exception_handler(RequestValidationError)
    async def refused(request: Any, error: RequestValidationError) -> Response:
        return problem("ConfigError", wire.words_of(error.errors()), 422)

    @app.exception_handler(HTTPException)
    async def unknown(request: Any, error: HTTPException) -> Response:
        return problem("BackendError", str(error.detail), error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Any, error: Exception) -> Response:
        return problem(
            "BackendError",
            f"the backend met an error of its own ({type(error).__name__}); its log has the details",
            500,
        )
