"""Sources of images: class folders, a flat folder, a list file, tar shards; each image read when asked for.

The order of the images, and so whatever a seed makes of it, depends on their names alone (in a list file, on
its lines), never on the file system. Names that start with a dot are left out.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.atomic import json_text
from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.paths import inside, read_bounded
from bench.core.safe_image import MAX_BYTES, decode_image
from bench.images.index import (
    SUFFIXES,
    Listing,
    Names,
    Part,
    Stamp,
    image_size,
    kept_listing,
    number_classes,
)
from bench.images.list_file import read_list
from bench.images.pack import Pack, read_pack
from bench.images.shards import list_shards

_MAX_HANDLES = 128
"""Open shards a process; a system's usual limit is 1,024 files."""
_PACKED_TAR = re.compile(r"\.(tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)


class ImageSource(ABC):
    """Images by number. It can be pickled and used on both sides of a fork.

    Attributes:
        root: What was opened: a folder, a list file or a shard.
        classes: Class names in order; None where images have no class.
        labels: [images] index into `classes`; None where images have no class.
        fingerprint: 64 hex digits over names, sizes in bytes, labels and class names, in the images' order;
            of a pack, over what it was made from as well.
        pack: How these images were stored, where they are a pack; their pixels are others then.
    """

    root: Path
    classes: tuple[str, ...] | None
    labels: npt.NDArray[np.int64] | None
    fingerprint: str
    pack: Pack | None = None

    def __init__(self, root: Path, listing: Listing) -> None:
        """Take what `open_source` has listed."""
        self.root, self._listing = root, listing
        self.classes, self.labels = listing.classes, listing.labels
        self.fingerprint = listing.fingerprint()

    def __len__(self) -> int:
        """How many images."""
        return len(self._listing.names)

    def name(self, index: int) -> str:
        """Its path below the source, or its member's name. Raises IndexError."""
        return self._listing.names[index]

    @abstractmethod
    def where(self, index: int) -> str:
        """The file, or the shard and member, of one image, for messages. Raises IndexError."""

    @abstractmethod
    def times(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When each of these images, or the shard it is in, was last changed: nanoseconds since 1970.

        Raises:
            DataError: one is not there any more.
        """

    @abstractmethod
    def data(self, index: int) -> bytes:
        """The bytes of one image's file.

        Raises:
            DataError: it cannot be read, or is not of the size that was listed.
            IndexError: no such image.
        """

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The pixels of one image: [height, width, 3] uint8, RGB.

        Raises:
            DataError: it cannot be read or decoded, or is refused; see `bench.core.safe_image.read_image`.
            IndexError: no such image.
        """
        return decode_image(self.data(index), self.where(index))

    def _held(self, data: bytes, index: int) -> bytes:
        size = int(self._listing.sizes[index])
        if len(data) != size:
            raise DataError(
                f"{self.where(index)}: {len(data):,} bytes, {size:,} when it was listed: it has changed. "
                "Remove the index file, if one is kept, and start again."
            )
        return data


class _Files(ImageSource):
    def __init__(self, root: Path, listing: Listing, folder: Path) -> None:
        super().__init__(root, listing)
        self._folder = folder

    def where(self, index: int) -> str:
        return str(self._folder / self._listing.names[index])

    def times(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        found = []
        for index in indices.tolist():
            try:
                found.append(os.stat(self._folder / self._listing.names[index]).st_mtime_ns)
            except OSError as error:
                raise DataError(f"{self.where(index)}: cannot be read: {error.strerror}") from None
        return np.array(found, np.int64)

    def data(self, index: int) -> bytes:
        path = inside(self._folder, self._listing.names[index])
        return self._held(read_bounded(path, MAX_BYTES), index)


class _Shards(ImageSource):
    def __init__(self, root: Path, listing: Listing, folder: Path, stamp: Stamp) -> None:
        super().__init__(root, listing)
        if listing.shards is None or listing.offsets is None:
            raise TypeError("a listing of shards says where each member lies")
        self._shards, self._offsets = listing.shards, listing.offsets
        self._folder, self._stamp = folder, stamp
        self.pack = read_pack(folder)
        if self.pack:
            if root.is_dir() and self.pack.num_images != len(self):
                raise DataError(
                    f"{root}: {len(self):,} images, {self.pack.num_images:,} when it was packed; "
                    "shards are missing or others came in"
                )
            told = json_text(self.pack.model_dump())
            self.fingerprint = hashlib.sha256(f"{self.fingerprint}{told}".encode()).hexdigest()
        self._handles = _Handles()

    def where(self, index: int) -> str:
        name = self._listing.names[index]
        return f"{self._folder / self._stamp[self._shards[index]].name}: {name}"

    def times(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        times = np.array([part.mtime_ns for part in self._stamp], np.int64)
        return times[np.asarray(self._shards)[indices]]

    def data(self, index: int) -> bytes:
        where, part = self.where(index), self._stamp[self._shards[index]]
        try:
            handle = self._handles.open(inside(self._folder, part.name), part)
            data = os.pread(handle, int(self._listing.sizes[index]), int(self._offsets[index]))
        except OSError as error:
            raise DataError(f"{where}: cannot be read: {error.strerror}") from None
        return self._held(data, index)


class _Handles:
    """Open shards of this process, the ones used last. Not pickled, and not shared with a forked process."""

    def __init__(self) -> None:
        self._process, self._open = os.getpid(), OrderedDict[str, int]()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Handles, ())

    def __del__(self) -> None:
        self._close(0)

    def _close(self, keep: int) -> None:
        while len(self._open) > keep:
            os.close(self._open.popitem(last=False)[1])

    def open(self, path: Path, part: Part) -> int:
        """A descriptor of a shard. Raises OSError; DataError if it is not the one that was listed."""
        if self._process != os.getpid():
            # These are copies of the parent's descriptors; closing them leaves the parent's open.
            self._close(0)
            self._process = os.getpid()
        if part.name in self._open:
            self._open.move_to_end(part.name)
            return self._open[part.name]
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._open[part.name] = handle
        info = os.fstat(handle)
        if (info.st_size, info.st_mtime_ns) != (part.size, part.mtime_ns):
            os.close(self._open.pop(part.name))
            raise DataError(f"{path}: has changed since it was listed; start again, it is listed anew")
        self._close(_MAX_HANDLES)
        return handle


def open_source(path: Path, *, index_root: Path | None = None) -> ImageSource:
    """The images at a place; what lies there says how they are found.

    - A folder of folders: images `<class>/<image>`, the layout of ImageNet; files beside them are left out.
    - A folder of images: all of them, without classes.
    - A `.txt` file: on each line a path from the list's folder on, and, behind a tab or a space, a class name
      or number, or on no line. Without a tab, a path may hold spaces as long as it is named like an image.
    - A `.tar` file, or a folder of them: see `bench.images.shards.list_shards`.

    Args:
        path: A folder, a list or a shard.
        index_root: Folder to keep the index in, outside of `path`, so that the next start is quick.

    Raises:
        DataError: nothing of these; or whatever is wrong with names, sizes and labels, all problems at once.
            Nothing is decoded yet; `bench.images.check` does that.
        DiskError: the index cannot be written.
        UsageError: `index_root` lies inside `path`.
    """
    one = _part(path, path.name)
    if path.is_dir():
        return _open_folder(path, index_root)
    folder = path.parent
    if path.suffix.lower() == ".tar":
        listing = kept_listing(path, "shards", (one,), index_root, lambda: list_shards(folder, (one,)))
        return _Shards(path, listing, folder, (one,))
    if path.suffix.lower() == ".txt":
        listing = kept_listing(path, "list", (one,), index_root, lambda: read_list(path))
        return _Files(path, listing, folder)
    if _PACKED_TAR.search(path.name):
        raise DataError(f"{path}: compressed; unpack it to a plain .tar, members are read where they lie")
    raise DataError(f"{path}: expected a folder, a list of images (.txt) or a tar archive (.tar)")


def _part(path: Path, name: str) -> Part:
    """Raises DataError where there is nothing, or neither a folder nor a file: a pipe may never end."""
    try:
        info = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        raise DataError(f"{path}: no regular file; expected a folder, a list of images or a tar archive")
    return Part(name, info.st_size, info.st_mtime_ns)


def _open_folder(root: Path, index_root: Path | None) -> ImageSource:
    problems: list[str] = []
    stamp_of_root = _part(root, ".")
    folders, images, tars, packed = [], [], [], []
    for entry in _entries(root, root, problems):
        if entry.is_dir():
            folders.append(entry.name)
        elif entry.name.lower().endswith(tuple(SUFFIXES)):
            images.append(entry.name)
        elif entry.name.lower().endswith(".tar"):
            tars.append(entry.name)
        elif _PACKED_TAR.search(entry.name):
            packed.append(entry.name)
    kinds = {"a folder": folders, "an image": images, "an archive": tars, "a compressed archive": packed}
    there = [f"{kind} ({min(names)})" for kind, names in kinds.items() if names]
    if len(there) > 1:
        problems.append(
            f"{root}: {' and '.join(there)} side by side; expected folders, images or shards alone"
        )
    elif packed:
        problems.append(f"{root / min(packed)}: compressed; unpack it to a plain .tar")
    elif not there:
        problems.append(f"{root}: no image, no class folder and no shard in it")
    if problems and len(there) == 1 and folders:
        _list_folders(root, tuple(sorted(folders)), problems)  # raises, the faults in the folders as well
    if problems:
        raise DataError.of(problems)
    if images:
        listing = kept_listing(
            root, "flat", (stamp_of_root,), index_root, lambda: _list_folders(root, ("",), [])
        )
        return _Files(root, listing, root)
    stamp = tuple(_part(root / name, name) for name in sorted(folders or tars))
    if tars:
        listing = kept_listing(root, "shards", stamp, index_root, lambda: list_shards(root, stamp))
        return _Shards(root, listing, root, stamp)
    names = tuple(part.name for part in stamp)
    listing = kept_listing(root, "classes", stamp, index_root, lambda: _list_folders(root, names, []))
    return _Files(root, listing, root)


def _entries(root: Path, folder: Path, problems: list[str]) -> Iterator[os.DirEntry[str]]:
    """What is not hidden in a folder, in the file system's order; links out of `root` are problems."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                # Only a link or an odd name can lead out; resolving a million plain names takes a minute.
                if entry.is_symlink() or not entry.name.isprintable() or "\\" in entry.name:
                    try:
                        inside(root, (folder / entry.name).relative_to(root).as_posix())
                    except DataError as error:
                        problems.append(str(error))
                        continue
                yield entry
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")


def _list_folders(root: Path, classes: tuple[str, ...], problems: list[str]) -> Listing:
    """Images of class folders, or of `root` itself where the one class is ''; adds to `problems`."""
    found: list[tuple[str, int]] = []
    with progress("Listing images", len(classes)) as bar:
        for number, name in enumerate(classes):
            before = len(problems)
            images = sorted(_images(root, name, problems))
            if not images and len(problems) == before:
                problems.append(f"{root / name}: no image in it; expected at least one")
            found += images
            bar.update(number + 1)
    if problems:
        raise DataError.of(problems)
    names, sizes = Names.of(name for name, _ in found), np.array([size for _, size in found], np.int64)
    if classes == ("",):
        return Listing(names, sizes)
    return Listing(names, sizes, *number_classes([name.partition("/")[0] for name, _ in found]))


def _images(root: Path, folder: str, problems: list[str]) -> Iterator[tuple[str, int]]:
    """(name below `root`, bytes) of the images in one folder."""
    for entry in _entries(root, root / folder, problems):
        name = f"{folder}/{entry.name}" if folder else entry.name
        size = image_size(root / name, entry.stat, problems)
        if size is not None:
            yield name, size
