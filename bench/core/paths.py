"""Where things lie, and the only way to join a name that came from a file."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path, PurePosixPath

import bench
from bench.core.errors import BenchError, DataError

ROOT = Path(bench.__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
PUBLISHED = ROOT / "results" / "published"
DEFAULT_RESULTS = Path("results") / "runs"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


def inside(root: Path, name: str, *, error: type[BenchError] = DataError) -> Path:
    """`root / name`, for a name read from a file: it must stay inside `root`, also through links.

    Raises:
        error: the name is absolute, has `..`, backslashes, control characters, or a link leads out.
    """
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or not name.isprintable():
        raise error(f"{root}: the name {name!r} would leave the folder; expected a plain relative name")
    path = root / pure
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError):  # Python says RuntimeError before 3.13
        raise error(f"{root}: the name {name!r} is a link that leads round in a circle") from None
    if not resolved.is_relative_to(root.resolve()):
        raise error(f"{root}: the name {name!r} leads outside the folder through a link")
    return path


def safe_name(name: str, what: str, *, error: type[BenchError] = DataError) -> str:
    """`name` itself, if it can serve as a file name everywhere; `what` names it in the message.

    Raises:
        error: it has other characters than letters, digits, `. _ + -`, or is longer than 200.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise error(f"{what} {name!r}: expected letters, digits, '.', '_', '+' or '-', at most 200 of them")
    return name


def file_size(path: Path) -> int:
    """Bytes of a regular file.

    Raises:
        OSError: not there, or a folder, or a pipe or device, whose reading may never end.
    """
    info = path.stat()
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return info.st_size


def read_bounded(path: Path, max_bytes: int, *, error: type[BenchError] = DataError) -> bytes:
    """The content of a regular file that a stranger may have made.

    Raises:
        error: it cannot be read, is a pipe or a folder, or is larger than `max_bytes`.
    """
    try:
        size = file_size(path)
        if size > max_bytes:
            raise error(f"{path}: {size:,} bytes; a file of this kind has at most {max_bytes:,}")
        return path.read_bytes()
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None


def as_text(name: str) -> str:
    """A name or argument of the system as text that can be written down; a stray byte is `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
