"""One process a folder: a lock on an open file, which the kernel frees when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.atomic import disk_errors, make_folder
from bench.core.errors import DiskError, UsageError

_NAME = ".lock"
_TRIES, _PAUSE_SECONDS = 4, 0.05
"""Who only asks for the holder has the lock for an instant, which must not pass for use."""


class InUse(UsageError):
    """Another process holds the folder."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold `folder` while inside.

    Raises:
        InUse: another process holds it; the message names host and process.
        DiskError: the folder cannot be made or written, or its file system has no locks.
    """
    make_folder(folder)
    with disk_errors(folder):
        handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _lock(handle, fcntl.LOCK_EX, folder, tries=_TRIES):
            raise InUse(f"{folder}: in use by {_text(handle)}; wait for it, or give another --out")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def holder(folder: Path) -> str | None:
    """Who holds `folder`, or None where nobody does; nothing is written.

    Raises:
        DiskError: its file system has no locks.
    """
    try:
        handle = os.open(folder / _NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _lock(handle, fcntl.LOCK_SH, folder, tries=1) else _text(handle)
    finally:
        os.close(handle)


def _text(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"


def _lock(handle: int, kind: int, folder: Path, *, tries: int) -> bool:
    for attempt in range(tries):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DiskError(
                    f"{folder}: this file system has no locks ({error.strerror}), so two processes could do "
                    "the same work at once. Use another one"
                ) from None
        else:
            return True
    return False
