"""Sets with label maps that are odd but good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.core.palette import voc_palette
from tests.helpers.label_changes import Change, both, content, gone, moved
from tests.helpers.label_corpus import IMAGE, LISTS, MAP, PIXELS, TEST_IMAGE
from tests.helpers.label_sets import (
    CLASSES,
    HEIGHT,
    WIDTH,
    encoded,
    gray_png,
    labels,
    palette_png,
    photo,
    picture,
    png,
    write_folder,
    write_voc_devkit,
    write_voc_folder,
)


class Good(NamedTuple):
    """An odd set that is read, and a word that must be in its notes (empty: there must be none)."""

    layout: str
    write: Callable[[Path], Path]
    change: Change
    note: str = ""


def one_palette_for_each_map(root: Path) -> Path:
    """They differ only where no pixel is."""
    (root / "palette.txt").unlink()
    for number, path in enumerate(sorted((root / "labels").rglob("*.png"))):
        colours = [*voc_palette()[:3], *[(number, number, number)] * 252, voc_palette()[255]]
        path.write_bytes(palette_png(PIXELS, colours))
    return root


def renamed_to_folders(root: Path) -> Path:
    """Ids with folders, points and letters of another script."""
    moved(IMAGE, "images/train/a.b/Stra\u00dfe 1.JPG")(root)
    return moved(MAP, "labels/train/a.b/Stra\u00dfe 1.png")(root)


def odd_sets() -> dict[str, Good]:
    """By their names."""
    turned = content(IMAGE, photo(0, turn=3))
    turned_aside = both(
        content(IMAGE, photo(0, turn=6)), content(MAP, palette_png(labels([0, 1, 2], WIDTH, HEIGHT)))
    )
    low_bits = content(MAP, png(PIXELS % 3, depth=2, colours=4))
    folder_changes: dict[str, tuple[Change, str]] = {
        "one id in both splits, two pictures": (
            both(
                moved(TEST_IMAGE, "images/val/0000.jpg"), moved("labels/val/0004.png", "labels/val/0000.png")
            ),
            "",
        ),
        "map of mode L": (content(MAP, gray_png(PIXELS)), ""),
        "palette of 1 bit": (content(MAP, png(PIXELS % 2, depth=1, colours=2)), ""),
        "palette of 2 bits": (low_bits, ""),
        "palette of 4 bits": (content(MAP, png(PIXELS % 3, depth=4, colours=16)), ""),
        "palette that ends before 255": (content(MAP, png(PIXELS, colours=3)), ""),
        "see-through palette": (content(MAP, palette_png(PIXELS, transparency=0)), ""),
        "bytes behind the end": (content(MAP, palette_png(PIXELS) + b"\0\0"), ""),
        "image turned upside down": (turned, "1 image has an EXIF orientation"),
        "image turned aside": (turned_aside, "1 image has an EXIF orientation"),
        "all of one map ignored": (
            content(MAP, gray_png(labels([255]))),
            "train: 1 image has ignored pixels",
        ),
        "no palette.txt": (gone("palette.txt"), ""),
        "a palette for each map": (one_palette_for_each_map, ""),
        "hidden files": (content("images/train/.DS_Store", b"x"), ""),
        "ids with folders": (renamed_to_folders, ""),
        "images of several kinds": (
            both(gone(IMAGE), content("images/train/0000.webp", encoded(picture(0), "WEBP", lossless=True))),
            "",
        ),
        "a copy in test": (content(TEST_IMAGE, photo(0)), "1 of 3 test images are training images"),
        "a class without a pixel": (
            both(gone("palette.txt"), content("classes.txt", "\n".join((*CLASSES, "disc")).encode())),
            "train: no pixel of disc",
        ),
        "names of two words": (
            both(gone("palette.txt"), content("classes.txt", b"sky\r\ntraffic light\r\nroad\r\n\r\n")),
            "",
        ),
    }
    kinds = {name: Good("folder", write_folder, *change) for name, change in folder_changes.items()}
    without_aug = both(gone(f"{LISTS}/aug.txt"), gone(f"{LISTS}/trainval.txt"))
    return kinds | {
        "trainaug.txt alone": Good("voc-seg", write_voc_devkit, without_aug),
        "train_aug.txt alone": Good(
            "voc-seg",
            write_voc_devkit,
            both(without_aug, moved(f"{LISTS}/trainaug.txt", f"{LISTS}/train_aug.txt")),
        ),
        "maps of the SBD with VOC's palette": Good(
            "voc-seg",
            write_voc_devkit,
            content("SegmentationClassAug/2008_000002.png", palette_png(labels(range(21)))),
        ),
        "VOC folder of VOC's classes": Good(
            "voc-seg", write_voc_folder, both(gone("classes.txt"), gone("palette.txt")), "no pixel of bird"
        ),
    }
