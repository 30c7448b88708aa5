"""The file of predictions beside a record, checked without knowing what its arrays mean."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.core.errors import StoreError
from bench.core.paths import file_size
from bench.core.records import Record
from bench.core.store import Attachment, Store

PREDICTIONS: Final = "predictions"
"""The key of a record's `details` under which stands what is kept beside it."""

MAX_BYTES: Final = 16 * 1024**3
"""Of the file, and of what it unpacks to; `transfer.metrics.kept` has the same limit."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9_-]{1,40}){1,5}")
_CHUNK: Final = 1 << 20

_GZIP_HEADER: Final = re.compile(rb"\x1f\x8b\x08\x00\x00\x00\x00\x00[\x00\x02\x04][\x03\xff]")
"""What a gzip file of ours begins with: no name, no time, how hard it was tried, Unix or no system.

Nothing in the rest of the file would notice a bit that is flipped here.
"""


@dataclass(frozen=True)
class Kept:
    """What a record says of the file beside it: the sha256 of what it stands for, and how its name ends."""

    sha256: str
    suffix: str


def kept_of(record: Record) -> Kept | None:
    """What the record keeps, or None.

    Raises:
        StoreError: it says so in a form that names no file.
    """
    if PREDICTIONS not in record.details:
        return None
    kept = record.details[PREDICTIONS]
    sha256 = kept.get("sha256") if isinstance(kept, dict) else None
    suffix = kept.get("suffix") if isinstance(kept, dict) else None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise StoreError(f"record {record.id}: details.{PREDICTIONS}.sha256 is no sha256")
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise StoreError(f"record {record.id}: details.{PREDICTIONS}.suffix is no end of a file name")
    return Kept(sha256, suffix)


def kept_path(store: Store, record: Record) -> Path | None:
    """Where the file beside a record must lie, or None if it keeps none. Raises as `kept_of`."""
    kept = kept_of(record)
    return None if kept is None else store.attachment_path(record, kept.sha256, kept.suffix)


def check_kept(path: Path, kept: Kept) -> None:
    """Read a file of predictions to its end, a piece at a time.

    A file that ends in `.gz` is unpacked: its sha256 is of the content. Every change of the content is found,
    and every byte that is missing or too many; a flipped bit that gzip itself does not look at, and that
    changes nothing of the content, is none.

    Raises:
        StoreError: not there, damaged, or not the file that the record means.
    """
    try:
        if file_size(path) > MAX_BYTES:
            raise StoreError(f"{path}: larger than {MAX_BYTES:,} bytes; these are no predictions")
        found = _content_sha256(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: is missing; its record says that predictions are kept there") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, zlib.error) as error:
        raise StoreError(f"{path}: damaged: {error}. Put the original back") from None
    if found != kept.sha256:
        raise StoreError(
            f"{path}: its content has sha256 {found[:12]}..., its record says {kept.sha256[:12]}...: it is "
            "damaged, or the file of another record. Put the original back"
        )


def read_kept(store: Store, record: Record) -> Attachment | None:
    """The checked file beside a record, to be kept beside another copy of it; None if it keeps none.

    Raises:
        StoreError: as in `kept_of` and `check_kept`.
    """
    kept = kept_of(record)
    if kept is None:
        return None
    path = store.attachment_path(record, kept.sha256, kept.suffix)
    check_kept(path, kept)
    try:
        return Attachment(kept.suffix, path.read_bytes(), kept.sha256)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None


def _content_sha256(path: Path) -> str:
    """Raises ValueError or zlib.error for a gzip file that is not whole."""
    digest = hashlib.sha256()
    packed = path.name.endswith(".gz")
    with open(path, "rb") as file:
        if not packed:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            return digest.hexdigest()
        header = file.read(10)
        if not _GZIP_HEADER.fullmatch(header):
            raise ValueError("it does not begin as a gzip file of ours")
        unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        left, size = header, 0
        while not unpack.eof:
            if not left:
                left = file.read(_CHUNK)
                if not left:
                    raise ValueError("it is cut off")
            content = unpack.decompress(left, _CHUNK)
            left = unpack.unconsumed_tail
            size += len(content)
            if size > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
            digest.update(content)
        if unpack.unused_data or file.read(1):
            raise ValueError("something is behind its end")
    return digest.hexdigest()
