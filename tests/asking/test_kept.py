"""Answers that several processes keep in one file, and requests that they count in one: nothing is lost, nothing is passed."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rmviz.asking.kept import Kept
from rmviz.asking.remote import RemoteModel
from rmviz.configs.asking import check_server
from rmviz.errors import BackendError, ConfigError


class Counting:
    """Answers with how often it was asked; before it tells, something else may happen."""

    name = "counting"

    def __init__(self, first=1, meanwhile=lambda: None):
        self.number, self.meanwhile, self.asked = first, meanwhile, []

    def answers(self, questions, *, seed, told):
        self.meanwhile()
        for place, text in enumerate(questions):
            self.asked.append(text)
            told(place, f"{text} {self.number}")
            self.number += 1
        return []


def test_opening_a_file_with_a_line_that_was_cut_off_takes_no_answer_away(tmp_path, monkeypatch):
    path = tmp_path / "kept.jsonl"
    Kept(Counting(), path, 0).answers(["a"])
    whole = path.read_bytes()
    path.write_bytes(whole + b'["cut')
    loads = json.loads

    def while_another_writes(line):
        if b"cut" in line and not path.read_bytes().endswith(b"other\n"):
            with path.open("ab") as file:
                file.write(b'\n["key", "other"]\nother\n')
        return loads(line)

    monkeypatch.setattr("rmviz.asking.kept.json.loads", while_another_writes)
    Kept(Counting(), path, 0)
    assert path.read_bytes().startswith(whole + b'["cut\n["key", "other"]\n')


def test_the_first_answer_holds_for_all_who_share_a_file(tmp_path):
    path = tmp_path / "kept.jsonl"
    one = Kept(Counting(), path, 0)
    other = Kept(Counting(first=50, meanwhile=lambda: one.answers(["a", "b"])), path, 0)
    assert other.answers(["a", "c"]) == ["a 1", "c 51"]
    assert one.answers(["c", "b"]) == ["c 51", "b 2"] and one.model.asked == ["a", "b"]
    assert Kept(Counting(99), path, 0).answers(["a", "b", "c"]) == ["a 1", "b 2", "c 51"]
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    key = json.loads(lines[0])[0]
    path.write_text("\n".join([*lines, json.dumps([key, "a later one"])]) + "\n")
    assert Kept(Counting(99), path, 0).answers(["a"]) == ["a 1"]


def test_a_ceiling_holds_for_all_who_count_in_one_file(tmp_path, monkeypatch):
    check = RemoteModel._check

    def slow(self, sent, further):
        check(self, sent, further)
        time.sleep(0.005)

    monkeypatch.setattr(RemoteModel, "_check", slow)

    def many(_):
        model, sent = RemoteModel("http://127.0.0.1:9/v1", "m", max_requests=20, counted=tmp_path / "requests"), 0
        with pytest.raises(BackendError, match=r"max_requests \(20\) is reached"):
            while sent < 100:
                model._count()
                sent += 1
        return sent

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(many, range(4))) == 20 == (tmp_path / "requests").stat().st_size


@pytest.mark.parametrize(
    "server", ["http://localhost:8000/v1", "https://api.host.org/v1/", "http://10.0.0.7", "http://[::1]:80/v1"]
)
def test_an_address_is_one(server):
    check_server(server)


@pytest.mark.parametrize(
    "server",
    ["", "localhost:8000", "http://", "http://host:port/v1", "http://host:99999/v1", "http://a b/v1", "http://host/v 1",
     "http://[::1/v1", "http://host/v1?key=1", "ftp://host", "http://./v1", "http://host/v1\n", "http://me:secret@host:port"],
)  # fmt: skip
def test_what_is_no_address_is_told_in_one_sentence(server):
    with pytest.raises(
        ConfigError, match=r"^server must be an http address like http://localhost:8000/v1, got"
    ) as told:
        check_server(server)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("server", ["http://me:secret@host/v1", "http://me@host/v1"])
def test_an_address_tells_no_secret(server):
    with pytest.raises(ConfigError, match=r"^server must be named without user and password") as told:
        check_server(server)
    assert "secret" not in str(told.value)
