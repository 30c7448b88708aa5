"""The directory of a zip file as torch writes it: entries stored plain, apart from each other, named once.

So nothing is ever unpacked, a bomb has nowhere to hide, and a tensor is read straight from its place in the
file. `zipfile` would inflate, follow overlapping entries and tidy up names.

Source: PKWARE's APPNOTE 6.3.10 (4.3 and 4.5.3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

from bench.core.file_source import AGAIN, NOT_READ, FileSource, Span

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 32 * 1024**2

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x2041  # the flag bits of the three ways to encrypt an entry or its headers
_FULL = 0xFFFFFFFF  # a short number that says: look into the zip64 field

_DAMAGED = f"a damaged zip directory; refused. {AGAIN}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of one entry; `offset` is that of its own header."""

    name: str
    raw_name: bytes
    offset: int
    size: int
    crc: int


def read_directory(source: FileSource) -> dict[str, Span]:
    """Where each entry's bytes are; their checksum is None where the file has none at all.

    Raises:
        WeightsError: compressed, encrypted, overlapping, hidden or oddly named entries; damage.
    """
    start, size, count = _find_directory(source)
    if count > MAX_ENTRIES or size > MAX_DIRECTORY_BYTES:
        raise source.error(f"a zip file with {count:,} entries; refused. {NOT_READ}")
    spans: dict[str, Span] = {}
    places: list[tuple[int, int, str]] = []  # (where the entry's header starts, where its data ends, name)
    with source.open() as file:
        for entry in _listed(source, source.read(start, size), count):
            if entry.name in spans:
                raise source.error(f"the entry {entry.name!r} is there twice; refused. {NOT_READ}")
            begin = _data_start(source, file, entry, limit=start)
            if begin + entry.size > start:
                raise source.error(f"the entry {entry.name!r} reaches beyond the data; refused. {AGAIN}")
            places.append((entry.offset, begin + entry.size, entry.name))
            spans[entry.name] = Span(source, begin, entry.size, entry.name, entry.crc)
    for (_, end, name), (offset, _, other) in pairwise(sorted(places)):
        if offset < end:
            raise source.error(f"the entries {name!r} and {other!r} overlap; refused. {NOT_READ}")
    if all(span.crc == 0 for span in spans.values()):
        # torch.serialization.set_crc32_options(False) writes no checksums at all, in any entry.
        for span in spans.values():
            span.crc = None
    return spans


def _find_directory(source: FileSource) -> tuple[int, int, int]:
    """(start, size, number of entries) of the central directory; it ends where the end record begins."""
    tail_size = min(source.size, _END.size + 0xFFFF)
    tail_start = source.size - tail_size
    tail = source.read(tail_start, tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > tail_size:
        raise source.error(f"a zip file without its end: the file was cut off. {AGAIN}")
    _, disk, first, here, count, size, start, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if disk or first or here != count or at + _END.size + comment != tail_size:
        raise source.error(f"a zip file in parts, or with something behind it; refused. {AGAIN}")
    locator_at = end - _END64_LOCATOR.size
    if locator_at >= 0 and source.read(locator_at, 4) == b"PK\x06\x07":
        _, disk, end, disks = _END64_LOCATOR.unpack(source.read(locator_at, _END64_LOCATOR.size))
        if end + _END64.size != locator_at:
            raise source.error(_DAMAGED)
        found = _END64.unpack(source.read(end, _END64.size))
        here, count, size, start = found[6:]
        if found[0] != b"PK\x06\x06" or found[4] or found[5] or here != count or disk or disks > 1:
            raise source.error(_DAMAGED)
    if start + size != end:
        raise source.error(f"a zip file whose directory is not where it says; refused. {AGAIN}")
    return start, size, count


def _listed(source: FileSource, data: bytes, count: int) -> Iterator[_Entry]:
    """The entries of the central directory, which must be exactly `count`."""
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(data):
            raise source.error(_DAMAGED)
        fields = _CENTRAL.unpack_from(data, position)
        signature, flags, method, crc = fields[0], fields[3], fields[4], fields[7]
        name_end = position + _CENTRAL.size + fields[10]
        raw_name = data[position + _CENTRAL.size : name_end]
        extra = data[name_end : name_end + fields[11]]
        position = name_end + fields[11] + fields[12]
        name = _entry_name(source, raw_name)
        packed, plain, offset = _wide_sizes(source, fields, extra)
        if signature != b"PK\x01\x02" or flags & _ENCRYPTED or method != 0 or packed != plain:
            raise source.error(
                f"the entry {name!r} is compressed, encrypted or damaged; torch stores entries plain; "
                f"refused. {NOT_READ}"
            )
        yield _Entry(name, raw_name, offset, plain, crc)
    if position != len(data):
        raise source.error(_DAMAGED)


def _entry_name(source: FileSource, raw: bytes) -> str:
    name = raw.decode("utf-8", "replace")
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and "\ufffd" not in name
    if not plain or not name or len(name) > 512 or any(part in ("", ".", "..") for part in parts):
        raise source.error(f"the zip entry name {name[:80]!a}; refused. {NOT_READ}")
    return name


def _wide_sizes(source: FileSource, fields: tuple[Any, ...], extra: bytes) -> tuple[int, int, int]:
    """(packed size, plain size, offset) of an entry, from the zip64 field where the short ones are full."""
    wide = b""
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, position)
        if tag == 1:
            wide = extra[position + 4 : position + 4 + length]
        position += 4 + length
    values = [value for (value,) in struct.iter_unpack("<Q", wide[: len(wide) // 8 * 8])]
    numbers = {"plain": fields[9], "packed": fields[8], "offset": fields[16]}
    for name, short in numbers.items():
        if short == _FULL:
            if not values:
                raise source.error(_DAMAGED)
            numbers[name] = values.pop(0)
    return numbers["packed"], numbers["plain"], numbers["offset"]


def _data_start(source: FileSource, file: BinaryIO, entry: _Entry, *, limit: int) -> int:
    """Where an entry's bytes begin, from its own header, which must tell the same name and way."""
    size = _LOCAL.size + len(entry.raw_name)
    header = b""
    if entry.offset + _LOCAL.size <= limit:
        file.seek(entry.offset)
        header = file.read(size)
    if len(header) < size:
        raise source.error(f"a zip entry outside the file; refused. {AGAIN}")
    signature, _, flags, method, *_, name_size, extra_size = _LOCAL.unpack_from(header)
    plain = signature == b"PK\x03\x04" and not method and not flags & _ENCRYPTED
    if not plain or name_size != len(entry.raw_name) or header[_LOCAL.size :] != entry.raw_name:
        raise source.error(f"a zip entry whose two headers differ; refused. {AGAIN}")
    return entry.offset + size + int(extra_size)
