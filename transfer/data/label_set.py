"""Reads and checks a set for semantic segmentation: a published one, or any folder with classes of its own.

Everything is read and checked before anything trains. What engines let through in silence is a fault here: an
RGB picture for a map of indices, a label above the classes, a palette that was made anew, a map for the
picture as it is stored where engines turn it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.core.errors import DataError
from transfer.data import ade20k, cityscapes, label_folder, nyuv2, voc_labels
from transfer.data.dataset import read_images, refuse, split_departures
from transfer.data.label_notes import has_class, notes_of
from transfer.data.label_pair import PairReader, ReadPair, first_disagreement
from transfer.data.label_splits import FoundSet, LabelLayout, is_folder
from transfer.data.segmentation import IGNORED, SegmentationDataset

FOLDER = "folder"
LAYOUTS: Mapping[str, LabelLayout] = MappingProxyType(
    {
        "voc-seg": voc_labels.LAYOUT,
        "cityscapes": cityscapes.LAYOUT,
        "ade20k": ade20k.LAYOUT,
        "nyuv2": nyuv2.LAYOUT,
        FOLDER: label_folder.LAYOUT,
    }
)
"""By the word that `read_segmentation` takes."""


def read_segmentation(
    root: Path, *, layout: str, progress: Callable[[int, int], None] | None = None
) -> SegmentationDataset:
    """Read and check a set, every image and every label.

    Images come in the order of their ids. The set says by its `layout` what was read: one of `LAYOUTS`, or
    "voc-folder" for a single folder in VOC layout.

    Args:
        root: The folder of the set or, for published ones, one that holds it.
        layout: Of `LAYOUTS`. Where the published set of this layout is not there, a single folder in VOC
            layout is read, or else one of images and labels; "folder" is the last only.
        progress: Called with (done, all) images.

    Raises:
        DataError: every problem found, the first 20 in its text and all in `problems`.
    """
    found = _find(root, layout)
    problems = list(found.problems) + _in_both(found)
    todo = (*found.train.images, *found.test.images)
    images, wrong = read_images(todo, PairReader(found), progress)
    problems += wrong
    if found.colours is None:
        problems += first_disagreement(images)
    num_train = len(found.train.images)
    if not problems:
        for role, split, part in (
            ("train", found.train, images[:num_train]),
            ("test", found.test, images[num_train:]),
        ):
            if not any(has_class(image, zero_is_ignored=found.zero_is_ignored) for image in part):
                problems.append(
                    f"{part[0].label_path}: no pixel of a class, as in all {len(part):,} maps of "
                    f"{split.label}; there is nothing to {role} on"
                )
        problems += _shifted(found, images[:num_train])
    refuse(problems, root, layout, f", in {len(todo) - len(images):,} of {len(todo):,} images")
    train, test = _in_order(images[:num_train]), _in_order(images[num_train:])
    return SegmentationDataset(
        name=found.name,
        classes=found.classes,
        train=train,
        test=test,
        split_counts={found.train.label: len(train), found.test.label: len(test)},
        notes=notes_of(found, train, test),
        layout=found.layout,
        zero_is_ignored=found.zero_is_ignored,
    )


def _find(root: Path, layout: str) -> FoundSet:
    finders = [LAYOUTS[layout].find]
    expected = [LAYOUTS[layout].expected]
    if layout != FOLDER:
        finders += [voc_labels.find_voc_folder, label_folder.find_folder]
        expected += ["one folder in VOC layout (ImageSets/Segmentation in it)", label_folder.LAYOUT.expected]
    try:
        if not is_folder(root):
            raise DataError(f"{root}: no such folder; expected {'; or '.join(expected)}")
        for find in finders:
            if found := find(root):
                return found
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    raise DataError(f"{root}: no set with label maps; looked for {'; '.join(expected)}")


def _in_both(found: FoundSet) -> list[str]:
    """Where each split has a folder of its own, equal ids are different images."""
    train = {(pairs.image_dir, image_id) for pairs, image_id in found.train.images}
    return [
        f"{pairs.image_dir / image_id}{pairs.image_suffix}: the id {image_id} is in {found.train.label} and "
        f"in {found.test.label}; expected it in one of them"
        for pairs, image_id in found.test.images
        if (pairs.image_dir, image_id) in train
    ]


def _shifted(found: FoundSet, train: Sequence[ReadPair]) -> list[str]:
    """Maps from which 0 was taken away before: each class would have the next one's name."""
    present = {value for image in train for value in image.values}
    last = len(found.classes)
    if found.layout == FOLDER or not found.zero_is_ignored or last in present or IGNORED not in present:
        return []
    return [
        f"{train[0].pairs.label_dir}: no pixel of label {last} ({found.classes[-1]}), but some of {IGNORED}: "
        f"maps of 0 to {last - 1}? Expected 0 for what is ignored and 1 to {last} for the classes"
    ]


def _in_order(images: Sequence[ReadPair]) -> tuple[ReadPair, ...]:
    return tuple(sorted(images, key=lambda image: str(image.image_id)))


def label_departures(data: SegmentationDataset, expected: Any) -> tuple[str, ...]:
    """In what a set differs from the published one; nothing where it is that.

    Args:
        data: The set.
        expected: The protocol's: `name`, `layout`, `train`, `test`, `split_counts`, `num_classes`.
    """
    published = LAYOUTS[expected.layout].classes or data.classes
    if data.layout != expected.layout:
        return (f"{data.name}, layout {data.layout} (protocol: {expected.name}, {expected.layout})",)
    if len(published) != expected.num_classes:
        return (f"{data.name}, {len(published)} classes (protocol: {expected.num_classes})",)
    present = {value for image in data.train for value in image.values}
    labels = enumerate(data.classes, start=int(data.zero_is_ignored))
    absent = [f"train: no pixel of {name}" for label, name in labels if label not in present]
    return (*split_departures(data, tuple(data.split_counts), published, expected), *absent)
