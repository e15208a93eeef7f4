"""One lane per model: a thread that does one piece of work at a time, and of each view only the newest."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from rmviz.backend.wire import ReplacedError

Work = Callable[[list[Any]], list[Any]]
"""Items in, one answer each, in order."""


@dataclass(eq=False)
class _Ticket:
    work: Work
    item: Any
    view: Hashable
    group: str
    future: "Future[Any]" = field(default_factory=Future)


class Lane:
    """Does what it is handed in order of arrival, on a thread of its own that ends when there is nothing to do.

    Tickets of the same group that wait together are done together, so that a crowd of small requests becomes
    one batch; if a batch fails, its items are done one by one, so that a bad one spoils no other.
    """

    def __init__(self, name: str) -> None:
        """An idle lane."""
        self.name = name
        self._waiting: deque[_Ticket] = deque()
        self._lock = threading.Lock()
        self._busy = False

    @property
    def num_waiting(self) -> int:
        """Tickets not begun."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something is being done or waits."""
        return self._busy

    def submit(self, work: Work, item: Any, *, view: Hashable = None, group: str = "") -> "Future[Any]":
        """Queue one item.

        Args:
            work: Does a list of items.
            item: What to do.
            view: Replaces the waiting ticket of the same view, which then fails with `ReplacedError`.
            group: Tickets with the same non-empty group may be handed to `work` together.
        """
        ticket = _Ticket(work, item, view, group)
        with self._lock:
            replaced = [other for other in self._waiting if view is not None and other.view == view]
            for other in replaced:
                self._waiting.remove(other)
            self._waiting.append(ticket)
            start, self._busy = not self._busy, True
        for other in replaced:
            other.future.set_exception(ReplacedError("a newer request of this view took the place of this one"))
        if start:
            threading.Thread(target=self._run, name=f"lane-{self.name}", daemon=True).start()
        return ticket.future

    def _run(self) -> None:
        while tickets := self._next():
            tickets = [ticket for ticket in tickets if ticket.future.set_running_or_notify_cancel()]
            if tickets and not _done(tickets):
                for ticket in tickets:
                    _done([ticket], last=True)

    def _next(self) -> list[_Ticket]:
        with self._lock:
            if not self._waiting:
                self._busy = False
                return []
            first = self._waiting.popleft()
            mates = [other for other in self._waiting if first.group and other.group == first.group]
            for other in mates:
                self._waiting.remove(other)
            return [first, *mates]


def _done(tickets: list[_Ticket], *, last: bool = False) -> bool:
    try:
        answers = tickets[0].work([ticket.item for ticket in tickets])
    except BaseException as error:
        if last or len(tickets) == 1:
            tickets[0].future.set_exception(error)
            return True
        return False
    for ticket, answer in zip(tickets, answers, strict=True):
        ticket.future.set_result(answer)
    return True
