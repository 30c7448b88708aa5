"""A file that is read piece by piece and must stay the same, and a part of it with its checksum."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bench.core.errors import WeightsError

# What to do, for messages: about a file that lost something, and about one that nobody's library writes.
AGAIN = "Nothing was loaded. Download the file again."
NOT_READ = "Nothing was loaded. docs/weights.md says what is read."

_CHUNK = 1024**2


class FileSource:
    """A file that is opened for each read and must stay the one it was: size, time and inode are compared."""

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            WeightsError: it is not there, not a plain file, or may not be read.
        """
        self.path = path
        self.where = str(path)
        self._identity: tuple[int, ...] | None = None
        with self.open() as file:
            self._identity = self._identify(file)
            self.size = os.fstat(file.fileno()).st_size

    @staticmethod
    def _identify(file: BinaryIO) -> tuple[int, ...]:
        status = os.fstat(file.fileno())
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def error(self, problem: str) -> WeightsError:
        """The error that says what is wrong with this file."""
        return WeightsError(f"{self.where}: {problem}")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The open file, at its beginning. Raises WeightsError if it is not the same any more."""
        try:
            # Looked at before opening: opening a named pipe would wait for ever.
            if self.path.exists() and not self.path.is_file():
                raise self.error("cannot be read: not a plain file")
            with open(self.path, "rb") as file:
                if self._identity is not None and self._identify(file) != self._identity:
                    raise self.error("changed while it was read. Nothing was loaded.")
                yield file
        except OSError as cause:
            raise self.error(f"cannot be read: {cause.strerror}") from None

    def read(self, start: int, count: int) -> bytes:
        """`count` bytes from byte `start`. Raises WeightsError if the file ends before."""
        if start < 0 or count < 0 or start + count > self.size:
            raise self.error(f"ends early: {start + count:,} bytes needed, {self.size:,} there. {AGAIN}")
        with self.open() as file:
            file.seek(start)
            data = file.read(count)
        if len(data) != count:
            raise self.error("changed while it was read. Nothing was loaded.")
        return data


@dataclass(slots=True)
class Span:
    """A part of a file, with its CRC-32 where the container holds one: checked once, at the first read."""

    source: FileSource
    start: int
    size: int
    name: str = ""
    crc: int | None = None
    _checked: bool = field(default=False, init=False)

    def fetch(self, start: int, count: int) -> bytes:
        """`count` bytes from byte `start` of the part. Raises WeightsError for a wrong checksum."""
        self.check()
        if start + count > self.size:
            raise self.source.error(f"{self.name}: read past its end; the file is damaged. {AGAIN}")
        return self.source.read(self.start + start, count)

    def check(self) -> None:
        """Compare the checksum, in constant memory. Raises WeightsError where it differs."""
        if self._checked or self.crc is None:
            return
        crc, left = 0, self.size
        with self.source.open() as file:
            file.seek(self.start)
            while left and (chunk := file.read(min(_CHUNK, left))):
                crc = zlib.crc32(chunk, crc)
                left -= len(chunk)
        if left or crc != self.crc:
            raise self.source.error(f"{self.name}: the checksum does not fit; the file is damaged. {AGAIN}")
        self._checked = True
