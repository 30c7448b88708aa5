"""The index of a source of images: what it holds, packed into a few arrays, made once and kept in a file.

A million names as Python strings would be copied page by page into every worker; here they are one block of
bytes. For tar shards the index says at which byte each image lies, so that any image can be read at any time.

A kept index is used again only while it is whole (a hash inside) and what it was made from still has the same
names, sizes and times of change; else it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bench.core.atomic import write_bytes
from bench.core.errors import DataError, UsageError
from bench.core.log import say
from bench.core.paths import read_bounded
from bench.core.safe_image import MAX_BYTES
from bench.core.safe_json import parse_json

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"})
"""Names that end so (in any case) are taken for images; what they hold is told by their content."""

_FORMAT = 1
_MAX_INDEX_BYTES = 8 * 1024**3
MAX_LABEL = 99_999
"""A number above it is taken for a mistake: each number up to the highest is a class."""


class Part(NamedTuple):
    """One thing a source was listed from: a class folder, a list file, a shard. Size in bytes."""

    name: str
    size: int
    mtime_ns: int


Stamp = tuple[Part, ...]


@dataclass(frozen=True)
class Names:
    """Many names in one block: name i ends at `ends[i]`, in UTF-8. Both arrays are one-dimensional."""

    blob: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Pack names."""
        coded = [name.encode() for name in names]
        ends = np.cumsum([len(name) for name in coded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(coded), np.uint8), ends)

    def __len__(self) -> int:
        """How many names."""
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self.ends):
            raise IndexError(index)
        start = self.ends[index - 1] if index else 0
        return self.blob[start : self.ends[index]].tobytes().decode()


@dataclass(frozen=True)
class Listing:
    """What a source holds, in the order of its images.

    Attributes:
        names: Paths relative to the source, or of members.
        sizes: [images] bytes of each file or member.
        labels: [images] index into `classes`; None where images have no class.
        classes: Class names; None where images have no class.
        shards: [images] which part of the stamp a member lies in; None where images are files.
        offsets: [images] byte of the shard at which the member's data begin; None as above.
    """

    names: Names
    sizes: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    shards: npt.NDArray[np.int64] | None = None
    offsets: npt.NDArray[np.int64] | None = None

    def fingerprint(self) -> str:
        """sha256 in hex of names, sizes, labels and class names; not of where the images lie.

        The same images as class folders and as shards of class folders have the same one.
        """
        arrays: dict[str, npt.NDArray[Any]] = {"blob": self.names.blob, "ends": self.names.ends}
        arrays["sizes"] = self.sizes
        if self.labels is not None:
            arrays["labels"] = self.labels
        return _digest(arrays, json.dumps(self.classes))


def image_problem(where: str, name: str, size: int) -> str | None:
    """What speaks against a file or member before it is read: its name, or its size in bytes."""
    if not name.lower().endswith(tuple(SUFFIXES)):
        return f"{where}: not named like an image ({', '.join(sorted(SUFFIXES))})"
    if size == 0:
        return f"{where}: is empty, 0 bytes"
    return f"{where}: {size:,} bytes; an image has at most {MAX_BYTES:,}" if size > MAX_BYTES else None


def image_size(path: Path, ask: Callable[[], os.stat_result], problems: list[str]) -> int | None:
    """Bytes of a file that may be an image; None where it is none, which is a problem then."""
    try:
        info = ask()
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return None
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "no regular file"
        problems.append(f"{path}: {kind}; expected images alone")
        return None
    if problem := image_problem(str(path), path.name, info.st_size):
        problems.append(problem)
        return None
    return info.st_size


def number_labels(texts: list[str]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels and class names of what was written beside each image: numbers everywhere, or names everywhere.

    Numbers stay what they are and every number from 0 to the highest is a class, so that two sets agree on
    what a number means. Names are sorted, and a label is the place of its name.

    Raises:
        DataError: numbers and names together, or a number that is not from 0 to `MAX_LABEL`.
    """
    known = set(texts)
    # Of ASCII digits alone: int() would take "1_000", "+1" and digits of other scripts.
    numbers = {text for text in known if re.fullmatch(r"-?[0-9]{1,18}", text)}
    if not numbers:
        names = sorted(known)
        place = {name: index for index, name in enumerate(names)}
        return np.array([place[text] for text in texts], np.int64), tuple(names)
    if odd := sorted(known - numbers):
        raise DataError(f"the label {odd[0]!r} is no number, {min(numbers)!r} is one; expected one kind")
    labels = np.array([int(text) for text in texts], np.int64)
    for value in (int(labels.min()), int(labels.max())):
        if not 0 <= value <= MAX_LABEL:
            raise DataError(f"the label {value} is not from 0 to {MAX_LABEL:,}")
    return labels, tuple(str(number) for number in range(int(labels.max()) + 1))


def number_classes(folders: list[str]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels and class names of the class folder of each image; numbers are names as others are."""
    names, labels = np.unique(np.array(folders, object), return_inverse=True)
    return labels.astype(np.int64), tuple(names.tolist())


def kept_listing(
    path: Path, kind: str, stamp: Stamp, index_root: Path | None, make: Callable[[], Listing]
) -> Listing:
    """The listing from the index file of a source, or a new one, which is then kept.

    Args:
        path: What is listed; its name and a hash of its place are the index file's name.
        kind: How it is listed.
        stamp: What it is listed from, as it is now, seen before `make` looks at it.
        index_root: Folder of index files; None keeps nothing.
        make: Lists the source.

    Raises:
        DataError: from `make`; nothing is kept.
        DiskError: the index file cannot be written.
        UsageError: `index_root` lies inside the source, where it would be taken for a part of it.
    """
    if index_root is None:
        return make()
    if index_root.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"{index_root}: lies inside {path}; expected a folder for indices outside the images"
        )
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", path.resolve().name)[:80]
    file = index_root / f"{plain}-{place}.safetensors"
    if file.exists():
        try:
            return _unpack(file, kind, stamp)
        except DataError as error:
            say(f"{error}; the index is made anew")
    listing = make()
    write_bytes(file, _pack(listing, kind, stamp))
    return listing


def _pack(listing: Listing, kind: str, stamp: Stamp) -> bytes:
    about = {"format": _FORMAT, "kind": kind, "stamp": stamp, "classes": listing.classes}
    arrays: dict[str, npt.NDArray[Any]] = {"blob": listing.names.blob, "ends": listing.names.ends}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    for name in ("sizes", "labels", "shards", "offsets"):
        if (values := getattr(listing, name)) is not None:
            arrays[name] = values
    arrays["sha256"] = np.frombuffer(bytes.fromhex(_digest(arrays)), np.uint8)
    return save(arrays)


def _unpack(file: Path, kind: str, stamp: Stamp) -> Listing:
    """Raises DataError where the index is damaged or not of this source as it is now."""
    try:
        arrays = load(read_bounded(file, _MAX_INDEX_BYTES))
        digest = arrays.pop("sha256", np.empty(0)).tobytes().hex()
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file}: damaged: {error}") from None
    if _digest(arrays) != digest:
        raise DataError(f"{file}: damaged: its hash is another")
    about = parse_json(arrays.pop("about").tobytes().decode(), str(file))
    if (about["format"], about["kind"], [Part(*part) for part in about["stamp"]]) != (
        _FORMAT,
        kind,
        [*stamp],
    ):
        raise DataError(f"{file}: what it was made from has changed")
    names, classes = Names(arrays.pop("blob"), arrays.pop("ends")), about["classes"]
    return Listing(names, **arrays, classes=None if classes is None else tuple(classes))


def _digest(arrays: dict[str, npt.NDArray[Any]], text: str = "") -> str:
    digest = hashlib.sha256(f"{len(text)}:{text}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
