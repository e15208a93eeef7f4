"""A lane does one thing at a time, of each view only the newest, and of a crowd one batch."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rmviz.backend.lanes import Lane
from rmviz.backend.wire import ReplacedError


class Gate:
    """Work that waits until it is let through, and notes what it was handed."""

    def __init__(self) -> None:
        self.open, self.begun, self.handed = threading.Event(), threading.Event(), []

    def __call__(self, items: list[Any]) -> list[Any]:
        self.begun.set()
        self.open.wait(10)
        self.handed.append(items)
        return [item * 10 for item in items]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def blocked_lane(gate: Gate) -> Lane:
    lane = Lane("test")
    lane.submit(gate, 0)
    assert gate.begun.wait(10)
    return lane


def test_a_newer_request_of_a_view_replaces_the_waiting_one(gate: Gate) -> None:
    lane = blocked_lane(gate)
    asked = [lane.submit(gate, i, view="slider") for i in range(1, 50)]
    other = lane.submit(gate, 100, view="somebody else")
    assert lane.num_waiting == 2 and lane.busy
    for older in asked[:-1]:
        with pytest.raises(ReplacedError):
            older.result(1)
    gate.open.set()
    assert asked[-1].result(10) == 490 and other.result(10) == 1000
    assert gate.handed == [[0], [49], [100]]


def test_requests_without_a_view_all_count_and_keep_their_order(gate: Gate) -> None:
    lane = blocked_lane(gate)
    asked = [lane.submit(gate, i) for i in range(1, 20)]
    gate.open.set()
    assert [f.result(10) for f in asked] == [10 * i for i in range(1, 20)]
    assert gate.handed == [[i] for i in range(20)]


def test_a_group_that_waits_is_one_batch(gate: Gate) -> None:
    lane = blocked_lane(gate)
    asked = [lane.submit(gate, i, group="score") for i in (1, 2, 3)]
    gate.open.set()
    assert [f.result(10) for f in asked] == [10, 20, 30]
    assert gate.handed == [[0], [1, 2, 3]]


def test_a_bad_item_spoils_no_other(gate: Gate) -> None:
    def picky(items: list[int]) -> list[int]:
        if 2 in items:
            raise ValueError("two")
        return items

    lane = blocked_lane(gate)
    asked = [lane.submit(picky, i, group="score") for i in (1, 2, 3)]
    gate.open.set()
    assert asked[0].result(10) == 1 and asked[2].result(10) == 3
    with pytest.raises(ValueError, match="two"):
        asked[1].result(10)


def test_one_at_a_time_whoever_asks() -> None:
    lane, running, most = Lane("test"), [0], [0]

    def work(items: list[int]) -> list[int]:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.001)
        running[0] -= 1
        return items

    found: list[int] = []
    askers = [threading.Thread(target=lambda i=i: found.append(lane.submit(work, i).result(10))) for i in range(40)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(found) == list(range(40)) and most[0] == 1


def test_an_idle_lane_holds_no_thread(gate: Gate) -> None:
    def lanes() -> int:
        return sum(thread.name.startswith("lane-gone") for thread in threading.enumerate())

    gate.open.set()
    lane = Lane("gone")
    assert lane.submit(gate, 1).result(10) == 10
    wait_until(lambda: lanes() == 0 and not lane.busy)
    assert lane.submit(gate, 2).result(10) == 20


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited ten seconds")
