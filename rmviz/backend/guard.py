"""Who may ask the backend: those with the token, under its own name, and not too much at once."""

import secrets
import time
from collections.abc import Sequence

from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rmviz.backend import wire

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class _Refused(Exception):
    """A request that is not read any further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Lets requests pass that carry the token, name an allowed host, and are not too long."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Sequence[str]) -> None:
        """Guard an app; `*` among the hosts allows any."""
        self.app = app
        self._token = f"Bearer {token}".encode()
        self._hosts = set(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request, then hand it on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            self._check(scope)
        except _Refused as refused:
            return await problem("BackendError", str(refused), refused.status)(scope, receive, send)
        if scope["path"] != "/health":
            scope["app"].state.last_use = time.monotonic()
        return await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if "*" not in self._hosts and name.lower() not in self._hosts:
            raise _Refused(403, "this backend answers only under the names it was started with")
        if not secrets.compare_digest(headers.get(b"authorization", b""), self._token):
            raise _Refused(
                401,
                "the token is missing or wrong; see backend.json of the workspace, or RMVIZ_BACKEND_TOKEN",
            )
        length = headers.get(b"content-length", b"0" if scope["method"] == "GET" else b"")
        if not length.isdigit():
            raise _Refused(411, "a request must say how long it is (Content-Length)")
        if int(length) > wire.MAX_BODY:
            raise _Refused(413, f"a request may have at most {wire.MAX_BODY:,} bytes; send fewer texts at once")


def problem(error: str, message: str, status: int) -> Response:
    """An answer that says why there is none."""
    return Response(wire.Problem(error=error, message=message).model_dump_json(), status, media_type="application/json")
