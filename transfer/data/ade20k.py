"""Finds ADE20K as SceneParse150 publishes it, ADEChallengeData2016: 0 is other, 1 to 150 the classes."""

from __future__ import annotations

from pathlib import Path

from transfer.data.ade20k_classes import ADE20K_CLASSES
from transfer.data.label_splits import (
    FoundSet,
    LabelLayout,
    SplitFolders,
    find_by_folders,
    is_file,
    is_folder,
)

_OWN_FILES = ("objectInfo150.txt", "sceneCategories.txt")


def find_ade20k(root: Path) -> FoundSet | None:
    """The set in `root` or in `root/ADEChallengeData2016`, told by its own text files.

    Any other set may have these folders: read as ADE20K, its first class would be ignored.
    """
    for folder in (root / "ADEChallengeData2016", root):
        images, maps = folder / "images", folder / "annotations"
        there = is_folder(images / "training") and is_folder(images / "validation")
        if there and any(is_file(folder / name) for name in _OWN_FILES):
            return find_by_folders(
                "ade20k",
                LAYOUT,
                SplitFolders(LAYOUT.train, images / "training", maps / "training"),
                SplitFolders(LAYOUT.test, images / "validation", maps / "validation"),
            )
    return None


LAYOUT = LabelLayout(
    name="ADE20K",
    classes=ADE20K_CLASSES,
    train="ADE20K/training",
    test="ADE20K/validation",
    zero_is_ignored=True,
    image_suffixes=(".jpg",),
    label_suffix=".png",
    find=find_ade20k,
    expected=(
        "ADEChallengeData2016 (images/{training,validation}, annotations/{training,validation} and its "
        "objectInfo150.txt or sceneCategories.txt)"
    ),
)
