"""Reads a set in VOC layout: a VOCdevkit with VOC2007 and VOC2012, or one folder with classes of its own.

Everything is read and checked before anything trains, by the rules of the engine's evaluator, which would
stop on some of the same faults only after the training: every problem is named with its file and object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError, DataError
from bench.core.paths import inside, read_bounded, safe_name
from bench.core.safe_image import MAX_BYTES, decode_image
from transfer.data.dataset import read_images, refuse, shared_images
from transfer.data.detection import DetectionDataset, DetectionImage
from transfer.data.voc_annotation import read_annotation
from transfer.data.voc_splits import Split, find_splits, read_lines, read_split
from transfer.metrics.detections import Truth

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 20 classes of PASCAL VOC in the devkit's (alphabetical) order."""


@dataclass(frozen=True)
class VocDataset(DetectionDataset):
    """A checked set in VOC layout; `train_splits` and `test_split` are where it came from."""

    train_splits: tuple[Split, ...]
    test_split: Split


def read_voc(
    root: Path,
    *,
    train: tuple[str, ...],
    test: str,
    progress: Callable[[int, int], None] | None = None,
) -> VocDataset:
    """Read and check a set, every annotation and every pixel.

    Images come in the order of their ids, whatever that of the split files: what is trained and which of two
    equal detections comes first is a function of the set, as its fingerprint is.

    Args:
        root: A VOCdevkit (a folder that holds VOC2007 ...), or one folder in VOC layout.
        train: Splits of a devkit to train on, "VOC2007/trainval". A single folder has its own: trainval
            and test where it has a test split, else train and val.
        test: Split of a devkit to test on.
        progress: Called with (done, all) images.

    Raises:
        DataError: every problem found, the first 20 in its text and all in `problems`.
    """
    train_splits, test_split, single = find_splits(root, train, test)
    classes = _read_classes(root, single)
    problems: list[str] = []
    todo: list[tuple[Split, str]] = []
    split_counts: dict[str, int] = {}
    for split in (*train_splits, test_split):
        ids, wrong = read_split(split)
        problems += wrong
        split_counts[split.label] = len(ids)
        todo += [(split, image_id) for image_id in ids]
    num_train = len(todo) - split_counts[test_split.label]
    problems += _in_both(todo[:num_train], todo[num_train:])
    read = partial(_read_or_problems, classes=classes, test_split=test_split)
    # In the order of the split files.
    images, wrong = read_images(todo, read, progress)
    problems += wrong
    if not problems and not any(image.objects for image in images[:num_train]):
        problems.append(f"{root}: no training image has an object; there is nothing to train on")
    refuse(problems, root, "voc", f", in {len(todo) - len(images):,} of {len(todo):,} images")
    return VocDataset(
        name="VOCdevkit" if not single else root.resolve().name,
        classes=classes,
        train=_in_order(images[:num_train]),
        test=_in_order(images[num_train:]),
        train_names=tuple(_engine_name(split) for split in train_splits),
        test_name=_engine_name(test_split),
        train_splits=train_splits,
        test_split=test_split,
        split_counts=split_counts,
        notes=_notes(classes, images[:num_train], images[num_train:]),
    )


def _engine_name(split: Split) -> str:
    """`voc_2007_trainval` for VOC2007/trainval, as Detectron2 registers it."""
    folder = split.folder.resolve().name
    year = folder.removeprefix("VOC")
    return f"voc_{year if folder != year else folder}_{split.name}"


def _in_order(images: list[DetectionImage]) -> tuple[DetectionImage, ...]:
    return tuple(sorted(images, key=lambda image: (image.image_id, image.content_sha256)))


def _in_both(train: list[tuple[Split, str]], test: list[tuple[Split, str]]) -> list[str]:
    both = {(split.folder, name) for split, name in train} & {(split.folder, name) for split, name in test}
    return [f"{folder}: {name} is in the training and in the test split" for folder, name in sorted(both)]


def _read_or_problems(
    item: tuple[Split, str], *, classes: tuple[str, ...], test_split: Split
) -> DetectionImage | tuple[str, ...]:
    split, image_id = item
    try:
        return read_image(split.folder, image_id, classes, for_test=split == test_split)
    except DataError as error:
        return error.problems


def read_image(folder: Path, image_id: str, classes: Sequence[str], *, for_test: bool) -> DetectionImage:
    """One image of a VOC folder with its annotation, both checked.

    Args:
        folder: With `Annotations` and `JPEGImages`.
        image_id: From a split file.
        classes: The names that may occur.
        for_test: Hold the annotation to what the evaluator reads, too.

    Raises:
        DataError: every fault of this image, in `problems`.
    """
    problems: list[str] = []
    annotation, size, sha256 = None, None, b""
    try:
        xml = inside(folder, f"Annotations/{image_id}.xml")
        annotation = read_annotation(xml, image_id, classes, for_test=for_test)
    except BenchError as error:
        problems += error.problems
    try:
        path = inside(folder, f"JPEGImages/{image_id}.jpg")
        data = read_bounded(path, MAX_BYTES)
        sha256 = hashlib.sha256(data).digest()
        height, width = decode_image(data, str(path)).shape[:2]
        size = width, height
    except BenchError as error:
        problems += error.problems
    if annotation and size and (annotation.width, annotation.height) != size:
        written = f"{annotation.width} x {annotation.height}"
        problems.append(f"{xml}: says the image is {written} px; it is {size[0]} x {size[1]}")
    if problems or annotation is None or size is None:
        raise DataError.of(problems)
    digest = hashlib.sha256(annotation.sha256 + sha256)
    return DetectionImage(
        image_id=image_id,
        path=path,
        width=size[0],
        height=size[1],
        objects=annotation.objects,
        file_sha256=sha256.hex(),
        content_sha256=digest.hexdigest(),
    )


def _read_classes(root: Path, single: bool) -> tuple[str, ...]:
    path = root / "classes.txt"
    if not single or not path.is_file():
        return VOC_CLASSES
    names = [line.strip() for line in read_lines(path) if line.strip()]
    # Sets with label maps list the background too; a detector has it built in.
    names = [name for name in names if name != "background"]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path}: expected one class name a line, each once")
    return tuple(safe_name(name, f"{path}: class") for name in names)


def absent_classes(classes: tuple[str, ...], images: Sequence[DetectionImage]) -> list[str]:
    """The classes that have no object in `images`, difficult ones aside."""
    present = {item.class_index for image in images for item in image.objects if not item.difficult}
    return [name for index, name in enumerate(classes) if index not in present]


def truth_of(images: Sequence[DetectionImage], classes: tuple[str, ...]) -> Truth:
    """The objects of a split as arrays."""
    objects = [(index, item) for index, image in enumerate(images) for item in image.objects]
    return Truth(
        image_ids=tuple(str(image.image_id) for image in images),
        classes=classes,
        image=np.array([index for index, _ in objects], np.int64),
        label=np.array([item.class_index for _, item in objects], np.int64),
        boxes=np.array([item.box for _, item in objects], np.float64).reshape(-1, 4),
        difficult=np.array([item.difficult for _, item in objects], np.bool_),
    )


def _notes(
    classes: tuple[str, ...], train: list[DetectionImage], test: list[DetectionImage]
) -> tuple[str, ...]:
    notes = []
    for role, images in (("train", train), ("test", test)):
        absent = absent_classes(classes, images)
        if absent:
            effect = "; each counts as AP 0 under the 11-point rule" if role == "test" else ""
            notes.append(f"{role}: no object (difficult ones aside) of {', '.join(absent)}{effect}")
    empty = sum(not image.objects for image in train)
    if empty:
        notes.append(f"train: {empty} images have no object and are left out of training")
    fractional = sum(any(side % 1 for side in item.box) for image in train for item in image.objects)
    if fractional:
        notes.append(f"train: {fractional} boxes have fractions of a pixel and are trained on as they are")
    return (*notes, *shared_images(train, test))
