"""Who may ask, and what an error becomes on the wire."""

import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from backend.conftest import Place, Served, raw_json

from rmviz.backend import client, wire
from rmviz.backend.service import serve
from rmviz.errors import BackendError, ConfigError

TOKEN = {"Authorization": "Bearer secret"}
SCORE = {"model": "causal", "texts": [{"reply": "hello"}]}


def post(served: Served, path: str, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(served.url + path, content=body, headers=TOKEN | headers, timeout=60)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}, {"Authorization": "bearer secret"}]
)
@pytest.mark.parametrize("path", ["/health", "/score", "/nothing"])
def test_without_the_token_nothing_is_told(served: Served, headers: dict[str, str], path: str) -> None:
    for answer in (
        httpx.get(served.url + path, headers=headers),
        httpx.post(served.url + path, headers=headers, content=raw_json(SCORE)),
    ):
        assert answer.status_code == 401 and wire.Problem.model_validate_json(answer.content).error == "BackendError"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "169.254.169.254"])
def test_a_foreign_host_name_is_refused_even_with_the_token(served: Served, host: str) -> None:
    assert httpx.get(served.url + "/health", headers=TOKEN | {"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "LOCALHOST:99", "[::1]:5"])
def test_own_names_are_answered(served: Served, host: str) -> None:
    assert httpx.get(served.url + "/health", headers=TOKEN | {"Host": host}).status_code == 200


def test_other_origins_get_no_leave(served: Served) -> None:
    answer = httpx.options(
        served.url + "/score",
        headers=TOKEN | {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert answer.status_code in (405, 411) and "access-control-allow-origin" not in answer.headers
    assert (
        "access-control-allow-origin"
        not in httpx.get(served.url + "/health", headers=TOKEN | {"Origin": "http://x"}).headers
    )


def test_health_says_how_it_is(live: client.Backend, place: Place) -> None:
    live.score("causal", ["hello"])
    health = live.health()
    assert health.workspace == str(place.workspace.root) and health.device == "cpu"
    loaded = {model.id: model for model in health.models}[place.causal.id]
    assert loaded.bytes > 0 and loaded.dtype == "float32"
    assert 0 < health.used_bytes <= health.budget_bytes and health.process_bytes > 10**7


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/score", b"{", 422, "JSON"),
        ("/score", b"\xff\xfe", 422, ""),
        ("/score", b"[]", 422, ""),
        ("/score", raw_json({"model": "causal", "texts": [{"reply": 3}]}), 422, "texts.0.reply"),
        ("/score", raw_json({"model": "nothing", "texts": []}), 404, "no reward model called 'nothing'"),
        ("/score", raw_json({"model": "no\x00\ud800 <b>", "texts": []}), 404, "no reward model"),
        ("/ablate", raw_json({"model": "m", "sae": "s", "text": {}, "scales": {"1": float("nan")}}), 422, "scales.1"),
        (
            "/ablate",
            raw_json({"model": "causal", "sae": "causal-sae", "text": {"reply": "a"}, "scales": {"99": 0}}),
            422,
            "feature 99",
        ),
        ("/nothing", b"{}", 404, "Not Found"),
        ("/docs", b"{}", 404, ""),
        ("/openapi.json", b"{}", 404, ""),
    ],
)
def test_errors_are_sentences(served: Served, path: str, body: bytes, status: int, words: str) -> None:
    answer = post(served, path, body, **{"Content-Type": "application/json"})
    assert answer.status_code == status
    assert words in wire.Problem.model_validate_json(answer.content).message
    assert "Traceback" not in answer.text


def test_a_body_too_long_or_of_unknown_length_is_not_read(served: Served) -> None:
    answer = httpx.post(served.url + "/score", headers=TOKEN, content=iter([b"{}"]))
    assert answer.status_code == 411
    with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1]))) as connection:
        lines = ["POST /score HTTP/1.1", "Host: localhost", "Authorization: Bearer secret", "Content-Length: 999999999"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_an_error_of_our_own_is_short_on_the_wire(live: client.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr("rmviz.backend.live.LiveModel.scores", broken)
    with pytest.raises(BackendError, match="error of its own \\(ZeroDivisionError\\); its log has the details"):
        live.score("causal", ["hello"])


def test_a_replaced_request_is_told_so(live: client.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    from rmviz.backend.live import LiveModel

    begun, go, plain = threading.Event(), threading.Event(), LiveModel.prefixes

    def slow(self: LiveModel, request: wire.PrefixRequest) -> wire.PrefixAnswer:
        begun.set()
        go.wait(10)
        return plain(self, request)

    monkeypatch.setattr(LiveModel, "prefixes", slow)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(live.prefixes, "causal", "first", view="session 1")
        assert begun.wait(10)
        second = pool.submit(live.prefixes, "causal", "second", view="session 1")
        while not any(model.num_waiting for model in live.health().models):
            time.sleep(0.01)
        third = pool.submit(live.prefixes, "causal", "third", view="session 1")
        with pytest.raises(wire.ReplacedError, match="a newer request"):
            second.result(10)
        go.set()
        assert "".join(first.result().tokens) == "first" and "".join(third.result().tokens) == "third"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "example.org", "evil"])
def test_other_machines_only_when_meant(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"other machines.*--allow-remote"):
        serve(tmp_path, host=host)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named(served: Served, tmp_path: Path) -> None:
    port = int(served.url.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port} \\(the port is taken\\)"):
        serve(tmp_path, port=port)
    assert not (tmp_path / "backend.json").exists()


def test_json_of_an_answer_is_strict(served: Served) -> None:
    answer = post(served, "/score", raw_json(SCORE), **{"Content-Type": "application/json"})
    assert answer.status_code == 200
    json.loads(answer.content, parse_constant=pytest.fail)


def test_a_request_that_a_lost_replica_had_is_asked_again(
    live: client.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, sent = live._http.request, []
    lost = [
        httpx.Response(500, text="Internal Server Error"),
        httpx.ReadError("broken off"),
        httpx.Response(503, text="no"),
    ]

    def request(method: str, url: str, **options: object) -> httpx.Response:
        sent.append(options["headers"])
        if lost:
            one = lost.pop(0)
            if isinstance(one, Exception):
                raise one
            return one
        return plain(method, url, **options)

    monkeypatch.setattr(live._http, "request", request)
    assert len(live.score("causal", ["hello"], view="tab 1/score").rewards) == 1 and len(sent) == 4
    live.score("causal", ["hello"], view="tab 1/other")
    live.score("causal", ["hello"], view="tab 2/score")
    sessions = [one["X-Session-Id"] for one in sent]
    assert len(set(sessions[:5])) == 1 and sessions[5] != sessions[0]
    with pytest.raises(ConfigError):
        live.ablate("causal", "causal-sae", "a", {99: 0.0})
    assert len(sent) == 7, "an error of the backend's own is an answer"


def test_what_never_answers_is_told_in_the_end(live: client.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    monkeypatch.setattr(
        live._http,
        "request",
        lambda *_, **__: httpx.Response(502, text="<html>", request=httpx.Request("GET", "http://x")),
    )
    with pytest.raises(BackendError, match="answered with status 502"):
        live.score("causal", ["hello"])


def test_replicas_need_ray_and_do_not_end_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"rmviz\[ray\]"):
        serve(tmp_path, num_replicas=2)
    assert not (tmp_path / "backend.json").exists()
    with pytest.raises(ConfigError, match="leave idle_timeout out"):
        serve(tmp_path, num_replicas=2, idle_timeout=5)
    with pytest.raises(ConfigError, match="at least 0"):
        serve(tmp_path, num_replicas=-1)
