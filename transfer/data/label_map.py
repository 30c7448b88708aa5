"""Reads one label map: a PNG of one channel whose stored values are the labels.

Engines take what they find: the first channel of an RGB picture, the stretched grays of 4 bits, what a lossy
format made of the labels, 0 for rows that are not there. Every chunk of the PNG is therefore looked at, and
the pixels are unpacked and counted, before Pillow decodes it. A palette says nothing of the labels, but two
palettes show that indices were made anew.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from bench.core.errors import DataError
from bench.core.palette import Colour
from bench.core.safe_image import MAX_PIXELS, exif_orientation

EXPECTED = "expected a PNG of one channel with 8 bits, whose values are the labels (mode P or L)"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
_COLOUR_TYPES = {_GRAY: "gray", 2: "RGB", _PALETTE: "palette", 4: "gray with alpha (LA)", 6: "RGBA"}
_OTHER_FORMATS = {
    b"\xff\xd8": "a JPEG, which changes labels",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"RIFF": "a WebP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
}
_MAX_CHUNKS = 100_000
"""Encoders write 8 KiB or more a chunk: ten times what the largest map that we read needs."""
_BLOCK_PX = 1 << 20
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass of an interlaced PNG, and its steps (PNG specification, 8.2)."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One label map.

    Attributes:
        labels: As stored, [height, width].
        palette: Three bytes for each index that has a colour; None for mode L.
    """

    labels: npt.NDArray[np.uint8]
    palette: bytes | None


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour_type: int
    interlaced: bool
    palette: bytes | None

    @property
    def num_bytes(self) -> int:
        """Of the pixels unpacked: each row of each pass, and a byte in front of it."""
        grids = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sizes = (
            (-((x - self.width) // step_x), -((y - self.height) // step_y)) for x, y, step_x, step_y in grids
        )
        return sum(height * (1 + (width * self.depth + 7) // 8) for width, height in sizes if width > 0)


def read_label_map(data: bytes, where: str) -> LabelMap:
    """The labels in the bytes of a file; `where` names it in messages.

    Raises:
        DataError: no PNG, damaged, several channels, another depth, animated, too large or turned by EXIF.
    """
    header = _read_header(data, where)
    # Another library may have switched this on for the whole process.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG",))
        image.load()
    except Exception as error:
        # Pillow's decoders raise what they like on damaged files.
        raise DataError(f"{where}: damaged or truncated: {error}") from None
    if image.mode != ("P" if header.colour_type == _PALETTE else "L"):
        raise DataError(f"{where}: mode {image.mode}; {EXPECTED}")
    if (turn := exif_orientation(data, where)) != 1:
        raise DataError(
            f"{where}: says EXIF orientation {turn}, which engines do not follow in a label map; "
            "expected a map without it, stored as it is seen"
        )
    return LabelMap(np.array(image, dtype=np.uint8), header.palette)


def count_labels(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Pixels of each of the 256 values."""
    pixels = labels.reshape(-1)
    counts = np.zeros(256, np.int64)
    # bincount makes eight bytes of each label: block by block.
    for start in range(0, len(pixels), _BLOCK_PX):
        counts += np.bincount(pixels[start : start + _BLOCK_PX], minlength=256)
    return counts


def colour_of(palette: bytes, index: int) -> Colour | None:
    """The colour of an index; None where the palette ends before it."""
    rgb = palette[3 * index : 3 * index + 3]
    return (rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else None


def _read_header(data: bytes, where: str) -> _Header:
    chunks = _read_chunks(data, where)
    size, palettes = chunks.get(b"IHDR", []), chunks.get(b"PLTE", [])
    if len(size) != 1 or len(size[0]) != 13 or next(iter(chunks)) != b"IHDR":
        raise DataError(f"{where}: damaged header: expected one IHDR of 13 bytes at the beginning")
    width, height, depth, colour_type, *_, interlace = struct.unpack(">IIBBBBB", size[0])
    if width < 1 or height < 1:
        raise DataError(f"{where}: {width} x {height} px: no pixels")
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: {width} x {height} px; refused as a decompression bomb")
    if b"acTL" in chunks:
        raise DataError(f"{where}: animated; {EXPECTED}")
    kind = _COLOUR_TYPES.get(colour_type, f"colour type {colour_type}")
    if colour_type not in (_GRAY, _PALETTE) or depth > 8:
        raise DataError(f"{where}: {kind}, {depth} bits a channel; {EXPECTED}")
    if colour_type == _GRAY and depth < 8:
        raise DataError(f"{where}: {depth}-bit gray, which readers stretch to the range 0 to 255; {EXPECTED}")
    palette = None
    if colour_type == _PALETTE:
        if len(palettes) != 1 or not palettes[0] or len(palettes[0]) % 3:
            raise DataError(f"{where}: damaged: expected one palette of three bytes a colour")
        palette = bytes(palettes[0])
    header = _Header(width, height, depth, colour_type, bool(interlace), palette)
    _check_pixels(chunks.get(b"IDAT", []), header, where)
    return header


def _check_pixels(packed: list[memoryview], header: _Header, where: str) -> None:
    """Pillow takes rows that are not there for 0."""
    unpacker = zlib.decompressobj()
    num_bytes = 0
    try:
        for chunk in packed:
            rest: bytes | memoryview = chunk
            # Bytes may still come when all of the chunk has been taken.
            while not unpacker.eof and num_bytes <= header.num_bytes:
                pixels = unpacker.decompress(rest, _BLOCK_PX)
                num_bytes += len(pixels)
                rest = unpacker.unconsumed_tail
                if not pixels:
                    break
    except zlib.error as error:
        raise DataError(f"{where}: damaged: {error}") from None
    if num_bytes != header.num_bytes or not unpacker.eof:
        found = f"more than {header.num_bytes:,}" if num_bytes > header.num_bytes else f"{num_bytes:,}"
        size = f"{header.width} x {header.height} px need {header.num_bytes:,}"
        raise DataError(f"{where}: damaged: has {found} bytes of pixels; {size}")


def _read_chunks(data: bytes, where: str) -> dict[bytes, list[memoryview]]:
    """The contents of chunks by their kinds, both in the order of the file."""
    if not data:
        raise DataError(f"{where}: is empty")
    if not data.startswith(_SIGNATURE):
        kind = next((name for start, name in _OTHER_FORMATS.items() if data.startswith(start)), "no PNG")
        raise DataError(f"{where}: {kind}; {EXPECTED}")
    found: dict[bytes, list[memoryview]] = {}
    view = memoryview(data)
    position, number = len(_SIGNATURE), 0
    while b"IEND" not in found:
        if position + 12 > len(data):
            raise DataError(f"{where}: truncated: ends before the end of the PNG (no IEND)")
        length, kind_of = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise DataError(f"{where}: truncated: ends within a chunk of {length:,} bytes")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DataError(f"{where}: damaged: the checksum of chunk {kind_of!r} is another")
        found.setdefault(kind_of, []).append(view[position + 8 : end - 4])
        position, number = end, number + 1
        if number > _MAX_CHUNKS:
            raise DataError(f"{where}: more than {_MAX_CHUNKS:,} chunks; {EXPECTED}")
    return found
