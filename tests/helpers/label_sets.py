"""Tiny sets with label maps, 4 images to train and 3 to test on, in every layout that is read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.core.palette import Colour, voc_palette
from transfer.data.nyuv2 import CLASSES as NYU_CLASSES

HEIGHT, WIDTH = 24, 32
CLASSES = ("background", "arrow", "ring")
"""Of the set that `write_folder` makes."""

Labels = npt.NDArray[np.uint8]


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Pixels that differ with `number`."""
    rows, columns = np.mgrid[:height, :width]
    stack = [rows * 9 + number * 31, columns * 7, rows + columns + number]
    return Image.fromarray((np.stack(stack, axis=2) % 256).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(number: int, turn: int = 1, kind: str = "JPEG") -> bytes:
    """A picture as bytes, with an EXIF orientation where `turn` is not 1."""
    exif = Image.Exif()
    if turn != 1:
        exif[0x0112] = turn
    return encoded(picture(number), kind, exif=exif)


def labels(values: Sequence[int], height: int = HEIGHT, width: int = WIDTH) -> Labels:
    """Vertical bands of the values, each at least once."""
    columns = np.arange(width) % len(values)
    return np.tile(np.array(values, np.uint8)[columns], (height, 1))


def gray_png(pixels: Labels) -> bytes:
    """A label map of mode L."""
    return encoded(Image.fromarray(pixels), "PNG")


def palette_png(pixels: Labels, colours: Sequence[Colour] | None = None, **options: object) -> bytes:
    """A label map of mode P, in VOC's colours where there are no others."""
    image = Image.fromarray(pixels)
    image.putpalette([part for rgb in (colours or voc_palette()) for part in rgb])
    return encoded(image, "PNG", **options)


def png(
    pixels: Labels,
    *,
    depth: int = 8,
    colour_type: int = 3,
    colours: int = 256,
    extra: Sequence[tuple[bytes, bytes]] = (),
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG packed by hand, of whatever kind.

    Args:
        pixels: [height, width] of a palette or gray; of other kinds, the bytes of each row.
        depth, colour_type: Of the header.
        colours: Entries of the palette.
        extra: Chunks in front of the pixels.
        size: Width and height of the header; else those of `pixels`.
    """
    rows = b""
    for row in pixels:
        bits = "".join(f"{value:0{depth}b}" for value in row) if depth < 8 else ""
        bits += "0" * (-len(bits) % 8)
        packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)) if bits else row.tobytes()
        rows += b"\0" + packed
    width, height = size or pixels.shape[::-1]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))]
    if colour_type == 3 and colours:
        chunks.append((b"PLTE", bytes(part for rgb in voc_palette()[:colours] for part in rgb)))
    chunks += [*extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return join_chunks(chunks)


def join_chunks(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    packed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_lines(path: Path, lines: Sequence[str]) -> Path:
    return put(path, "".join(f"{line}\n" for line in lines).encode())


def write_voc_devkit(root: Path) -> Path:
    """VOC2012 with two images of its own, two of the SBD in `aug.txt`, and three of val; returns VOC2012."""
    folder = root / "VOCdevkit" / "VOC2012"
    lists = folder / "ImageSets" / "Segmentation"
    train, aug = ("2007_000032", "2007_000039"), ("2008_000002", "2008_000003")
    val = ("2007_000033", "2007_000042", "2007_000061")
    for number, name in enumerate((*train, *aug, *val)):
        pixels = labels([*range(21), 255])
        put(folder / "JPEGImages" / f"{name}.jpg", photo(number))
        if name in aug:
            put(folder / "SegmentationClassAug" / f"{name}.png", gray_png(pixels))
        else:
            put(folder / "SegmentationClass" / f"{name}.png", palette_png(pixels))
    for name, ids in (("train", train), ("val", val), ("trainval", sorted(train + val)), ("aug", aug)):
        put_lines(lists / f"{name}.txt", ids)
    put_lines(lists / "trainaug.txt", train + aug)
    return folder


def write_voc_folder(root: Path) -> Path:
    """One folder in VOC layout with three classes, trainval and test."""
    names = [f"{number:06}" for number in range(7)]
    for number, name in enumerate(names):
        put(root / "JPEGImages" / f"{name}.jpg", photo(number))
        put(root / "SegmentationClass" / f"{name}.png", palette_png(labels([0, 1, 2, 255])))
    for split, ids in (
        ("trainval", names[:4]),
        ("test", names[4:]),
        ("train", names[:2]),
        ("val", names[2:4]),
    ):
        put_lines(root / "ImageSets" / "Segmentation" / f"{split}.txt", ids)
    put_lines(root / "classes.txt", CLASSES)
    put_lines(root / "palette.txt", palette_lines(CLASSES))
    return root


def palette_lines(names: Sequence[str]) -> list[str]:
    rows = [*enumerate(names), (255, "ignore")]
    return [f"{index} {' '.join(map(str, voc_palette()[index]))} {name}" for index, name in rows]


def write_cityscapes(root: Path) -> Path:
    """Two cities to train on and one to test on, with the other files of the annotation beside the maps."""
    pixels = labels([*range(19), 255])
    other = np.where(pixels == 255, 0, pixels + 7).astype(np.uint8)
    numbers = count()
    for split, city, num in (("train", "aachen", 2), ("train", "zurich", 2), ("val", "frankfurt", 3)):
        for number in range(num):
            name = f"{city}/{city}_{number:06}_000019"
            image = encoded(picture(next(numbers)), "PNG")
            put(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png", image)
            maps = root / "gtFine" / split
            put(maps / f"{name}_gtFine_labelTrainIds.png", gray_png(pixels))
            put(maps / f"{name}_gtFine_labelIds.png", gray_png(other))
            put(maps / f"{name}_gtFine_color.png", b"no map")
            put(maps / f"{name}_gtFine_polygons.json", b"{}")
    return root


def _write_splits(
    root: Path,
    maps: str,
    splits: Sequence[tuple[str, int]],
    data: Callable[[], bytes],
    kinds: Sequence[str] = ("jpg",),
    prefix: str = "",
) -> None:
    number = 0
    for split, num in splits:
        for _ in range(num):
            name = f"{prefix}{number:04}"
            suffix = kinds[number % len(kinds)]
            kind = "PNG" if suffix.lower() == "png" else "JPEG"
            put(root / "images" / split / f"{name}.{suffix}", photo(number, kind=kind))
            put(root / maps / split / f"{name}.png", data())
            number += 1


def write_ade20k(root: Path) -> Path:
    """Maps of mode L with all 151 values; returns ADEChallengeData2016."""
    folder = root / "ADEChallengeData2016"
    pixels = np.resize(np.arange(151, dtype=np.uint8), (HEIGHT, WIDTH))
    splits = (("training", 4), ("validation", 3))
    _write_splits(folder, "annotations", splits, lambda: gray_png(pixels), prefix="ADE_")
    put(folder / "objectInfo150.txt", b"Idx\n")
    return folder


def write_nyuv2(root: Path) -> Path:
    """JPEG and PNG images, maps of mode L, a `classes.txt` since their number is not the published one."""
    put_lines(root / "classes.txt", ["ignore", *NYU_CLASSES])
    pixels = np.resize(np.arange(41, dtype=np.uint8), (HEIGHT, WIDTH))
    _write_splits(root, "labels", (("train", 4), ("test", 3)), lambda: gray_png(pixels), ("jpg", "png"))
    return root


def write_folder(root: Path, splits: tuple[str, str] = ("train", "val"), maps: str = "labels") -> Path:
    """Three classes with maps of mode P, `classes.txt` and `palette.txt`."""
    both = ((splits[0], 4), (splits[1], 3))
    _write_splits(root, maps, both, lambda: palette_png(labels([0, 1, 2, 255])))
    put_lines(root / "classes.txt", CLASSES)
    put_lines(root / "palette.txt", palette_lines(CLASSES))
    return root
