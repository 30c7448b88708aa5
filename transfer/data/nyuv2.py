"""Finds NYU-v2 with 40 classes, 0 is unlabelled. The layout is ours: the official set is a MATLAB file."""

from __future__ import annotations

from pathlib import Path

from transfer.data.label_splits import (
    FoundSet,
    LabelLayout,
    SplitFolders,
    find_by_folders,
    is_file,
    is_folder,
)

CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor-mat",
    "clothes",
    "ceiling",
    "books",
    "refrigerator",
    "television",
    "paper",
    "towel",
    "shower-curtain",
    "box",
    "whiteboard",
    "person",
    "night-stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "other-structure",
    "other-furniture",
    "other-prop",
)
"""Labels 1 to 40 (Gupta et al. 2013, Perceptual Organization and Recognition of Indoor Scenes)."""


def find_nyuv2(root: Path) -> FoundSet | None:
    """The set in `root`; a `classes.txt` tells a set of its own."""
    images, maps = root / "images", root / "labels"
    there = is_folder(images / "train") and is_folder(images / "test")
    if not there or is_file(root / "classes.txt"):
        return None
    return find_by_folders(
        "nyuv2",
        LAYOUT,
        root,
        SplitFolders(LAYOUT.train, images / "train", maps / "train"),
        SplitFolders(LAYOUT.test, images / "test", maps / "test"),
    )


LAYOUT = LabelLayout(
    name="NYUv2",
    classes=CLASSES,
    train="NYUv2/train",
    test="NYUv2/test",
    num_train=795,
    num_test=654,
    zero_is_ignored=True,
    image_suffixes=(".jpg", ".png"),
    label_suffix=".png",
    find=find_nyuv2,
    expected="NYU-v2 (images/{train,test} and labels/{train,test}, without classes.txt)",
)
