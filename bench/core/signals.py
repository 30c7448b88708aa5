"""Signals that ask to stop: the handler only notes them, the loop saves and leaves at its next step.

SIGTERM and SIGUSR1 come from schedulers, SIGINT from the keyboard. A second SIGINT stops at once, which is
safe: a checkpoint that is not complete does not exist.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Set once a signal has come; `name` says which."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextmanager
def watch() -> Iterator[StopRequest]:
    """Note stop signals while inside; the earlier handlers are put back afterwards."""
    request = StopRequest()
    before = {number: signal.signal(number, request._note) for number in _WATCHED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
