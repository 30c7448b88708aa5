"""Makes a pack of a source of images: tar shards that are quicker to read, smaller or decoded already."""

from __future__ import annotations

import io
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import Image

from bench.core.atomic import json_text, new_folder
from bench.core.errors import DataError, UsageError
from bench.core.safe_image import MAX_BYTES, decode_image
from bench.images.pack import PACK_FILE, Pack, PackKind
from bench.images.source import ImageSource, open_source

_MAX_JPEG_SIDE_PX = 65_500
"""Of libjpeg."""
_SUFFIX: dict[PackKind, str] = {"jpeg": ".jpg", "decoded": ".ppm"}


def write_pack(
    source: ImageSource,
    out: Path,
    *,
    kind: PackKind,
    long_side_px: int | None,
    quality: int | None,
    shard_bytes: int,
    num_workers: int,
    replace: bool,
    progress: Callable[[int], None],
) -> Pack:
    """Store the images of `source` at `out`: all of them, or nothing.

    Args:
        source: The images; with classes, the store has them as folders.
        out: The folder to make.
        kind: See `Pack`.
        long_side_px: See `Pack`.
        quality: See `Pack`.
        shard_bytes: A shard is closed when it holds as much.
        num_workers: Threads that decode and encode.
        replace: Take the place of a pack that is there.
        progress: Called with the number of images done.

    Raises:
        DataError: an image cannot be read or is too large; shards could not hold its name or class.
        DiskError: it cannot be written; nothing is left of it.
        UsageError: see `check_request`.
    """
    names = check_request(source, out, kind=kind, quality=quality, replace=replace)
    pack = Pack(
        kind=kind,
        long_side_px=long_side_px,
        quality=quality,
        source_fingerprint=source.fingerprint,
        num_images=len(source),
        versions={"pillow": PIL.__version__, "simplejpeg": simplejpeg.__version__},
    )

    def encode(data: bytes, where: str) -> bytes:
        return _encoded(_shrunk(decode_image(data, where), long_side_px), quality, where)

    with new_folder(out, durable=False, replace=replace) as folder, ThreadPoolExecutor(num_workers) as pool:
        shard, number = _Shard(), 0
        for index, data in enumerate(_in_order(pool, encode, source, 4 * num_workers)):
            shard.add(names[index], data)
            if shard.size >= shard_bytes or index + 1 == len(source):
                folder.write(f"{number:05}.tar", shard.close())
                shard, number = _Shard(), number + 1
            progress(index + 1)
        _hold(open_source(folder.root), source, names)
        folder.write(PACK_FILE, json_text(pack.model_dump()).encode())
    return pack


def check_request(
    source: ImageSource, out: Path, *, kind: PackKind, quality: int | None, replace: bool
) -> list[str]:
    """Refuse what would fail later; returns the members' names, in the order of the images.

    Raises:
        DataError: two images would have one name, or shards could not hold one.
        UsageError: `out` is there and no pack to replace; one of it and the images lies in the other; a
            quality of decoded images; classes that folders could not bring back.
    """
    if (kind == "jpeg") != (quality is not None):
        raise UsageError("--quality is of JPEG; decoded images have none")
    if out.exists() and not (replace and out.is_dir() and (out / PACK_FILE).is_file()):
        what = "is no pack; it is not replaced" if replace else "exists; --force replaces a pack"
        raise UsageError(f"{out}: {what}")
    one, other = source.root.resolve(), out.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise UsageError(f"{out}: one of it and {source.root} would lie in the other; give another place")
    _refuse_lost_classes(source)
    return _names(source, _SUFFIX[kind])


def _names(source: ImageSource, suffix: str) -> list[str]:
    """Member names: the class as a folder, and everything else of a name in one part."""
    names: dict[str, int] = {}
    for index in range(len(source)):
        name, start = source.name(index), ""
        if source.labels is not None and source.classes is not None:
            start = f"{source.classes[source.labels[index]]}/"
            name = name.removeprefix(start)
        member = start + str(PurePosixPath(name).with_suffix(suffix)).replace("/", "__")
        if member.count("/") != bool(start) or any(part.startswith(".") for part in member.split("/")):
            raise DataError(f"{source.where(index)}: shards cannot hold {member}; rename it, or its class")
        if member in names:
            other = source.where(names[member])
            raise DataError(f"{source.where(index)}: would be packed as {member}, as {other} is")
        names[member] = index
    return list(names)


def _refuse_lost_classes(source: ImageSource) -> None:
    """Folders bring back names, sorted: numbers of a list would be sorted as names, gaps among them lost."""
    if source.labels is None or source.classes is None:
        return
    there = sorted({source.classes[label] for label in source.labels.tolist()})
    if tuple(there) != source.classes:
        raise UsageError(
            f"{source.root}: its classes are numbers, which folders do not keep; give names in the list"
        )


def _hold(made: ImageSource, source: ImageSource, names: list[str]) -> None:
    """A pack is read as any shards are: it must come out as it was meant, before it takes its place."""

    def classes(images: ImageSource, called: Callable[[int], str]) -> dict[str, str | None]:
        labels = None if images.labels is None else images.labels.tolist()
        return {
            called(index): None if labels is None or images.classes is None else images.classes[labels[index]]
            for index in range(len(images))
        }

    wanted = classes(source, lambda index: names[index])
    found = classes(made, made.name)
    if found != wanted:
        odd = min(name for name in wanted if found.get(name, "") != wanted[name])
        raise DataError(f"{source.root}: shards cannot hold {odd} as it is; rename it, or its class")


def _shrunk(pixels: npt.NDArray[np.uint8], long_side_px: int | None) -> npt.NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if long_side_px is None or max(height, width) <= long_side_px:
        return pixels
    share = long_side_px / max(height, width)
    size = max(round(width * share), 1), max(round(height * share), 1)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _encoded(pixels: npt.NDArray[np.uint8], quality: int | None, where: str) -> bytes:
    """JPEG of that quality; without one a PPM: a header and the pixels as they lie in memory."""
    height, width = pixels.shape[:2]
    if quality is None:
        data = b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
        if len(data) > MAX_BYTES:
            raise DataError(
                f"{where}: {len(data):,} bytes decoded, at most {MAX_BYTES:,} are read; shrink it"
            )
        return data
    if max(height, width) > _MAX_JPEG_SIDE_PX:
        raise DataError(f"{where}: {width} x {height} px; JPEG has {_MAX_JPEG_SIDE_PX:,}; shrink it")
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _in_order(
    pool: ThreadPoolExecutor, encode: Callable[[bytes, str], bytes], source: ImageSource, ahead: int
) -> Iterator[bytes]:
    """The images as `encode` makes them, at most `ahead` waiting; files are read by this thread alone."""
    numbers = iter(range(len(source)))
    waiting: deque[Future[bytes]] = deque()

    def submit(count: int) -> None:
        for number in islice(numbers, count):
            waiting.append(pool.submit(encode, source.data(number), source.where(number)))

    submit(ahead)
    while waiting:
        yield waiting.popleft().result()
        submit(1)


class _Shard:
    """A tar archive in memory; members have no time and no owner, so that equal images give equal shards."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self.size = 0

    def add(self, name: str, data: bytes) -> None:
        """Append a member."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for part in (info.tobuf(tarfile.PAX_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)):
            self._blocks.append(part)
            self.size += len(part)

    def close(self) -> bytes:
        """End the archive; its bytes."""
        return b"".join([*self._blocks, bytes(2 * tarfile.BLOCKSIZE)])
