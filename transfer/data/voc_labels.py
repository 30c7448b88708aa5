"""Finds label maps in VOC layout: VOC2012 with those of the SBD, or one folder with classes of its own.

`train_aug` is what papers call so: VOC2012's own training images with VOC's maps, and every other image of
the SBD (Hariharan et al. 2011) that is not in VOC2012's val, with the SBD's maps: 10,582 together.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.errors import DataError
from bench.core.palette import voc_palette
from transfer.data.label_names import Colours, read_names, read_palette
from transfer.data.label_splits import FoundSet, LabelLayout, LabelSplit, is_file, is_folder
from transfer.data.segmentation import Pairs
from transfer.data.voc import VOC_CLASSES
from transfer.data.voc_splits import read_ids

BACKGROUND = "background"
CLASSES = (BACKGROUND, *VOC_CLASSES)
_WITHOUT_TRAIN = "aug.txt"
_WITH_TRAIN = ("trainaug.txt", "train_aug.txt")
_AUG_MAPS = "SegmentationClassAug"
_MAKER = "bench data download voc-seg makes it from the SBD, as MMSegmentation's voc_aug.py does"


def _lists(folder: Path) -> Path:
    return folder / "ImageSets" / "Segmentation"


def _pairs(folder: Path, maps: str = "SegmentationClass") -> Pairs:
    return Pairs(folder / "JPEGImages", folder / maps, ".jpg", ".png")


def find_devkit(root: Path) -> FoundSet | None:
    """VOC2012 in `root` or in `root/VOCdevkit`; or `root` itself, told by the SBD's maps in it."""
    homes = [home for home in (root / "VOC2012", root / "VOCdevkit" / "VOC2012") if is_folder(home)]
    if is_folder(root / _AUG_MAPS) and is_folder(_lists(root)):
        homes.append(root)  # what MMSegmentation's configs call data_root
    if not homes:
        return None
    folder = homes[0]
    train, problems = _read_list(_lists(folder) / "train.txt")
    test, wrong = _read_list(_lists(folder) / "val.txt")
    problems += wrong
    aug, wrong = _read_aug(folder, train)
    problems += wrong
    images = [(_pairs(folder), image_id) for image_id in train]
    images += [(_pairs(folder, _AUG_MAPS), image_id) for image_id in aug]
    return FoundSet(
        layout="voc-seg",
        name=LAYOUT.name,
        classes=CLASSES,
        zero_is_ignored=False,
        train=LabelSplit(LAYOUT.train, tuple(images)),
        test=LabelSplit(LAYOUT.test, tuple((_pairs(folder), image_id) for image_id in test)),
        problems=tuple(problems),
        colours=Colours(dict(enumerate(voc_palette())), "VOC's colours"),
    )


def _read_aug(folder: Path, train: list[str]) -> tuple[list[str], list[str]]:
    """The ids of `train_aug` that are not in VOC's own train, and problems."""
    problems = []
    if not is_folder(folder / _AUG_MAPS):
        problems.append(f"{folder / _AUG_MAPS}: no such folder; {_MAKER}")
    names = [name for name in (_WITHOUT_TRAIN, *_WITH_TRAIN) if is_file(_lists(folder) / name)]
    if not names:
        problems.append(
            f"{_lists(folder)}: none of {_WITHOUT_TRAIN}, {', '.join(_WITH_TRAIN)} is there; expected the "
            f"list of the images with maps in {_AUG_MAPS}; {_MAKER}"
        )
        return [], problems
    path = _lists(folder) / names[0]
    ids, wrong = _read_list(path)
    known = set(train)
    if names[0] == _WITHOUT_TRAIN:
        wrong += [f"{path}: {name} is in train.txt, too" for name in ids if name in known]
    # Without the folder, one fault says it all.
    return [name for name in ids if name not in known and not problems], problems + wrong


def find_voc_folder(root: Path) -> FoundSet | None:
    """One folder in VOC layout, by its own splits; `classes.txt` and `palette.txt` may be there."""
    if not is_folder(_lists(root)):
        return None
    train, test = _splits_of(root)
    problems: list[str] = []
    splits = []
    for name in (train, test):
        ids, wrong = _read_list(_lists(root) / f"{name}.txt")
        problems += wrong
        label = f"{root.resolve().name}/{name}"
        splits.append(LabelSplit(label, tuple((_pairs(root), image_id) for image_id in ids)))
    classes: tuple[str, ...] = CLASSES
    if is_file(root / "classes.txt"):
        classes = read_names(root / "classes.txt")
        if classes[0] != BACKGROUND:
            raise DataError(f"{root / 'classes.txt'}, line 1: {classes[0]!r}; expected {BACKGROUND!r}")
    palette = root / "palette.txt"
    return FoundSet(
        layout="voc-folder",
        name=root.resolve().name,
        classes=classes,
        zero_is_ignored=False,
        train=splits[0],
        test=splits[1],
        problems=tuple(problems),
        colours=read_palette(palette, classes, zero_is_ignored=False) if is_file(palette) else None,
    )


def _splits_of(root: Path) -> tuple[str, str]:
    files = map(Path, os.listdir(_lists(root)))
    names = {path.stem for path in files if path.suffix == ".txt"}
    for train, test in (("trainval", "test"), ("train", "test"), ("train", "val")):
        if {train, test} <= names:
            return train, test
    raise DataError(
        f"{_lists(root)}: has neither (trainval or train) with test, nor train with val; "
        f"found {', '.join(sorted(names)) or 'nothing'}"
    )


def _read_list(path: Path) -> tuple[list[str], list[str]]:
    """The ids of a list that can be used, and every problem of it."""
    ids, problems, num_lines = read_ids(path)
    if num_lines == 0:
        problems.append(f"{path}: lists no image; expected one id a line")
    return ids, problems


LAYOUT = LabelLayout(
    name="VOC2012",
    classes=CLASSES,
    train="VOC2012/train_aug",
    test="VOC2012/val",
    zero_is_ignored=False,
    image_suffixes=(".jpg",),
    label_suffix=".png",
    find=find_devkit,
    expected="a VOCdevkit (VOC2012 in it)",
)
