"""Who runs a cell: a lock in the results store, so that no two sweeps of any file run one at once.

The lock is on an open file and falls with its holder; the file is left and says nothing by being there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.core import lock
from bench.core.store import CLAIMS

_PAUSE_SECONDS = 5.0


def _folder(results: Path, id_: str) -> Path:
    return results / CLAIMS / id_


@contextmanager
def claim(results: Path, id_: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the cell whose record will have this id.

    Args:
        results: The results store.
        id_: Of the record.
        wait_seconds: How long to wait for another holder: the lock of a node that died falls late on a
            network file system.

    Raises:
        InUse: another process runs it.
        DiskError: the store cannot be written, or its file system has no locks.
    """
    end = time.monotonic() + wait_seconds
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock.hold(_folder(results, id_)))
                break
            except lock.InUse:
                if time.monotonic() >= end:
                    raise
                time.sleep(min(_PAUSE_SECONDS, max(end - time.monotonic(), 0.0)))
        yield


def claimed_by(results: Path, id_: str, run_dir: Path) -> str | None:
    """Process and host that run it, in a sweep or by `bench transfer`, or None; raises as `claim`."""
    return lock.holder(_folder(results, id_)) or lock.holder(run_dir)
