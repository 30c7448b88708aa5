"""SBD's segmentations as label maps of VOC2012, by which the split trainaug gets its 10,582 images.

What `bench data download voc-seg` adds to VOC2012: `SegmentationClassAug/ID.png` of every `cls/ID.mat`, and
`ImageSets/Segmentation/aug.txt`, the images of SBD (train and val) that are in neither VOC's train nor its
val. This is the rule of MMSegmentation's `tools/dataset_converters/voc_aug.py`; the code is ours.

The MAT files come from a stranger. They are not given to `scipy.io.loadmat`, which allocates what a header
claims and follows nested cells without end: of each the one array is read that is needed, without recursion,
and nothing larger than the bytes at hand is ever allocated.

Source: MathWorks, "MAT-File Format", R2024b, "Level 5 MAT-Files". Hariharan et al., Semantic Contours from
Inverse Detectors, ICCV 2011.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.core import atomic, safe_tar
from bench.core.errors import DataError, UsageError
from bench.core.paths import read_bounded, safe_name

FOLDER = "benchmark_RELEASE/dataset"
LABELS = "SegmentationClassAug"
LIST = "ImageSets/Segmentation/aug.txt"
NUM_CLASSES = 21
"""VOC's 20 and the background, which is 0. SBD has no pixels to leave out (255)."""

MAX_BYTES = 16 * 1024**2
"""Of a MAT file, packed and unpacked; a label map of VOC has 250,000."""

MAX_LIST_BYTES = 8 * 1024**2
MAX_SIDE = 16_384
MAX_ELEMENTS = 1000
MAX_DIMS = 32
MAX_NAME_BYTES = 64

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_STRUCT_CLASS = 2
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


@dataclass(frozen=True)
class Plan:
    """What will be made.

    Attributes:
        ids: Every image with a MAT file.
        aug: Those that VOC's train and val do not have, sorted.
        num_train: Images of VOC's train.
    """

    ids: frozenset[str]
    aug: tuple[str, ...]
    num_train: int


def is_there(voc: Path) -> bool:
    """Whether a VOC2012 has all of this already.

    Raises:
        UsageError: it has label maps that are not whole, or of which we cannot know what they are.
    """
    labels, path = voc / LABELS, voc / LIST
    try:
        if not os.path.lexists(labels):
            return False
        there = {entry.name for entry in labels.iterdir()} if labels.is_dir() else set()
        listed = path.is_file()
    except OSError as cause:
        raise DataError(f"{cause.filename}: cannot be read: {cause.strerror}") from None
    ids = _ids(path, read_bounded(path, MAX_LIST_BYTES)) if listed else ()
    missing = [name for name in ids if f"{name}.png" not in there]
    if not ids or missing:
        what = f"{len(missing):,} label maps of {path} (first: {missing[0]})" if missing else f"{path}"
        raise UsageError(f"{labels}: is there already, but without {what}. Move it away.")
    return True


def plan(archive: Path, voc: Path) -> Plan:
    """Read SBD's archive to its end, and VOC's lists.

    Args:
        archive: SBD's `benchmark.tgz`.
        voc: A VOC2012.

    Raises:
        DataError: a list or an image is missing, or the archive is damaged.
        UsageError: another list is there under the name of ours.
        DiskError: there is no room for the label maps.
    """
    ids: set[str] = set()
    listed: dict[str, tuple[str, ...]] = {}
    for entry in safe_tar.walk(archive, FOLDER):
        if entry.name in ("train.txt", "val.txt"):
            where = Path(f"{archive}: {FOLDER}/{entry.name}")
            if entry.size > MAX_LIST_BYTES:
                raise DataError(f"{where}: {entry.size:,} bytes; a list of images has less")
            listed[entry.name] = _ids(where, entry.read())
        elif (name := _mat_id(entry.name)) is not None:
            ids.add(safe_name(name, f"{archive}: image"))
    if missing := {"train.txt", "val.txt"} - set(listed):
        raise DataError(f"{archive}: no {FOLDER}/{min(missing)} in it; expected SBD's benchmark.tgz")
    own = [voc / "ImageSets" / "Segmentation" / name for name in ("train.txt", "val.txt")]
    train, val = (set(_ids(path, read_bounded(path, MAX_LIST_BYTES))) for path in own)
    aug = tuple(sorted({name for names in listed.values() for name in names} - train - val))
    if not aug:
        raise DataError(f"{archive}: lists no image that VOC's train and val do not have; is it SBD?")
    for have, what in ((ids, f"MAT file in {archive}"), (_images(voc), f"image in {voc / 'JPEGImages'}")):
        if lack := [name for name in aug if name not in have]:
            raise DataError(f"{archive}: {len(lack):,} listed images have no {what} (first: {lack[0]})")
    text = _list_text(aug)
    path = voc / LIST
    if path.exists() and read_bounded(path, MAX_LIST_BYTES).decode("utf-8", "replace") != text:
        raise UsageError(f"{path}: is there already, and is another list. Move it away.")
    # Indexed PNGs of VOC's own label maps have below 16 KiB.
    safe_tar.check_space(voc, [16 * 1024] * len(ids))
    return Plan(frozenset(ids), aug, len(train))


def convert(
    archive: Path, voc: Path, plan: Plan, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """Write the list and then the label maps, which appear whole or not at all.

    Args:
        archive: What `plan` was made of.
        voc: The VOC2012 for which it was made.
        plan: As `plan` gave it.
        progress: Called with (done, all) label maps.

    Raises:
        DataError: a MAT file is not what is expected.
        DiskError: the disk is full, or the place cannot be written.
    """
    done = 0
    with atomic.new_folder(voc / LABELS, durable=False) as stage:
        for entry in safe_tar.walk(archive, FOLDER):
            name = _mat_id(entry.name)
            if name not in plan.ids:
                continue
            where = f"{archive}: {FOLDER}/{entry.name}"
            if entry.size > MAX_BYTES:
                raise DataError(f"{where}: {entry.size:,} bytes; expected at most {MAX_BYTES:,}")
            stage.write(f"{name}.png", label_png(read_labels(entry.read(), where)))
            done += 1
            progress(done, len(plan.ids))
        if done != len(plan.ids):
            raise DataError(f"{archive}: has changed while it was read; give the same command again")
        # The list first: a process that is killed between the two leaves it alone, and the next goes on.
        atomic.write_text(voc / LIST, _list_text(plan.aug))
        os.sync()  # once, in place of one for each file


def label_png(labels: npt.NDArray[np.uint8]) -> bytes:
    """A label map as an indexed PNG of 8 bits with VOC's colours; the values are those of `labels`."""
    image = Image.fromarray(labels)
    image.putpalette(voc_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def voc_palette() -> bytes:
    """The 256 colours of VOC's label maps: bits 0, 3, 6 of a value are red's highest, 1, 4, 7 green's, ...

    Source: VOCdevkit 2012, `VOCcode/VOClabelcolormap.m`.
    """
    colours = bytearray()
    for value in range(256):
        for channel in range(3):
            bits = ((value >> (3 * place + channel)) & 1 for place in range(3))
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return bytes(colours)


def read_labels(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """`GTcls.Segmentation` of a MAT file: [height, width], 0 to 20.

    Args:
        data: The file's bytes.
        where: Names the file in messages.

    Raises:
        DataError: no such array, another shape or value, or a damaged file.
    """
    file = _Mat(data, where)
    found = [matrix for matrix in file.matrices() if matrix.name == b"GTcls"]
    if len(found) != 1:
        raise file.error(f"{len(found)} variables of the name GTcls; expected one")
    return _segmentation(file, found[0])


def _segmentation(file: _Mat, struct_: _Matrix) -> npt.NDArray[np.uint8]:
    if struct_.kind != _STRUCT_CLASS or struct_.size != 1:
        raise file.error("GTcls is no single struct")
    damaged = file.error("GTcls has damaged field names")
    if [kind for kind, _ in struct_.rest[:2]] != [_INT32, _INT8]:
        raise damaged
    length, names = (bytes(data) for _, data in struct_.rest[:2])
    width = int.from_bytes(length, file.byte_order) if len(length) == 4 else 0
    if not 0 < width <= MAX_NAME_BYTES or len(names) != width * len(struct_.rest[2:]):
        raise damaged
    fields = [names[at : at + width].partition(b"\0")[0] for at in range(0, len(names), width)]
    values = zip(fields, struct_.rest[2:], strict=True)
    chosen = [value for field, value in values if field == b"Segmentation"]
    if len(chosen) != 1 or chosen[0][0] != _MATRIX:
        raise file.error("GTcls has not one field Segmentation")
    return _labels(file, file.matrix(chosen[0][1]))


def _labels(file: _Mat, matrix: _Matrix) -> npt.NDArray[np.uint8]:
    """The numbers of a matrix, which lie column by column."""
    plain = matrix.kind in _NUMERIC_CLASSES and not matrix.is_complex and len(matrix.rest) == 1
    if not plain or matrix.rest[0][0] not in _DTYPES:
        raise file.error(f"Segmentation is no array of numbers (class {matrix.kind})")
    kind, data = matrix.rest[0]
    dtype = np.dtype(file.order + _DTYPES[kind])
    shape = "x".join(map(str, matrix.dims))
    if len(matrix.dims) != 2 or not all(1 <= side <= MAX_SIDE for side in matrix.dims):
        raise file.error(f"Segmentation is {shape}; expected height x width")
    if len(data) != matrix.size * dtype.itemsize:
        raise file.error(f"Segmentation is {shape}, but has {len(data):,} bytes of {dtype.name}")
    values = np.frombuffer(data, dtype).reshape(matrix.dims, order="F")
    labels = np.zeros(values.shape, np.uint8)
    fits = (values >= 0) & (values < NUM_CLASSES)  # False for nan
    labels[fits] = values[fits]
    if not fits.all() or not np.array_equal(labels, values):
        wrong = values[~fits | (labels != values)][0]
        raise file.error(f"Segmentation has the value {wrong}; expected whole numbers from 0 to 20")
    return labels


_Element = tuple[int, memoryview]
"""Type and bytes."""


@dataclass(frozen=True)
class _Matrix:
    """An array of a MAT file: class, sides, name, and the elements that follow them."""

    kind: int
    is_complex: bool
    dims: tuple[int, ...]
    name: bytes
    rest: tuple[_Element, ...]

    @property
    def size(self) -> int:
        """How many elements it says it has; a plain number, nothing is allocated by it."""
        product = 1
        for side in self.dims:
            product *= side
        return product


class _Mat:
    """A MAT file of level 5, in either order of bytes."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where = memoryview(data), where
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        # Level 4 has a zero among the first four bytes, level 7.3 is HDF5 and has version 0x0200.
        if order is None or 0 in data[:4] or struct.unpack(f"{order}H", data[124:126])[0] != 0x0100:
            raise self.error("is no MAT file of level 5")
        self.order = order
        self.byte_order: Literal["little", "big"] = "little" if order == "<" else "big"

    def error(self, text: str) -> DataError:
        """An error that names the file."""
        return DataError(f"{self._where}: {text}; damaged, or not of SBD")

    def matrices(self) -> Iterator[_Matrix]:
        """The variables, unpacked where they are packed, together at most MAX_BYTES."""
        left = MAX_BYTES
        for kind, data in self.elements(self._data[128:]):
            if kind == _COMPRESSED:
                unpacked = self._unpacked(data, left)
                left -= len(unpacked)
                kind, data = next(self.elements(memoryview(unpacked)), (0, memoryview(b"")))
            if kind != _MATRIX:
                raise self.error(f"an element of type {kind} where a matrix was expected")
            yield self.matrix(data)

    def _unpacked(self, data: memoryview, most: int) -> bytes:
        inflater = zlib.decompressobj()
        try:
            unpacked = inflater.decompress(data, most + 1)
        except zlib.error as cause:
            raise self.error(f"cannot be unpacked: {cause}") from None
        if len(unpacked) > most:
            raise self.error(f"unpacks to more than {MAX_BYTES:,} bytes")
        if not inflater.eof:
            raise self.error("is cut off")
        return unpacked

    def elements(self, data: memoryview) -> Iterator[_Element]:
        """Each element, one behind the other."""
        at = 0
        for _ in range(MAX_ELEMENTS):
            if at >= len(data):
                return
            if at + 8 > len(data):
                raise self.error("is cut off")
            kind, size = struct.unpack_from(f"{self.order}2I", data, at)
            start = at + 8
            if kind >> 16:  # at most four bytes, in the place of the size
                kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
                if size > 4:
                    raise self.error(f"has a short element of {size} bytes")
                at += 8
            else:
                # What is packed is not filled up to a multiple of 8 bytes, and the last need not be.
                at = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
            if start + size > len(data):
                raise self.error("is cut off")
            yield kind, data[start : start + size]
        raise self.error(f"has more than {MAX_ELEMENTS:,} elements in one")

    def matrix(self, data: memoryview) -> _Matrix:
        """What a matrix says of itself."""
        parts = tuple(self.elements(data))
        kinds = [kind for kind, _ in parts[:3]]
        if kinds not in ([_UINT32, _INT32, _INT8], [_UINT32, _INT32, _UTF8]):
            raise self.error("has a damaged matrix")
        flags, dims, name = (part for _, part in parts[:3])
        if len(flags) != 8 or len(dims) not in range(8, 4 * MAX_DIMS + 1, 4):
            raise self.error("has a damaged matrix")
        word = struct.unpack_from(f"{self.order}I", flags)[0]
        sides = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        return _Matrix(word & 0xFF, bool(word & _COMPLEX), sides, bytes(name), parts[3:])


def _mat_id(name: str) -> str | None:
    """The image of "cls/ID.mat"; None of another file."""
    inner = name.removeprefix("cls/")
    found = inner != name and "/" not in inner and not inner.startswith(".") and inner.endswith(".mat")
    return inner.removesuffix(".mat") if found else None


def _ids(where: Path, data: bytes) -> tuple[str, ...]:
    """The images of a list, one a line."""
    try:
        lines = data.decode("ascii").split()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not a list of images, one a line") from None
    return tuple(safe_name(line, f"{where}: image") for line in lines)


def _images(voc: Path) -> set[str]:
    try:
        return {entry.stem for entry in (voc / "JPEGImages").iterdir() if entry.suffix == ".jpg"}
    except OSError as cause:
        raise DataError(f"{voc / 'JPEGImages'}: cannot be read: {cause.strerror}") from None


def _list_text(ids: tuple[str, ...]) -> str:
    return "".join(f"{name}\n" for name in ids)
