"""Finds Cityscapes: `leftImg8bit` with the fine annotation `gtFine`, labels by trainId."""

from __future__ import annotations

from pathlib import Path

from transfer.data.label_splits import (
    FoundSet,
    LabelLayout,
    LabelSplit,
    SplitFolders,
    is_folder,
    pair_up,
)

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The 19 classes that are evaluated, by trainId (cityscapesscripts/helpers/labels.py)."""
_IDS = "_gtFine_labelIds.png"
_MAKER = "cityscapesscripts' createTrainIdLabelImgs (csCreateTrainIdLabelImgs) makes"


def find_cityscapes(root: Path) -> FoundSet | None:
    """The set in `root` or in `root/cityscapes`."""
    homes = [home for home in (root, root / "cityscapes") if is_folder(home / "leftImg8bit")]
    if not homes:
        return None
    folder = homes[0]
    splits, problems = [], []
    for label in (LAYOUT.train, LAYOUT.test):
        name = label.split("/")[1]
        folders = SplitFolders(label, folder / "leftImg8bit" / name, folder / "gtFine" / name)
        if _has(folders.label_dir, _IDS) and not _has(folders.label_dir, LAYOUT.label_suffix):
            problems.append(
                f"{folders.label_dir}: has *{_IDS} only; expected *{LAYOUT.label_suffix}, which "
                f"{_MAKER} of them"
            )
            splits.append(LabelSplit(label, ()))
            continue
        split, wrong = pair_up(folders, LAYOUT.image_suffixes, LAYOUT.label_suffix, others_among_maps=True)
        splits.append(split)
        problems += wrong
    return FoundSet(
        layout="cityscapes",
        name=LAYOUT.name,
        classes=CLASSES,
        zero_is_ignored=False,
        train=splits[0],
        test=splits[1],
        problems=tuple(problems),
        out_of_range=f". Is it a map of labelIds? {_MAKER} one of trainIds",
    )


def _has(folder: Path, suffix: str) -> bool:
    return is_folder(folder) and next(folder.glob(f"*/*{suffix}"), None) is not None


LAYOUT = LabelLayout(
    name="Cityscapes",
    classes=CLASSES,
    train="Cityscapes/train",
    test="Cityscapes/val",
    zero_is_ignored=False,
    image_suffixes=("_leftImg8bit.png",),
    label_suffix="_gtFine_labelTrainIds.png",
    find=find_cityscapes,
    expected="Cityscapes (leftImg8bit/{train,val} and gtFine/{train,val})",
)
