"""Signals that ask to stop: the handler only notes them, the loop saves and leaves at its next step.

SIGTERM and SIGUSR1 come from schedulers, SIGUSR2 from submitit, SIGINT from the keyboard. A second SIGINT
stops at once, which is safe: a checkpoint that is not complete does not exist.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util  # registers what it does at exit
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection
from types import FrameType

from bench.core.errors import Stopped

_WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class StopRequest:
    """Set once a signal has come; `name` says which."""

    def __init__(self, *, pass_on: bool = False) -> None:
        self.name: str | None = None
        self._pass_on = pass_on

    def __bool__(self) -> bool:
        return self.name is not None

    def check(self, saved: str) -> None:
        """Leave if a signal has come.

        Args:
            saved: What is safe, for the message.

        Raises:
            Stopped: one has.
        """
        if self.name is not None:
            raise Stopped(f"{self.name}: {saved}; --resume goes on")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
        if self._pass_on:
            # SIGTERM for all: a keyboard's SIGINT has reached the children already, a second would kill.
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGTERM)


@contextmanager
def watch(*, pass_on: bool = False) -> Iterator[StopRequest]:
    """Note stop signals while inside; the earlier handlers are put back afterwards.

    Args:
        pass_on: Also tell the processes this one has started, as the parent of a training must.
    """
    request = StopRequest(pass_on=pass_on)
    before = {number: signal.signal(number, request._note) for number in _WATCHED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_stopping_to_the_parent() -> None:
    """For a worker process: stop signals reach the whole group, the parent alone answers them."""
    for number in _WATCHED:
        signal.signal(number, signal.SIG_IGN)


def end_workers_at_exit() -> None:
    """For the parent of such workers: kill those that are left when it ends.

    Python asks the children that are left to terminate and waits for them; these do not hear it.
    """
    atexit.unregister(_kill_children)
    # What is registered last runs first, and Python's own is registered when multiprocessing is imported.
    atexit.register(_kill_children)


def _kill_children() -> None:
    # torch's handler would report each as a worker that failed.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        child.kill()


def leave_with_the_parent() -> None:
    """For a worker process: end when the parent is gone, killed ones included, not to go on as an orphan."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
