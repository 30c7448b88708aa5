"""The one writer of files: whole or not at all, also when the process is killed or the power fails.

A file is written beside its target under a temporary name, synced, and renamed; a folder is built under a
temporary name and renamed. No other file of the project opens a path for writing (a test holds that).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import DiskError

TEMP_PREFIX = ".bench-tmp-"

_DISK_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows here",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EISDIR: "a folder has this name",
    errno.ENOENT: "its folder is gone",
    errno.ELOOP: "its links form a loop",
    errno.EIO: "the disk reports an error",
}


@contextlib.contextmanager
def disk_errors(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn a write failure into one line that names the path and, where known, the bytes needed.

    Raises:
        DiskError: the disk is full, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRNOS:
            raise
        need = f" ({size:,} bytes needed)" if size is not None else ""
        reason = _DISK_ERRNOS[error.errno]
        raise DiskError(f"{path}: cannot be written: {reason}{need}. Nothing is half-written.") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there is left as it is.

    Raises:
        DiskError: a file is in the way, or the place cannot be written.
    """
    with disk_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(folder)) from None


@contextlib.contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """Make a folder as `make_folder` does, for what is done inside; if that fails, what is new goes again.

    A folder that something was put into stays.

    Raises:
        DiskError: as in `make_folder`.
    """
    with disk_errors(folder):
        new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        make_folder(folder)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for place in new:
                place.rmdir()
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_synced(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o666 & ~_umask())
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _temp_beside(path: Path, data: bytes) -> Iterator[Path]:
    """A synced temporary file with `data` in the folder of `path`; removed if still there at the end."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=path.parent)
    temp = Path(name)
    try:
        _write_synced(handle, data)
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def _umask() -> int:
    # mkstemp makes files private; what we write should be as readable as any other file of the user.
    value = os.umask(0)
    os.umask(value)
    return value


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what was there in one step.

    Raises:
        DiskError: the disk is full or the place cannot be written; the old file is there, or, where only
            the last sync failed, the new one.
    """
    with disk_errors(path, len(data)), _temp_beside(path, data) as temp:
        os.replace(temp, path)
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Add to a log, synced; a kill may leave a part of the last line, which the log's reader must drop.

    Raises:
        DiskError: the disk is full or the place cannot be written.
    """
    data = text.encode()
    with disk_errors(path, len(data)), open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_files(files: Mapping[Path, bytes]) -> None:
    """Put several files into one folder: all of them, or, after an error or a signal that raises, none.

    The last one is never there beside others than its own, also after a kill: what was there is moved aside,
    the last one first, before the new ones get their names, in order. After a kill between the two, the old
    files are in a folder whose name begins with `TEMP_PREFIX`.

    Args:
        files: Path to content; all in one folder.

    Raises:
        DiskError: the disk is full, or the place cannot be written; what was there is there again.
    """
    (folder,) = {path.parent for path in files}
    with folder_for(folder), disk_errors(folder):
        stage = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=folder))
        new, old = stage / "new", stage / "old"
        moved: list[tuple[Path, Path]] = []
        try:
            new.mkdir()
            old.mkdir()
            for path, data in files.items():
                _write_into(new, path, data)
            there = [(path, old / path.name) for path in files if os.path.lexists(path)]
            for source, target in [*reversed(there), *((new / path.name, path) for path in files)]:
                moved.append((source, target))  # first: a signal may come between the two
                os.rename(source, target)
                _sync_folder(folder)
        except BaseException:
            # Where this fails too, the stage stays: the old files are in it.
            for source, target in reversed(moved):
                if not os.path.lexists(source):
                    os.rename(target, source)
            shutil.rmtree(stage, ignore_errors=True)
            raise
        shutil.rmtree(stage, ignore_errors=True)


def _write_into(folder: Path, path: Path, data: bytes) -> None:
    """A synced file in `folder`, which will be moved to `path`."""
    with disk_errors(path, len(data)):
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name", str(path))
        _write_synced(os.open(folder / path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), data)


def move_in(source: Path, path: Path) -> None:
    """Put the finished file `source` at `path`, replacing what was there in one step.

    For what is too large to be held in memory. Both must be on one file system.

    Raises:
        DiskError: as in `write_bytes`; `source` is where it was.
    """
    with disk_errors(path):
        handle = os.open(source, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(source, path)
        _sync_folder(path.parent)


def json_text(value: Any) -> str:
    """The JSON we write: sorted keys, two spaces, a last newline, no nan."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def create_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path` only if nothing is there yet; of two writers at once one wins.

    Raises:
        FileExistsError: something is there; it is untouched.
        DiskError: as in `write_bytes`.
    """
    with disk_errors(path, len(data)), _temp_beside(path, data) as temp:
        try:
            os.link(temp, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            _create_without_link(path, temp)
        _sync_folder(path.parent)


def _create_without_link(path: Path, temp: Path) -> None:
    # Some network file systems have no hard links. The exclusive open decides who wins; a kill between
    # it and the rename leaves an empty file, which every reader of ours refuses by name.
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    os.close(handle)
    try:
        os.replace(temp, path)
    except OSError:
        path.unlink()
        raise


class StagedFolder:
    """A folder being built under a temporary name; see `new_folder`."""

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable

    def write(self, name: str, data: bytes) -> None:
        """Write one file at the relative `name`; folders in between are made."""
        path = self.root / name
        with disk_errors(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())


@contextlib.contextmanager
def new_folder(path: Path, *, durable: bool = True, replace: bool = False) -> Iterator[StagedFolder]:
    """Build a folder that appears at `path` whole, or not at all.

    Args:
        path: Where the finished folder will be.
        durable: Sync each file; False for what can be generated again.
        replace: Take the place of a folder that is there; else that is an error.

    Raises:
        FileExistsError: `path` exists and `replace` is False, or it is no folder.
        DiskError: as in `write_bytes`; the staging folder is removed.
    """
    with disk_errors(path):
        in_the_way = path.exists() and not (replace and path.is_dir())
    if in_the_way:
        raise FileExistsError(errno.EEXIST, "exists already", str(path))
    make_folder(path.parent)
    with disk_errors(path):
        root = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=path.parent))
    try:
        with disk_errors(path):
            root.chmod(0o777 & ~_umask())
        yield StagedFolder(root, durable=durable)
        with disk_errors(path):
            if durable:
                for folder in [root, *(entry for entry in root.rglob("*") if entry.is_dir())]:
                    _sync_folder(folder)
            if replace and path.exists():
                _swap_in(root, path)
            else:
                os.rename(root, path)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _swap_in(root: Path, path: Path) -> None:
    # rename(2) cannot replace a full folder. Linux can swap two names in one step, on most file systems.
    if _exchange(root, path):
        return  # `root` is the old folder now, and removed by the caller
    # Elsewhere: move the old one aside first, so that a kill between the two renames leaves both folders
    # whole, and only the name missing.
    old = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=path.parent))
    try:
        os.rename(path, old / "old")
        try:
            os.rename(root, path)
        except OSError:
            os.rename(old / "old", path)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or its file system cannot."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(first), os.fsencode(second)
    done: int = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return done == 0


def sweep(folder: Path) -> int:
    """Remove temporary leftovers of killed writers directly in `folder`; returns how many there were."""
    leftovers = list(folder.glob(TEMP_PREFIX + "*"))
    for entry in leftovers:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with disk_errors(entry):
                entry.unlink(missing_ok=True)
    return len(leftovers)
