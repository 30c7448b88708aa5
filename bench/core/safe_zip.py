"""The two containers of `torch.save`, opened without torch: the zip file, and the run of pickles before 1.6.

The zip reader is our own, for what torch writes: entries stored as they are, none over another, names unique
and plain. So nothing is ever unpacked, a bomb has nowhere to hide, and a tensor is read straight from its
place in the file. `zipfile` would inflate, follow overlapping entries and tidy up names.

Source: PKWARE's APPNOTE 6.3.10 (4.3 and 4.5.3) for the zip file; torch/serialization.py (`_save`,
`_legacy_save`) for what is inside.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.core.errors import WeightsError
from bench.core.safe_pickle import DTYPES, STORAGES, BadPickle, Global, Storage, Stream, load_pickle

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 32 * 1024**2
_CHUNK = 1024**2

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

# Source: torch/serialization.py, MAGIC_NUMBER and PROTOCOL_VERSION.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little") + b"."


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

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The open file, at its beginning. Raises WeightsError if it is not the same any more."""
        try:
            # Looked at before opening: opening a named pipe would wait for ever.
            if self.path.exists() and not self.path.is_file():
                raise WeightsError(f"{self.where}: cannot be read: not a plain file")
            with open(self.path, "rb") as file:
                if self._identity is not None and self._identify(file) != self._identity:
                    raise WeightsError(f"{self.where}: changed while it was read. Nothing was loaded.")
                yield file
        except OSError as cause:
            raise WeightsError(f"{self.where}: cannot be read: {cause.strerror}") from None

    def read(self, start: int, count: int) -> bytes:
        """`count` bytes from byte `start`. Raises WeightsError if the file ends before."""
        if start < 0 or count < 0 or start + count > self.size:
            raise WeightsError(
                f"{self.where}: ends early: {start + count:,} bytes needed, {self.size:,} there"
            )
        with self.open() as file:
            file.seek(start)
            data = file.read(count)
        if len(data) != count:
            raise WeightsError(f"{self.where}: changed while it was read. Nothing was loaded.")
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
            raise WeightsError(f"{self.source.where}: {self.name}: read past its end; the file is damaged")
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
            raise WeightsError(
                f"{self.source.where}: {self.name}: the checksum does not fit; the file is damaged. "
                "Nothing was loaded. Download it again."
            )
        self._checked = True


def read_torch_zip(source: FileSource) -> Any:
    """The value in a file of `torch.save` since 1.6; tensors are `TensorRef`s into the file.

    Raises:
        WeightsError: not a zip file as torch writes it, damaged, or it asks for what `load_pickle` refuses.
    """
    entries = read_directory(source)
    roots = {name.split("/", 1)[0] for name in entries}
    root = next(iter(roots), "")
    if len(roots) != 1 or f"{root}/data.pkl" not in entries:
        raise WeightsError(f"{source.where}: a zip file, but not of torch.save: no data.pkl in one folder")
    if f"{root}/constants.pkl" in entries or any(name.startswith(f"{root}/code/") for name in entries):
        raise WeightsError(
            f"{source.where}: a TorchScript program; expected a state dict saved by torch.save"
        )
    order = entries.get(f"{root}/byteorder")
    big = order is not None and order.size <= 8 and order.fetch(0, order.size) == b"big"

    def storage(persistent_id: Any) -> Storage:
        dtype, key, count = _storage_id(persistent_id, length=5)
        entry = entries.get(f"{root}/data/{key}")
        width = np.dtype(DTYPES[dtype]).itemsize
        if entry is None or entry.size != count * width:
            have = "is missing" if entry is None else f"has {entry.size:,} bytes"
            raise BadPickle(f"the storage {key[:40]!r} of {count:,} {dtype} {have}; the file is damaged")
        return Storage(dtype, count, entry.fetch, big)

    return _unpickle(entries[f"{root}/data.pkl"], source, storage)


def _unpickle(entry: Span, source: FileSource, storage: Callable[[Any], Storage]) -> Any:
    entry.check()
    with source.open() as file:
        file.seek(entry.start)
        stream = Stream(file, entry.size)
        value = load_pickle(stream, source.where, storage)
    if stream.position != entry.size:
        raise WeightsError(
            f"{source.where}: {entry.size - stream.position:,} bytes behind the pickle; refused"
        )
    return value


def _storage_id(persistent_id: Any, *, length: int) -> tuple[str, str, int]:
    """(dtype, key, number of elements) of torch's ("storage", class, key, device, count, ...)."""
    if not isinstance(persistent_id, tuple) or len(persistent_id) != length or persistent_id[0] != "storage":
        raise BadPickle("a persistent id that is no storage; refused")
    label, key, count = persistent_id[1], persistent_id[2], persistent_id[4]
    if not isinstance(label, Global) or label.name not in STORAGES:
        raise BadPickle("a storage of an unknown kind; refused")
    if not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**60:
        raise BadPickle("a storage without a name and a count; refused")
    return STORAGES[label.name], key, count


def read_directory(source: FileSource) -> dict[str, Span]:
    """The entries of a zip file whose entries are stored, plain and apart from each other.

    Raises:
        WeightsError: compressed, encrypted, overlapping, hidden or oddly named entries; damage.
    """

    def refuse(reason: str) -> WeightsError:
        return WeightsError(f"{source.where}: {reason}; refused")

    start, size, count = _find_directory(source, refuse)
    if count > MAX_ENTRIES or size > MAX_DIRECTORY_BYTES:
        raise refuse(f"a zip file with {count:,} entries")
    data = source.read(start, size)
    entries: dict[str, Span] = {}
    headers: list[tuple[int, int, str]] = []  # (where the local header starts, where the data ends, name)
    position = 0
    with source.open() as file:
        for _ in range(count):
            if position + _CENTRAL.size > size:
                raise refuse("a damaged zip directory")
            fields = _CENTRAL.unpack_from(data, position)
            name_end = position + _CENTRAL.size + fields[10]
            raw_name = data[position + _CENTRAL.size : name_end]
            extra = data[name_end : name_end + fields[11]]
            position = name_end + fields[11] + fields[12]
            name = _entry_name(raw_name, refuse)
            packed, plain, offset = _wide_sizes(fields, extra, refuse)
            if fields[0] != b"PK\x01\x02" or fields[3] & 0x2041 or fields[4] != 0 or packed != plain:
                raise refuse(
                    f"the entry {name!r} is compressed, encrypted or damaged; torch stores entries plain"
                )
            if name in entries:
                raise refuse(f"the entry {name!r} is there twice")
            begin = _data_start(file, offset, raw_name, start, refuse)
            if begin + plain > start:
                raise refuse(f"the entry {name!r} reaches beyond the data")
            headers.append((offset, begin + plain, name))
            entries[name] = Span(source, begin, plain, name, fields[7])
    if position != size:
        raise refuse("a damaged zip directory")
    headers.sort()
    for (_, end, name), (offset, _, other) in pairwise(headers):
        if offset < end:
            raise refuse(f"the entries {name!r} and {other!r} overlap")
    if all(entry.crc == 0 for entry in entries.values()):
        # torch.serialization.set_crc32_options(False) writes no checksums at all, in any entry.
        for entry in entries.values():
            entry.crc = None
    return entries


_Refuse = Callable[[str], WeightsError]


def _find_directory(source: FileSource, refuse: _Refuse) -> tuple[int, int, int]:
    """(start, size, number of entries) of the central directory; it ends where the end record begins."""
    tail_size = min(source.size, _END.size + 0xFFFF)
    tail_start = source.size - tail_size
    tail = source.read(tail_start, tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > tail_size:
        raise WeightsError(
            f"{source.where}: a zip file without its end: the file was cut off. Nothing was loaded. "
            "Download it again."
        )
    _, disk, first, here, count, size, start, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if disk or first or here != count or at + _END.size + comment != tail_size:
        raise refuse("a zip file in parts, or with something behind it")
    locator_at = end - _END64_LOCATOR.size
    if locator_at >= 0 and source.read(locator_at, 4) == b"PK\x06\x07":
        _, disk, end, disks = _END64_LOCATOR.unpack(source.read(locator_at, _END64_LOCATOR.size))
        if end + _END64.size != locator_at:
            raise refuse("a damaged zip directory")
        found = _END64.unpack(source.read(end, _END64.size))
        here, count, size, start = found[6:]
        if found[0] != b"PK\x06\x06" or found[4] or found[5] or here != count or disk or disks > 1:
            raise refuse("a damaged zip directory")
    if start + size != end:
        raise refuse("a zip file whose directory is not where it says")
    return start, size, count


def _wide_sizes(fields: tuple[Any, ...], extra: bytes, refuse: _Refuse) -> tuple[int, int, int]:
    """(packed size, plain size, offset) of an entry, from the zip64 field where the short ones are full."""
    packed, plain, offset = fields[8], fields[9], fields[16]
    wide: bytes | None = None
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, position)
        if tag == 1:
            wide = extra[position + 4 : position + 4 + length]
        position += 4 + length
    values = list(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8])) if wide else []
    numbers = []
    for short in (plain, packed, offset):
        if short == 0xFFFFFFFF:
            if not values:
                raise refuse("a damaged zip directory")
            short = values.pop(0)
        numbers.append(short)
    return numbers[1], numbers[0], numbers[2]


def _entry_name(raw: bytes, refuse: _Refuse) -> str:
    name = raw.decode("utf-8", "replace")
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and "\ufffd" not in name
    if not plain or not name or len(name) > 512 or any(part in ("", ".", "..") for part in parts):
        raise refuse(f"the zip entry name {name[:80]!a}")
    return name


def _data_start(file: BinaryIO, offset: int, raw_name: bytes, limit: int, refuse: _Refuse) -> int:
    """Where an entry's bytes begin, from its own header, which must tell the same name and way."""
    if offset + _LOCAL.size > limit:
        raise refuse("a zip entry outside the file")
    file.seek(offset)
    header = file.read(_LOCAL.size + len(raw_name))
    if len(header) < _LOCAL.size + len(raw_name):
        raise refuse("a zip entry outside the file")
    signature, _, flags, method, *_, name_size, extra_size = _LOCAL.unpack_from(header)
    if signature != b"PK\x03\x04" or method or flags & 0x2041 or header[_LOCAL.size :] != raw_name:
        raise refuse("a zip entry whose two headers differ")
    if name_size != len(raw_name):
        raise refuse("a zip entry whose two headers differ")
    return offset + _LOCAL.size + len(raw_name) + int(extra_size)


def read_torch_legacy(source: FileSource) -> Any:
    """The value in a file of `torch.save` before 1.6; tensors are `TensorRef`s into the file.

    The file is: magic number, protocol, system facts, the object, the list of storage keys (five pickles),
    then each storage: its number of elements as eight bytes, and the elements.

    Raises:
        WeightsError: as in `read_torch_zip`.
    """
    places: dict[str, Span] = {}
    declared: dict[str, tuple[str, int]] = {}

    def storage(persistent_id: Any) -> Storage:
        dtype, key, count = _storage_id(persistent_id, length=6)
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise BadPickle(f"the storage {key[:40]!r} is declared twice, differently; refused")
        # Where the storage lies is known only behind the last pickle, so look it up when read.
        base, view = 0, persistent_id[5]
        if view is not None:
            _, base, count = view
            if type(base) is not int or type(count) is not int or base < 0 or count < 0:
                raise BadPickle("a view of a storage that is no view; refused")
            if base + count > declared[key][1]:
                raise BadPickle("a view beyond its storage; refused")
        base *= np.dtype(DTYPES[dtype]).itemsize
        return Storage(dtype, count, lambda start, size: places[key].fetch(base + start, size))

    with source.open() as file:
        stream = Stream(file, source.size)
        magic, protocol, system = (load_pickle(stream, source.where) for _ in range(3))
        if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
            raise WeightsError(f"{source.where}: not the format that torch wrote before 1.6")
        if system.get("little_endian") is not True:
            raise WeightsError(
                f"{source.where}: written on a big-endian machine; not supported in this format"
            )
        value = load_pickle(stream, source.where, storage)
        keys = load_pickle(stream, source.where)
        _place_storages(file, source, stream.position, keys, declared, places)
    return value


def _place_storages(
    file: BinaryIO,
    source: FileSource,
    position: int,
    keys: Any,
    declared: dict[str, tuple[str, int]],
    places: dict[str, Span],
) -> None:
    """Find each storage behind the pickles and compare its size with the declared one."""
    listed = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
    if listed != keys or sorted(listed) != sorted(declared):
        raise WeightsError(f"{source.where}: lists other storages than its tensors use; the file is damaged")
    for key in listed:
        dtype, count = declared[key]
        size = count * np.dtype(DTYPES[dtype]).itemsize
        file.seek(position)
        if file.read(8) != count.to_bytes(8, "little") or position + 8 + size > source.size:
            raise WeightsError(
                f"{source.where}: the storage {key[:40]!r} of {count:,} {dtype} is cut off or damaged. "
                "Nothing was loaded. Download the file again."
            )
        places[key] = Span(source, position + 8, size, f"storage {key[:40]!r}")
        position += 8 + size
    if position != source.size:
        raise WeightsError(
            f"{source.where}: {source.size - position:,} bytes behind the last storage; refused"
        )
