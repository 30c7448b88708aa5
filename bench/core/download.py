"""Download one file: resumable, and hashed as a whole before it takes its name.

What has arrived lies in the folder `NAME.part` beside the target: the bytes, what the server said of them,
and a lock. A download that stops leaves it, and the next one goes on from there if the server still has
that very file. If it sends another one from its beginning, the old bytes stay until the new ones are more.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import ValidationError

from bench.core import atomic, http_file, lock
from bench.core.errors import UsageError, WeightsError
from bench.core.http_file import Reply, Said
from bench.core.safe_json import read_json

MIN_DIGITS = 8
_CHUNK = 256 * 1024

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here, and with their number in all where the server says it."""


@dataclass(frozen=True)
class Digest:
    """What a file's authors publish of its hash.

    Attributes:
        kind: Which hash.
        digits: Hexadecimal, lower case: the whole hash, or at least its first eight digits.
    """

    kind: Literal["sha256", "md5"]
    digits: str

    def __post_init__(self) -> None:
        most = hashlib.new(self.kind, usedforsecurity=False).digest_size * 2
        if not re.fullmatch(rf"[0-9a-f]{{{MIN_DIGITS},{most}}}", self.digits):
            raise ValueError(f"{self.digits!r}: expected {MIN_DIGITS} to {most} digits of a {self.kind}")


def hash_file(path: Path, kind: str) -> tuple[str, str]:
    """(sha256, hash of the given kind) of a file's bytes, in hex. Raises WeightsError if unreadable."""
    sha256, other = hashlib.sha256(), hashlib.new(kind, usedforsecurity=False)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                sha256.update(chunk)
                other.update(chunk)
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read: {cause.strerror}") from None
    return sha256.hexdigest(), other.hexdigest()


def already_there(path: Path, digest: Digest, *, force: bool = False) -> str | None:
    """sha256 of the file at `path` if it has this digest; None if a download may write there.

    Raises:
        UsageError: a folder is there, or another file and `force` is False.
    """
    with atomic.disk_errors(path):
        nothing, plain_file = not path.exists(), path.is_file()
    if nothing:
        return None
    if not plain_file:
        raise UsageError(f"{path}: is no plain file; expected a file, or nothing")
    sha256, found = hash_file(path, digest.kind)
    if found.startswith(digest.digits):
        return sha256
    if not force:
        raise UsageError(
            f"{path}: exists already and is another file: {digest.kind} {found}, expected {digest.digits}. "
            "Give another --out; --force replaces it."
        )
    return None


def fetch(
    url: str,
    path: Path,
    *,
    digest: Digest,
    progress: Progress = lambda _done, _total: None,
    checked: Callable[[str], None] = lambda _sha256: None,
    force: bool = False,
) -> str:
    """Bring the file at `url` to `path`, or go on with a download of it that was stopped.

    A file that is there and has this digest is not downloaded again.

    Args:
        url: http or https.
        path: Where the finished file will be; the folder `NAME.part` beside it is used on the way.
        digest: What its hash must begin with.
        progress: Told of every piece.
        checked: Called with the sha256 of a whole file of the right hash, before it gets its name.
        force: Replace another file that is there.

    Returns:
        sha256 of the whole file, 64 hex digits.

    Raises:
        UsageError: another file or a folder is there, or another process downloads it.
        WeightsError: no answer, a wrong one, a connection that broke, or a file with another hash.
        DiskError: the disk is full, or the place cannot be written.
    """
    sha256 = already_there(path, digest, force=force)
    if sha256 is not None:
        return sha256
    part = _Part(path)
    with atomic.folder_for(path.parent), lock.hold(part.folder):
        try:
            # Another process may have brought it before we had the lock.
            sha256 = already_there(path, digest, force=force)
            if sha256 is None:
                part.settle(url)  # what a killed one left
                arrived, is_whole = _download(url, part, progress)
                sha256 = _checked(url, part, arrived, digest, is_whole=is_whole)
                checked(sha256)
                atomic.move_in(arrived.data, path)
                part.kept.forget()
        finally:
            part.settle(url)
            part.sweep()
    return sha256


class _Bytes:
    """Bytes that have arrived, and what was said of the file that they begin."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.data = folder / f"{prefix}data"
        self._said = folder / f"{prefix}said.json"

    def state(self, url: str) -> tuple[int, Said | None]:
        """(number of bytes that are here and can be gone on from, what was said of them)."""
        try:
            said = Said.model_validate(read_json(self._said, error=WeightsError, max_bytes=10_000))
            size = self.data.stat().st_size
        except (WeightsError, ValidationError, OSError):
            return 0, None
        return (size, said) if said.url == url and said.validator and size else (0, None)

    def begin(self, said: Said) -> None:
        """Forget what is here, and note of which file the next bytes are."""
        self.forget()
        atomic.write_text(self._said, atomic.json_text(said.model_dump()))

    def append(self) -> BinaryIO:
        """The file to add bytes to."""
        return open(self.data, "ab")

    def forget(self) -> None:
        """Remove the bytes, and what was said of them."""
        with atomic.disk_errors(self.data):
            self._said.unlink(missing_ok=True)
            self.data.unlink(missing_ok=True)

    def replace(self, other: _Bytes) -> None:
        """Take the place of `other`; after a kill in between there is no note, and a download begins anew."""
        with atomic.disk_errors(other.data):
            other._said.unlink(missing_ok=True)
        atomic.move_in(self.data, other.data)
        atomic.move_in(self._said, other._said)


class _Part:
    """The folder of a download that goes on.

    Attributes:
        kept: What the next request goes on from.
        fresh: What a server sends from its beginning although something was kept: the file, if it does not
            send parts or has another one now, or the page of somebody who wants a password.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path.with_name(f"{path.name}.part")
        self.kept = _Bytes(self.folder)
        self.fresh = _Bytes(self.folder, "new-")

    def is_best(self, arrived: _Bytes, url: str) -> bool:
        """Whether these are the bytes to go on from: the only ones, or the longer ones."""
        size, _ = arrived.state(url)
        return size > 0 and (arrived is self.kept or size > self.kept.state(url)[0])

    def settle(self, url: str) -> None:
        """Keep the best of both."""
        if self.is_best(self.fresh, url):
            self.fresh.replace(self.kept)
        self.fresh.forget()

    def sweep(self) -> None:
        """Remove the folder, unless there are bytes in it to go on from."""
        if not self.kept.data.exists() or not self.kept.data.stat().st_size:
            shutil.rmtree(self.folder, ignore_errors=True)


def _checked(url: str, part: _Part, arrived: _Bytes, digest: Digest, *, is_whole: bool) -> str:
    """sha256 of what has arrived.

    Raises:
        WeightsError: it has not this digest. It is forgotten, unless it may be the beginning of what has.
    """
    sha256, found = hash_file(arrived.data, digest.kind)
    if found.startswith(digest.digits):
        return sha256
    wrong = f"{url}: what arrived has {digest.kind} {found}, expected {digest.digits}: "
    if not is_whole and part.is_best(arrived, url):
        raise WeightsError(
            f"{wrong}the server does not say how long the file is, and the connection may have ended early. "
            "What arrived was kept; the same command goes on."
        )
    arrived.forget()
    before, _ = part.kept.state(url)
    left = f"The {before:,} bytes of before are kept in {part.folder}" if before else "Nothing was kept"
    raise WeightsError(f"{wrong}it was damaged on the way, or it is another file now. {left}.")


def _download(url: str, part: _Part, progress: Progress) -> tuple[_Bytes, bool]:
    """Bring the bytes that are missing. Raises as `fetch`; what has arrived stays.

    Returns:
        The bytes, and whether they are known to be all of the file.
    """
    offset, said = part.kept.state(url)
    if said is not None and offset == said.size:
        return part.kept, True  # stopped after the last byte, before it was hashed
    reply = http_file.ask(url, offset, said)
    total: int | None = None
    if said is not None:
        total = http_file.size_if_rest(reply, offset, said)
        if reply.status == 416 and reply.headers.get("Content-Range") == f"bytes */{offset}":
            reply.close()
            return part.kept, True  # the server has no more than what is here
        if total is None and reply.status != 200:
            reply.close()
            reply = http_file.ask(url)
    with reply:
        arrived = part.kept
        if total is None:
            said = http_file.said_by(url, reply)
            if offset:
                arrived = part.fresh
            offset, total = 0, said.size
            arrived.begin(said)
        done = _append(url, reply, arrived, offset, total, progress)
    if total is not None and done != total:
        raise http_file.stopped(url, "the connection ended early", done, total)
    return arrived, total is not None or http_file.is_chunked(reply)


def _append(url: str, reply: Reply, arrived: _Bytes, done: int, total: int | None, progress: Progress) -> int:
    """Add what `reply` brings to the `done` bytes that are here; returns how many are here then."""
    progress(done, total)
    with atomic.disk_errors(arrived.data, total), arrived.append() as file:
        while chunk := http_file.read(reply, _CHUNK, url, done, total):
            done += len(chunk)
            if done > http_file.MAX_BYTES:
                arrived.forget()
                raise http_file.too_large(url)
            file.write(chunk)
            progress(done, total)
    return done
