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


def find_ade20k(root: Path) -> FoundSet | None:
    """The set in `root` or in `root/ADEChallengeData2016`; a `classes.txt` tells a set of its own."""
    for folder in (root / "ADEChallengeData2016", root):
        images, maps = folder / "images", folder / "annotations"
        there = is_folder(images / "training") and is_folder(images / "validation")
        if there and not is_file(folder / "classes.txt"):
            return find_by_folders(
                "ade20k",
                LAYOUT,
                folder,
                SplitFolders(LAYOUT.train, images / "training", maps / "training"),
                SplitFolders(LAYOUT.test, images / "validation", maps / "validation"),
            )
    return None


LAYOUT = LabelLayout(
    name="ADE20K",
    classes=ADE20K_CLASSES,
    train="ADE20K/training",
    test="ADE20K/validation",
    num_train=20_210,
    num_test=2_000,
    zero_is_ignored=True,
    image_suffixes=(".jpg",),
    label_suffix=".png",
    find=find_ade20k,
    expected="ADEChallengeData2016 (images/{training,validation} and annotations/{training,validation})",
)
