"""Tar shards: what an uncompressed archive holds and where in it each image lies; nothing is extracted."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.log import progress
from bench.images.index import MAX_LABEL, Listing, Names, Stamp, image_problem, number_classes, number_labels

# Also what tarfile may read at once: it believes the size that stands in a header.
_MAX_HEADER_BYTES = 32 * 1024
_SIDE_FILES = (".json", ".txt")
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class _Headers(io.FileIO):
    """A shard as tarfile sees it: a header of more than 32 KiB is not read, whatever size it claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return super().read(size) or b""


def list_shards(folder: Path, stamp: Stamp) -> Listing:
    """The images in uncompressed tar files, sorted by folder and name, over all shards together.

    A class is the folder that an image lies in, or the number in `<name>.cls` beside `<name>.jpg`; with
    `.cls` files, folders mean nothing. Hidden members, `.json` and `.txt` are left out. Nothing is extracted.

    Args:
        folder: Where the shards lie.
        stamp: The shards by name, sorted.

    Raises:
        DataError: a shard is compressed, damaged or cut; a member is a link, a device, a sparse file, not
            named like an image, empty, twice there, or would leave the folder; classes of only some images.
            All problems at once.

    Source:
        webdataset: images and numbers as members of one key, `.jpg` and `.cls`.
        Differs: a key ends at the last dot, not the first; shards need not be sorted by key.
    """
    problems: list[str] = []
    found: dict[str, tuple[int, int, int]] = {}
    texts: dict[str, str] = {}
    with progress("Indexing shards", len(stamp)) as bar:
        for number, part in enumerate(stamp):
            for name, offset, size, text in _members(folder / part.name, problems):
                where = f"{folder / part.name}: {name}"
                if name in found or (text is not None and name[:-4] in texts):
                    problems.append(f"{where}: twice in the shards; expected each name once")
                elif text is not None:
                    texts[name[:-4]] = text
                else:
                    problems += filter(None, [image_problem(where, name, size)])
                    found[name] = (number, offset, size)
            bar.update(number + 1)
    names = sorted(found, key=lambda name: name.replace("/", "\0"))
    labels, classes = _shard_classes(folder, names, texts, problems)
    if problems:
        raise DataError.of(problems)
    table = np.array([found[name] for name in names], np.int64)
    shards, offsets, sizes = (np.ascontiguousarray(column) for column in table.T)
    return Listing(Names.of(names), sizes, labels, classes, shards, offsets)


def _shard_classes(
    folder: Path, names: list[str], texts: dict[str, str], problems: list[str]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...] | None]:
    if not names and not problems:
        problems.append(f"{folder}: no image in the shards")
    if texts:
        keys = [name.rpartition(".")[0] for name in names]
        bare = [name for name, key in zip(names, keys, strict=True) if key not in texts]
        problems += [f"{folder}: {name}: no .cls beside it, other images have one" for name in bare]
        lone = sorted(texts.keys() - set(keys))
        problems += [f"{folder}: {key}.cls: no image of this name" for key in lone]
        for key in sorted(texts):
            if not re.fullmatch(r"[0-9]{1,5}", texts[key]):
                problems.append(f"{folder}: {key}.cls: holds {texts[key]!r}; expected 0 to {MAX_LABEL:,}")
        return (None, None) if problems or not names else number_labels([texts[key] for key in keys])
    deep = {name.count("/") for name in names}
    if not deep - {0}:
        return None, None
    if deep == {1}:
        return number_classes([name.partition("/")[0] for name in names])
    odd = next(name for name in names if name.count("/") > 1 or not name.count("/"))
    problems.append(
        f"{folder}: {odd}: expected every image as <class>/<image>, or every one without a folder"
    )
    return None, None


def _members(path: Path, problems: list[str]) -> Iterator[tuple[str, int, int, str | None]]:
    """(name, offset, size, text of a `.cls`) of the members that count."""
    last = 0
    try:
        with _Headers(path) as file:
            total, start = file.seek(0, io.SEEK_END), os.pread(file.fileno(), 6, 0)
            file.seek(0)
            if packed := [kind for magic, kind in _PACKED.items() if start.startswith(magic)]:
                problems.append(f"{path}: compressed with {packed[0]}; unpack it to a plain .tar")
                return
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    # tarfile keeps every member that it has seen, a kilobyte each.
                    tar.members.clear()  # type: ignore[attr-defined]
                    too_long = not member.issparse() and member.offset_data + member.size > total
                    if member.offset < last or member.size < 0 or too_long:
                        raise tarfile.ReadError(f"{member.name!r}, {member.size:,} bytes, does not fit in")
                    last = member.offset + tarfile.BLOCKSIZE
                    name = _member_name(member, path, problems)
                    if name is None or name.endswith(_SIDE_FILES):
                        continue
                    text = None
                    if name.endswith(".cls"):
                        data = os.pread(file.fileno(), min(member.size, 32), member.offset_data)
                        text = data.decode("ascii", "replace").strip()
                    yield name, member.offset_data, member.size, text
                rest = tar.offset
            # tarfile takes a damaged header, or none, for the end.
            file.seek(rest)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("a damaged header" if rest < total else "no end mark")
            while block := file.read(_MAX_HEADER_BYTES):
                if any(block):
                    raise tarfile.ReadError("more after the end mark; archives joined by cat are not read")
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        problems.append(f"{path}: damaged or cut at byte {last:,} or after: {error}")


def _member_name(member: tarfile.TarInfo, path: Path, problems: list[str]) -> str | None:
    name = member.name
    pure = PurePosixPath(name)
    where = f"{path}: {name!r}"
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or not name.isprintable():
        problems.append(f"{where}: the name would leave the folder; expected a plain relative name")
    elif member.isdir() or any(part.startswith(".") for part in pure.parts):
        return None
    elif member.issym() or member.islnk():
        problems.append(f"{where}: is a link to {member.linkname!r}; expected files alone")
    elif member.issparse():
        problems.append(f"{where}: is a sparse file; expected plain files, as tar makes without --sparse")
    elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        problems.append(f"{where}: is a device, a pipe or of an unknown kind; expected files alone")
    else:
        return str(pure)
    return None
