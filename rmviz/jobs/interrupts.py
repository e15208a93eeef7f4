"""Ctrl-C and SIGTERM: both end a job, at a moment that the job chooses."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """While open, SIGTERM raises KeyboardInterrupt as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)  # a second one must not cut the tidying
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """While open, the first signal only sets the event, so that a step is finished and saved; the second acts at once."""
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    with _handling(note):
        yield asked


@contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    heard = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]  # `nohup` and `&` mean it
    before = {one: signal.signal(one, handler) for one in heard}
    try:
        yield
    finally:
        for one, old in before.items():
            signal.signal(one, old)
