"""Poems from a server: a real process on loopback that fails in every way, and what the search makes of it."""

import time
from dataclasses import replace

import pytest
from qdaif.conftest import SMALL
from qdaif.fakes import GRID, Counting, asked, server

from rmviz.asking import remote
from rmviz.asking.remote import KEY
from rmviz.errors import BackendError, ConfigError
from rmviz.qdaif import job, open
from rmviz.qdaif.generators import RemoteGenerator
from rmviz.qdaif.requests import Request
from rmviz.store.tables import load_table
from rmviz.world.truth import recognise

REQUESTS = [Request(asked=cell, labels=GRID.labels(cell), move="seed") for cell in range(4)]


def writer(address, **options):
    return RemoteGenerator(address, "poet", GRID, **{"first_wait": 0.01, "timeout": 0.8, "patience": 20.0} | options)


def test_every_fault_that_may_pass_is_waited_out(monkeypatch):
    monkeypatch.setenv(KEY, "secret-key")
    with server("429", "500", "slow", "cut", "malformed", "list", "503") as address:
        remote_writer = writer(address)
        texts = remote_writer.written(REQUESTS, seed=1)
        seen = asked(address)
    assert [recognise(text).tone for text in texts] == [request.labels[1] for request in REQUESTS]
    assert len(seen) == 4 + 7 == remote_writer.num_requests
    assert {one["key"] for one in seen} == {"Bearer secret-key"}
    assert {(one["path"], one["model"]) for one in seen} == {("/v1/chat/completions", "poet")}


def test_answers_stand_in_the_order_of_the_requests_and_depend_on_the_seed():
    with server("slow") as address:
        one, two = writer(address, timeout=5.0), writer(address, concurrency=1)
        assert one.written(REQUESTS, seed=1) == two.written(REQUESTS, seed=1) != two.written(REQUESTS, seed=2)


def test_an_answer_without_text_is_an_empty_poem():
    with server("empty") as address:
        assert writer(address, concurrency=1).written(REQUESTS, seed=1)[0] == ""


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [("401", BackendError, KEY), ("404", ConfigError, "check server"), ("400", ConfigError, "a fault")],
)
def test_what_will_not_pass_is_said_at_once(fault, error, message):
    with server(fault) as address:
        remote_writer = writer(address, concurrency=1)
        with pytest.raises(error, match=message):
            remote_writer.written(REQUESTS[:1], seed=1)
        assert remote_writer.num_requests == 1


def test_the_ceiling_holds():
    with server("500", "500") as address:
        remote_writer = writer(address, max_requests=3)
        with pytest.raises(BackendError, match=r"max_requests \(3\) is reached"):
            remote_writer.written(REQUESTS, seed=1)
        assert len(asked(address)) == 3


def test_a_server_that_is_gone_for_ever_stops_the_search_resumably(space, tmp_path, monkeypatch):
    made = []

    def opened(config, grid, policy):
        made.append(RemoteGenerator(config.server, config.policy, grid, first_wait=0.01, patience=0.3))
        return made[-1]

    monkeypatch.setattr(job, "opened_generator", opened)
    config = replace(SMALL, generator="openai", policy="poet", judge="world", rows="tone: happy, dark", columns="",
                     server="http://127.0.0.1:9")  # fmt: skip
    with (
        server(*["ok"] * 8, "gone") as address,
        pytest.raises(BackendError, match="run the same command again to go on"),
    ):
        job.run(replace(config, server=address), space, Counting(tmp_path / "a"))
    with server("ok") as address:
        whole = job.run(replace(config, server=address), space, Counting(tmp_path / "b"))
        resumed = job.run(replace(config, server=address), space, Counting(tmp_path / "a"))
    assert made[-1].num_requests == 16 and whole.metrics["coverage"] == 1
    texts = [load_table(one.path("attempts.parquet"))["text"].tolist() for one in (whole, resumed)]
    assert texts[0] == texts[1] and set(load_table(whole.path("attempts.parquet"))["generator"]) == {"openai poet"}


def test_a_server_that_is_not_there_yet_is_waited_for():
    with server("gone") as address:
        pass
    start = time.monotonic()
    with pytest.raises(BackendError, match="no good answer for 0 s"):
        writer(address, patience=0.4).written(REQUESTS[:1], seed=1)
    assert time.monotonic() - start < 10


def test_the_openai_generator_is_made_from_the_config():
    config = replace(SMALL, generator="openai", policy="poet", server="http://127.0.0.1:9/v1/", max_requests=7)
    made = open.opened_generator(config, GRID, None)
    assert isinstance(made, RemoteGenerator) and made.name == "openai poet"
    assert remote._seconds("soon") == 0 and remote._seconds("2") == 2
