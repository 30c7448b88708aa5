"""Bad sets with label maps, each a good tiny one that is spoiled in one place."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.core.palette import voc_palette
from tests.helpers.label_changes import (
    Change,
    all_maps,
    both,
    content,
    cut,
    emptied,
    fifo,
    flipped,
    folder_gone,
    gone,
    lines,
    link_to_folder,
    linked_out,
    moved,
    named,
)
from tests.helpers.label_sets import (
    HEIGHT,
    WIDTH,
    encoded,
    gray_png,
    labels,
    palette_png,
    photo,
    png,
    put,
    write_ade20k,
    write_cityscapes,
    write_folder,
    write_nyuv2,
    write_voc_devkit,
    write_voc_folder,
)


class Bad(NamedTuple):
    """A set of a layout, what spoils it, and a word of the refusal."""

    layout: str
    write: Callable[[Path], Path]
    spoil: Change
    word: str


PIXELS = labels([0, 1, 2, 255])
OTHER_COLOURS = [(index, 7, 9) for index in range(256)]
BOMB = png(PIXELS, colour_type=0, size=(50_000, 50_000))


MAP, TEST_MAP = "labels/train/0000.png", "labels/val/0004.png"
IMAGE, TEST_IMAGE = "images/train/0000.jpg", "images/val/0004.jpg"
LISTS = "ImageSets/Segmentation"
VOC_MAP = "SegmentationClass/2007_000032.png"
CITY = "aachen/aachen_000000_000019"
CITY_MAP = f"gtFine/train/{CITY}_gtFine_labelTrainIds.png"


def only_label_ids(root: Path) -> Path:
    for path in (root / "gtFine" / "train").rglob("*_labelTrainIds.png"):
        path.unlink()
    return root / "gtFine" / "train"


def without_aug(root: Path) -> Path:
    for name in ("aug", "trainaug"):
        (root / LISTS / f"{name}.txt").unlink()
    return root / LISTS


def label_ids_for_train_ids(root: Path) -> Path:
    stem = "gtFine/train/aachen/aachen_000000_000019_gtFine_"
    data = (root / f"{stem}labelIds.png").read_bytes()
    return put(root / f"{stem}labelTrainIds.png", data)


def quantised(root: Path) -> Path:
    """A map as it comes out of a program that makes a palette of the colours it finds."""
    path = root / "SegmentationClass" / "2007_000032.png"
    with Image.open(path) as image:
        return put(path, encoded(image.convert("RGB").quantize(32), "PNG"))


def transposed(path: str) -> Change:
    """The map of what is stored, beside an image that is shown turned."""

    def spoil(root: Path) -> Path:
        put(root / "images/train/0000.jpg", photo(0, turn=6))
        return root / path

    return spoil


def rgb() -> Image.Image:
    return Image.fromarray(PIXELS).convert("RGB")


def animated() -> bytes:
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1] // 2)
    return encoded(first, "PNG", save_all=True, append_images=[second])


def turned_map() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return palette_png(PIXELS, exif=exif)


def two_headers() -> bytes:
    data = gray_png(PIXELS)
    return data[:33] + data[8:]


_MAPS: dict[str, tuple[bytes, str]] = {
    "RGB": (encoded(rgb(), "PNG"), "RGB"),
    "RGBA": (encoded(rgb().convert("RGBA"), "PNG"), "RGBA"),
    "gray with alpha": (encoded(Image.fromarray(PIXELS).convert("LA"), "PNG"), "LA"),
    "16 bits": (encoded(Image.fromarray(PIXELS.astype(np.uint16)), "PNG"), "16 bits"),
    "gray of 1 bit": (png(labels([0, 1]), depth=1, colour_type=0), "1-bit gray"),
    "gray of 2 bits": (png(labels([0, 1, 2]), depth=2, colour_type=0), "2-bit gray"),
    "gray of 4 bits": (png(labels([0, 1, 2]), depth=4, colour_type=0), "4-bit gray"),
    "colour type 5": (png(PIXELS, colour_type=5), "colour type 5"),
    "JPEG": (encoded(Image.fromarray(PIXELS), "JPEG"), "a JPEG"),
    "GIF": (encoded(Image.fromarray(PIXELS), "GIF"), "a GIF"),
    "BMP": (encoded(Image.fromarray(PIXELS), "BMP"), "a BMP"),
    "WebP": (encoded(rgb(), "WEBP", lossless=True), "a WebP"),
    "TIFF": (encoded(Image.fromarray(PIXELS), "TIFF"), "a TIFF"),
    "animated": (animated(), "animated"),
    "empty": (b"", "is empty"),
    "text": (b"<html>404 Not Found</html>", "no PNG"),
    "zero bytes": (bytes(5000), "no PNG"),
    "signature only": (gray_png(PIXELS)[:8], "truncated"),
    "bomb": (BOMB, "bomb"),
    "no pixels": (png(PIXELS, size=(0, HEIGHT)), "no pixels"),
    "fewer rows than it says": (
        png(PIXELS, size=(WIDTH, HEIGHT + 1)),
        "792 bytes of pixels; 32 x 25 px need 825",
    ),
    "more rows than it says": (png(PIXELS, size=(WIDTH, HEIGHT - 1)), "more than 759 bytes"),
    "no palette": (png(PIXELS, colours=0), "palette"),
    "palette of 7 bytes": (png(PIXELS, colours=0, extra=[(b"PLTE", bytes(7))]), "palette"),
    "two palettes": (png(PIXELS, extra=[(b"PLTE", bytes(768))]), "palette"),
    "two headers": (two_headers(), "IHDR"),
    "100,000 chunks": (png(PIXELS, extra=[(b"teXt", b"")] * 100_001), "chunks"),
    "text bomb": (png(PIXELS, extra=[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 23)))]), "damaged"),
    "EXIF orientation": (turned_map(), "orientation 3"),
    "wide": (gray_png(labels([0, 1, 2], HEIGHT, WIDTH + 1)), "33 x 24 px"),
    "low": (gray_png(labels([0, 1, 2], HEIGHT - 1, WIDTH)), "32 x 23 px"),
    "turned": (gray_png(labels([0, 1, 2], WIDTH, HEIGHT)), "24 x 32 px"),
    "half a size": (gray_png(labels([0, 1, 2], HEIGHT // 2, WIDTH // 2)), "16 x 12 px"),
    "label 3": (gray_png(labels([0, 1, 3])), "label 3 (240 px); expected 0 to 2, or 255"),
    "label 254": (gray_png(labels([0, 254, 255])), "label 254"),
    "ten labels": (gray_png(labels(range(0, 100, 10))), "and 4 more"),
    "other colours": (palette_png(PIXELS, OTHER_COLOURS), "expected (0, 0, 0)"),
    "two classes swapped": (
        palette_png(PIXELS, [voc_palette()[i] for i in (0, 2, 1)] + voc_palette()[3:]),
        "index 1 has the colour (0, 128, 0); expected (128, 0, 0)",
    ),
}

_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"no picture at all", "not an image"),
    "half": (photo(0)[: len(photo(0)) // 2], "damaged"),
    "16 bits": (encoded(Image.new("I;16", (WIDTH, HEIGHT)), "PNG"), "16 bits"),
    "see-through": (encoded(Image.new("RGBA", (WIDTH, HEIGHT)), "PNG"), "transparent"),
    "animated": (animated(), "animated"),
}

_FOLDERS: dict[str, tuple[Change, str]] = {
    "image without a map": (gone(MAP), "missing"),
    "test image without a map": (gone(TEST_MAP), "missing"),
    "map without an image": (content("labels/train/0099.png", gray_png(PIXELS)), "without an image"),
    "image of another id": (moved(IMAGE, "images/train/00.jpg", "labels/train/00.png"), "missing"),
    "image gone": (moved(IMAGE, "images/0000.jpg", MAP), "without an image"),
    "map in capitals": (moved(MAP, "labels/train/0000.PNG"), "no label map by its name"),
    "map as TIFF": (moved(MAP, "labels/train/0000.tif"), "no label map by its name"),
    "image of another kind": (moved(IMAGE, "images/train/0000.tif"), "no image by its name"),
    "two images of one id": (content("images/train/0000.png", photo(0)), "is there twice"),
    "map is a folder": (both(gone(MAP), named(content(f"{MAP}/0000.png", b""), MAP)), "missing"),
    "map is a pipe": (fifo(MAP), "cannot be read"),
    "map is a link out": (linked_out(MAP), "link"),
    "image is a link out": (linked_out(IMAGE), "link"),
    "folder is a link": (link_to_folder("images/train/x", "images/val"), "a link"),
    "backslash": (moved(IMAGE, "images/train/a\\b.jpg", "images/train"), "backslash"),
    "line break": (moved(IMAGE, "images/train/a\nb.jpg", "images/train"), "printable"),
    "space behind the id": (moved(IMAGE, "images/train/0000 .jpg", "images/train"), "no space at an end"),
    "no test image": (emptied("images/val", "labels/val"), "no image in it"),
    "no training image": (emptied("images/train", "labels/train"), "no image in it"),
    "maps of a split gone": (folder_gone("labels/val"), "cannot be read"),
    "all maps gone": (folder_gone("labels"), "cannot be read"),
    "all ignored in training": (all_maps("labels/train", gray_png(labels([255]))), "nothing to train on"),
    "all ignored in test": (all_maps("labels/val", gray_png(labels([255]))), "nothing to test on"),
    "truncated map": (cut(MAP, 30), "truncated"),
    "map without its end": (cut(MAP, 12), "no IEND"),
    "a bit of the map flipped": (flipped(MAP, 20), "checksum"),
    "a bit of the checksum flipped": (flipped(MAP, 13), "checksum"),
    "map of what is stored": (transposed(MAP), "turned by its EXIF orientation 6"),
    "no classes": (gone("classes.txt"), "missing"),
    "empty line in classes": (lines("classes.txt", lambda old: [old[0], "", *old[1:]]), "empty"),
    "class twice": (lines("classes.txt", lambda old: [*old[:2], old[1]]), "twice"),
    "class with a slash": (lines("classes.txt", lambda old: [*old[:2], "a/b"]), "a/b"),
    "one class": (lines("classes.txt", lambda old: old[:1]), "expected 2"),
    "one class beside ignored": (lines("classes.txt", lambda old: ["ignore", old[1]]), "one class"),
    "no class": (content("classes.txt", b""), "expected 2"),
    "300 classes": (lines("classes.txt", lambda old: [f"c{number}" for number in range(300)]), "300 lines"),
    "ignore in the middle": (lines("classes.txt", lambda old: [old[0], "ignore", old[2]]), "below line 1"),
    "classes in Latin-1": (content("classes.txt", "caf\u00e9\nb\nc\n".encode("latin-1")), "UTF-8"),
    "palette of other classes": (
        lines("palette.txt", lambda old: [old[0], "1 128 0 0 disc", *old[2:]]),
        "'disc'",
    ),
    "palette line twice": (lines("palette.txt", lambda old: [*old, old[1]]), "twice"),
    "palette without a class": (lines("palette.txt", lambda old: old[:2]), "no colour of 2 ring"),
    "palette with a class more": (
        lines("palette.txt", lambda old: [*old, "3 1 1 1 disc"]),
        "no class of this index",
    ),
    "palette in hex": (lines("palette.txt", lambda old: [*old[:2], "2 #008000 ring"]), "INDEX R G B NAME"),
    "palette of 256": (lines("palette.txt", lambda old: [*old[:2], "2 0 256 0 ring", *old[3:]]), "0 to 255"),
}

_VOC: dict[str, tuple[Change, str]] = {
    "no list of the SBD": (without_aug, "voc_aug.py"),
    "no maps of the SBD": (folder_gone("SegmentationClassAug"), "voc_aug.py"),
    "no train list": (gone(f"{LISTS}/train.txt"), "cannot be read"),
    "no val list": (gone(f"{LISTS}/val.txt"), "cannot be read"),
    "val image in the SBD's list": (
        both(
            lines(f"{LISTS}/aug.txt", lambda old: [*old, "2007_000033"]),
            named(
                content("SegmentationClassAug/2007_000033.png", gray_png(labels([0, 1]))),
                "JPEGImages/2007_000033.jpg",
            ),
        ),
        "expected it in one of them",
    ),
    "train image in aug.txt": (lines(f"{LISTS}/aug.txt", lambda old: [*old, "2007_000032"]), "in train.txt"),
    "id of no image": (
        named(lines(f"{LISTS}/train.txt", lambda old: [*old, "2099_000001"]), "JPEGImages/2099_000001.jpg"),
        "cannot be read",
    ),
    "listed image without a map": (gone(VOC_MAP), "cannot be read"),
    "map of the SBD missing": (gone("SegmentationClassAug/2008_000002.png"), "cannot be read"),
    "id twice": (lines(f"{LISTS}/val.txt", lambda old: [*old, old[0]]), "listed twice"),
    "empty line": (lines(f"{LISTS}/val.txt", lambda old: [*old, ""]), "line 4: empty"),
    "two columns": (
        lines(f"{LISTS}/aug.txt", lambda old: [f"/JPEGImages/{name}.jpg /Maps/{name}.png" for name in old]),
        "several columns",
    ),
    "id that leaves the folder": (
        lines(f"{LISTS}/val.txt", lambda old: [*old, "../../etc/passwd"]),
        "line 4",
    ),
    "empty list": (content(f"{LISTS}/val.txt", b""), "lists no image"),
    "list in Latin-1": (content(f"{LISTS}/val.txt", b"ann\xe9e\n"), "UTF-8"),
    "quantised anew": (quantised, "quantised"),
    "label 21": (content(VOC_MAP, palette_png(labels([0, 21]))), "label 21"),
}

_CITYSCAPES: dict[str, tuple[Change, str]] = {
    "labelIds only": (only_label_ids, "createTrainIdLabelImgs"),
    "labelIds for trainIds": (label_ids_for_train_ids, "labelIds"),
    "map missing": (gone(CITY_MAP), "missing"),
    "image missing": (
        moved(f"leftImg8bit/train/{CITY}_leftImg8bit.png", "x.png", CITY_MAP),
        "without an image",
    ),
    "other image": (content("leftImg8bit/train/aachen/a.png", photo(1)), "no image by its name"),
    "no test maps": (folder_gone("gtFine/val"), "cannot be read"),
    "no test images": (folder_gone("leftImg8bit/val"), "cannot be read"),
    "RGB map": (content(CITY_MAP, encoded(rgb(), "PNG")), "RGB"),
}

_ADE: dict[str, tuple[Change, str]] = {
    "label 151": (content("annotations/training/ADE_0000.png", gray_png(labels([0, 151]))), "label 151"),
    "only other things": (
        all_maps("annotations/training", gray_png(labels([0, 255]))),
        "nothing to train on",
    ),
    "only other things in test": (
        all_maps("annotations/validation", gray_png(labels([0]))),
        "nothing to test",
    ),
    "map missing": (gone("annotations/validation/ADE_0004.png"), "missing"),
    "maps gone": (folder_gone("annotations/training"), "cannot be read"),
}

_NYU: dict[str, tuple[Change, str]] = {
    "label 41": (content("labels/train/0001.png", gray_png(labels([0, 41]))), "label 41"),
    "only unlabelled": (all_maps("labels/test", gray_png(labels([0]))), "nothing to test on"),
    "map missing": (gone("labels/test/0005.png"), "missing"),
}

_VOC_FOLDER: dict[str, tuple[Change, str]] = {
    "background not first": (lines("classes.txt", lambda old: old[::-1]), "'background'"),
    "no test split": (
        named(both(gone(f"{LISTS}/test.txt"), gone(f"{LISTS}/val.txt")), LISTS),
        "neither",
    ),
    "label 3": (content("SegmentationClass/000004.png", palette_png(labels([0, 3]))), "label 3"),
    "palettes that differ": (
        both(
            gone("palette.txt"),
            content("SegmentationClass/000005.png", palette_png(PIXELS, OTHER_COLOURS)),
        ),
        "000000.png it has (0, 0, 0)",
    ),
}


def bad_sets() -> dict[str, Bad]:
    """Every kind by its name."""
    kinds: dict[str, Bad] = {}
    for name, (data, word) in _MAPS.items():
        kinds[f"map: {name}"] = Bad("folder", write_folder, content(MAP, data), word)
    for name, (data, word) in _IMAGES.items():
        kinds[f"image: {name}"] = Bad("folder", write_folder, content(IMAGE, data), word)
    for layout, write, spoils in (
        ("folder", write_folder, _FOLDERS),
        ("voc-seg", write_voc_devkit, _VOC),
        ("voc-seg", write_voc_folder, _VOC_FOLDER),
        ("cityscapes", write_cityscapes, _CITYSCAPES),
        ("ade20k", write_ade20k, _ADE),
        ("nyuv2", write_nyuv2, _NYU),
    ):
        for name, (spoil, word) in spoils.items():
            kinds[f"{write.__name__.removeprefix('write_')}: {name}"] = Bad(layout, write, spoil, word)
    return kinds
