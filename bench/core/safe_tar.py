"""The one reader of tar archives, plain or gzipped: plain files below one folder, or refused by name.

The headers are read one by one with `tarfile.TarInfo.frombuf`, never by `tarfile` itself: it would read an
extended header of any length into memory, make links and devices, and let a later member replace an earlier.
Nothing is written here but into a folder that is being built (`bench.core.atomic.new_folder`), and every
archive is read to its end before the first file of it is written.

Source: POSIX.1-2017, pax: "ustar Interchange Format" and "pax Header Block"; GNU tar, "Basic Tar Format".
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.core.atomic import StagedFolder
from bench.core.errors import DataError, DiskError

MAX_MEMBERS = 200_000
MAX_MEMBER_BYTES = 256 * 1024**2
MAX_TOTAL_BYTES = 32 * 1024**3
MAX_RATIO = 500
"""Of unpacked to packed bytes: zeros come to 1,029, label maps of large areas to 100."""

_FREE_RATIO_BYTES = 16 * 1024**2
_MAX_PARTS = 32
_MAX_EXTENDED_BYTES = 64 * 1024
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1024**2
_FILE_SYSTEM_BLOCK = 4096
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_OTHERS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}

_NOT_UNPACKED = "Nothing was unpacked."
_AGAIN = "Download it again."


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive.

    Attributes:
        name: Relative to the folder that was asked for, parts divided by "/".
        size: Bytes.
        read: The content; to be called before the next entry is taken, at most once.
    """

    name: str
    size: int
    read: Callable[[], bytes]


def walk(path: Path, folder: str) -> Iterator[Entry]:
    """The files of an archive that lie in `folder`, in the order of the archive.

    What lies elsewhere is passed over: only its name and size are judged. What comes behind the end of the
    archive is not looked at.

    Args:
        path: A tar file, plain or gzipped.
        folder: "VOCdevkit/VOC2007".

    Raises:
        DataError: the archive is damaged or cut off, or a member is a link, a device, too large, there twice,
            or has a name that may not be.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    with file:
        stream = _Stream(path, file)
        names = _Names(path)
        for info in _members(stream):
            entry = _wanted(stream, names, info, folder)
            behind = stream.position + -(-info.size // _BLOCK) * _BLOCK
            if entry is not None:
                yield entry
            stream.skip(behind - stream.position)
        stream.finish()


def sizes_of(path: Path, folder: str) -> dict[str, int]:
    """Name to size of all the files that `walk` gives; the whole archive is read. Raises as `walk`."""
    return {entry.name: entry.size for entry in walk(path, folder)}


def check_space(place: Path, sizes: Iterable[int]) -> None:
    """Hold that files of these sizes fit onto the disk of `place`, or of the nearest folder that is there.

    Raises:
        DiskError: they do not.
    """
    need = sum(-(-size // _FILE_SYSTEM_BLOCK) * _FILE_SYSTEM_BLOCK for size in sizes)
    there = next((folder for folder in (place, *place.absolute().parents) if folder.is_dir()), None)
    with suppress(OSError):  # a file system that does not tell
        free = shutil.disk_usage(there or Path()).free
        if need > free:
            raise DiskError(
                f"{place}: {need:,} bytes needed to unpack, {free:,} are free. {_NOT_UNPACKED} "
                "Make room, and give the same command again."
            )


def unpack(
    archives: Sequence[Path],
    folder: str,
    stage: StagedFolder,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Unpack what several archives have in one folder, each listed to its end first.

    A file that two archives have must be the same in both.

    Args:
        archives: Tar files.
        folder: What of them is unpacked: the files in it, by their names relative to it.
        stage: The folder that is being built, empty.
        progress: Called with (done, all) files.

    Raises:
        DataError: as in `walk`, or the archives contradict each other, or have nothing in `folder`.
        DiskError: there is no room, or the place cannot be written.
    """
    listed = [sizes_of(path, folder) for path in archives]
    for path, sizes in zip(archives, listed, strict=True):
        if not sizes:
            raise DataError(f"{path}: has no file in {folder}; expected a data set there. {_NOT_UNPACKED}")
    together = _Names(archives[-1])
    for name in sorted({name for sizes in listed for name in sizes}):
        together.add_file(name)
    check_space(stage.root, (size for sizes in listed for size in sizes.values()))
    total = sum(map(len, listed))
    done = 0
    written: set[str] = set()
    for path in archives:
        for entry in walk(path, folder):
            data = entry.read()
            if entry.name not in written:
                stage.write(entry.name, data)
                written.add(entry.name)
            elif (stage.root / entry.name).read_bytes() != data:
                raise DataError(f"{path}: {entry.name!r} is another file in another archive; refused")
            done += 1
            progress(done, total)


class _Stream:
    """The bytes of an archive from its beginning to its end, unpacked where they are gzip's."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.position = 0
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb") if packed else None

    def error(self, text: str) -> DataError:
        """An error that names the archive."""
        return DataError(f"{self.path}: {text}")

    def read(self, count: int) -> bytes:
        """Exactly so many bytes. Raises DataError if there are less, or the packing is damaged."""
        data = self._read(count)
        if len(data) != count:
            raise self.error(f"is cut off. {_NOT_UNPACKED} {_AGAIN}")
        return data

    def skip(self, count: int) -> None:
        """Pass over so many bytes, which must be there."""
        if self._gzip is None:
            self.position += count
            if self.position > self._size:
                raise self.error(f"is cut off. {_NOT_UNPACKED} {_AGAIN}")
            self._file.seek(self.position)
            return
        while count:
            count -= len(self.read(min(count, _CHUNK)))

    def finish(self) -> None:
        """Read to the end of what is gzipped: its checksum comes last."""
        while self._gzip is not None and self._read(_CHUNK):
            pass

    def _read(self, count: int) -> bytes:
        if self._gzip is None:
            data = self._file.read(count)
        else:
            try:
                data = self._gzip.read(count)
            except (EOFError, gzip.BadGzipFile, zlib.error) as cause:
                raise self.error(f"is damaged or cut off: {cause}. {_NOT_UNPACKED} {_AGAIN}") from None
        self.position += len(data)
        bound = MAX_RATIO * self._file.tell() + _FREE_RATIO_BYTES
        if self._gzip is not None and self.position > min(bound, 2 * MAX_TOTAL_BYTES):
            raise self.error("unpacks to far more than it is; refused as a decompression bomb")
        return data


def _members(stream: _Stream) -> Iterator[tarfile.TarInfo]:
    """Every member's header, with the long names and sizes that precede it taken in.

    The caller moves the stream behind the member's data.
    """
    extended: dict[str, str] = {}
    seen: set[bytes] = set()
    count = total = 0
    while (info := _header(stream)) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise stream.error(f"has more than {MAX_MEMBERS:,} members; refused. {_NOT_UNPACKED}")
        kind = info.type
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            if kind in seen:
                raise stream.error(f"has two extended headers for one member; refused. {_NOT_UNPACKED}")
            seen.add(kind)
            extended |= _extension(stream, info)
            seen.discard(tarfile.XGLTYPE)
            continue
        info.name = extended.get("path", info.name)
        # What is no plain file has no data, whatever is said of its size before.
        info.size = int(extended.get("size", info.size))
        extended, seen = {}, set()
        if kind not in (*_FILES, *_OTHERS, tarfile.DIRTYPE):
            raise stream.error(f"{_shown(info.name)} is of a kind that is not unpacked; refused")
        if info.size < 0 or (info.size and kind not in _FILES):
            raise stream.error(f"{_shown(info.name)} says a size of {info.size:,}; refused. {_NOT_UNPACKED}")
        total += info.size
        if total > MAX_TOTAL_BYTES:
            raise stream.error(f"unpacks to more than {MAX_TOTAL_BYTES:,} bytes; refused. {_NOT_UNPACKED}")
        yield info
    if seen:
        raise stream.error(f"ends after an extended header: it is damaged. {_NOT_UNPACKED} {_AGAIN}")


def _header(stream: _Stream) -> tarfile.TarInfo | None:
    """The next header, None at the end, which is two blocks of zeros (or one, and then nothing)."""
    block = stream.read(_BLOCK)
    if block == bytes(_BLOCK):
        if any(stream._read(_BLOCK)):
            raise stream.error(f"goes on behind its end; refused. {_NOT_UNPACKED} {_AGAIN}")
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as cause:
        raise stream.error(f"is no tar archive, or damaged: {cause}. {_NOT_UNPACKED} {_AGAIN}") from None


def _extension(stream: _Stream, info: tarfile.TarInfo) -> dict[str, str]:
    """What an extended header says: `path` and `size`, if it does."""
    if not 0 <= info.size <= _MAX_EXTENDED_BYTES:
        raise stream.error(f"has an extended header of {info.size:,} bytes; refused. {_NOT_UNPACKED}")
    data = stream.read(-(-info.size // _BLOCK) * _BLOCK)[: info.size]
    if info.type == tarfile.GNUTYPE_LONGLINK:
        return {}
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    said = dict(_records(stream, data))
    if any(key.startswith("GNU.sparse") for key in said):
        raise stream.error(f"has a file with holes; refused. {_NOT_UNPACKED}")
    found: dict[str, str] = {key: said[key] for key in ("path", "size") if key in said}
    if found and info.type == tarfile.XGLTYPE:
        raise stream.error(f"says one name or size for all members; refused. {_NOT_UNPACKED}")
    if not re.fullmatch(r"[0-9]{1,18}", found.get("size", "0")):
        raise stream.error(f"has a member of size {found['size'][:40]!a}; refused. {_NOT_UNPACKED}")
    return found


def _records(stream: _Stream, data: bytes) -> Iterator[tuple[str, str]]:
    """(key, value) of each "LENGTH KEY=VALUE\\n" of a pax header."""
    at = 0
    while at < len(data):
        found = re.compile(rb"([0-9]{1,6}) ([^=]+)=").match(data, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise stream.error(f"has a damaged extended header. {_NOT_UNPACKED} {_AGAIN}")
        texts = found[2], data[found.end() : end - 1]
        key, value = (text.decode("utf-8", "surrogateescape") for text in texts)
        yield key, value
        at = end


def _wanted(stream: _Stream, names: _Names, info: tarfile.TarInfo, folder: str) -> Entry | None:
    """The entry of a member that is a file in `folder`; None of a folder, and of what lies elsewhere."""
    is_file = info.type in _FILES
    name = info.name if is_file else info.name.rstrip("/")
    while name.startswith("./"):
        name = name[2:]
    if not is_file and name in ("", "."):
        return None
    _check_name(stream, name, info.name)
    prefix = f"{folder}/"
    if not name.startswith(prefix):
        if folder == name and info.type != tarfile.DIRTYPE:
            raise stream.error(f"{_shown(name)} is no folder; refused. {_NOT_UNPACKED}")
        return None
    inner = name.removeprefix(prefix)
    if info.type in _OTHERS:
        raise stream.error(f"{_shown(name)} is {_OTHERS[info.type]}; refused. {_NOT_UNPACKED}")
    if not is_file:
        names.add_folder(inner)
        return None
    if info.size > MAX_MEMBER_BYTES:
        raise stream.error(
            f"{_shown(name)} has {info.size:,} bytes, more than {MAX_MEMBER_BYTES:,}; refused. "
            f"{_NOT_UNPACKED}"
        )
    names.add_file(inner)
    return Entry(inner, info.size, lambda: stream.read(info.size))


def _check_name(stream: _Stream, name: str, written: str) -> None:
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(parts) <= _MAX_PARTS
    if not plain or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        raise stream.error(
            f"the member name {_shown(written)}; expected a plain relative name; refused. {_NOT_UNPACKED}"
        )


def _shown(name: str) -> str:
    return ascii(name[:80])


class _Names:
    """The names of an archive so far: each once, also for a file system that does not tell a from A."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: set[str] = set()
        self._folders: dict[str, str] = {"": ""}

    def add_file(self, name: str) -> None:
        """Take in a file and the folders above it. Raises DataError if something has its name."""
        self.add_folder(name.rpartition("/")[0])
        key = _folded(name)
        if key in self._files or key in self._folders:
            raise DataError(
                f"{self._path}: {_shown(name)} is there twice, or under a name that only differs in its "
                f"spelling; refused. {_NOT_UNPACKED}"
            )
        self._files.add(key)

    def add_folder(self, name: str) -> None:
        """Take in a folder and those above it; it may come again. Raises DataError if a file has its name."""
        if self._folders.get(_folded(name)) == name:
            return
        self.add_folder(name.rpartition("/")[0])
        key = _folded(name)
        if key in self._files or key in self._folders:
            raise DataError(
                f"{self._path}: {_shown(name)} is a file and a folder, or two folders whose names only "
                f"differ in spelling; refused. {_NOT_UNPACKED}"
            )
        self._folders[key] = name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
