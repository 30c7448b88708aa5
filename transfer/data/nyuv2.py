"""Finds NYU-v2 with 40 classes, 0 is unlabelled. The layout is ours: the official set is a MATLAB file."""

from __future__ import annotations

from pathlib import Path

from transfer.data.label_names import IGNORE, read_names
from transfer.data.label_splits import (
    FoundSet,
    LabelLayout,
    SplitFolders,
    find_by_folders,
    has_files,
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


_NUM_TRAIN, _NUM_TEST = 795, 654


def find_nyuv2(root: Path) -> FoundSet | None:
    """The set in `root`, told by its `classes.txt` or by the number of its images.

    Any other set may have these folders: read as NYU-v2, its first class would be ignored.
    """
    images, maps = root / "images", root / "labels"
    if not (is_folder(images / "train") and is_folder(images / "test")):
        return None
    train = SplitFolders(LAYOUT.train, images / "train", maps / "train")
    test = SplitFolders(LAYOUT.test, images / "test", maps / "test")
    if is_file(root / "classes.txt"):
        is_nyu = read_names(root / "classes.txt") == (IGNORE, *CLASSES)
    else:
        is_nyu = has_files(train, _NUM_TRAIN) and has_files(test, _NUM_TEST)
    return find_by_folders("nyuv2", LAYOUT, train, test) if is_nyu else None


LAYOUT = LabelLayout(
    name="NYUv2",
    classes=CLASSES,
    train="NYUv2/train",
    test="NYUv2/test",
    zero_is_ignored=True,
    image_suffixes=(".jpg", ".png"),
    label_suffix=".png",
    find=find_nyuv2,
    expected=(
        "NYU-v2 (images/{train,test} and labels/{train,test}, with 795 and 654 images, or with a classes.txt "
        "of 'ignore' and its 40 classes)"
    ),
)
