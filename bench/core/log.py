"""What a person sees on stderr while work goes on: lines, and a progress bar with an estimate of the end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PLAIN_SECONDS = 15.0
"""Where stderr is no terminal: at most one line in so many seconds."""


_silent = False


def silence() -> None:
    """Say nothing from now on: for all but the first of several processes that do the same."""
    global _silent
    _silent = True


def say(text: str) -> None:
    """One line (or more) on stderr."""
    if not _silent:
        print(text, file=sys.stderr, flush=True)


def quiet_fabric() -> None:
    """Keep Fabric from announcing its precision on stderr; our own plan has said it."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class Bar(Protocol):
    """A bar that goes on."""

    def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """`done` steps are finished; `note` is shown at the end; `total` where it became known later."""


@contextmanager
def progress(title: str, total: int, *, start: int = 0) -> Iterator[Bar]:
    """A bar on a terminal, a line now and then elsewhere.

    Args:
        title: What is done.
        total: Steps in all.
        start: Steps that were done before, by the run that is resumed.
    """
    if sys.stderr.isatty() and not _silent:
        with _rich_bar(title, total, start) as bar:
            yield bar
    else:
        yield _PlainBar(title, total, start)


class _PlainBar:
    def __init__(self, title: str, total: int, start: int) -> None:
        self._title, self._total, self._start = title, total, start
        self._begun = self._last = time.monotonic()

    def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
        self._total = total or self._total
        now = time.monotonic()
        if done < self._total and now - self._last < _PLAIN_SECONDS:
            return
        self._last = now
        spent = now - self._begun
        left = spent / max(done - self._start, 1) * (self._total - done)
        clock = f"{_minutes(spent)} spent, {_minutes(left)} left"
        say(f"{self._title}: {done:,} of {self._total:,}, {clock}{'  ' + note if note else ''}")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def _rich_bar(title: str, total: int, start: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Remaining(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total, completed=start, note="")

        class RichBar:
            def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
                bars.update(task, completed=done, note=note, total=total)

        yield RichBar()
