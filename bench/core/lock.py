"""One process a folder: a lock on an open file, which the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.atomic import disk_errors, make_folder
from bench.core.errors import UsageError


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold `folder` while inside.

    Raises:
        UsageError: another process holds it; the message names host and process.
        DiskError: the folder cannot be made or written.
    """
    make_folder(folder)
    with disk_errors(folder):
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise UsageError(f"{folder}: in use by {holder}; wait for it, or give another --out") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
