"""Reads and checks a set in COCO layout: the 2017 one, or any folder with classes of its own.

Everything is read and checked before anything trains. What other readers let through in silence is a fault
here: two entries of one id, an annotation of an image that is not there, a name that leaves the folder, a
polygon of two points (taken for a box by the reference), NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.core.paths import read_bounded
from bench.core.safe_image import MAX_BYTES, decode_image
from transfer.data.coco_annotation import CocoObject
from transfer.data.coco_json import CocoFile, ImageEntry, read_file
from transfer.data.coco_notes import notes_of
from transfer.data.coco_splits import CocoSplit, find_splits
from transfer.data.dataset import read_images, refuse
from transfer.data.detection import DetectionDataset, DetectionImage
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks


@dataclass(frozen=True)
class CocoDataset(DetectionDataset):
    """A checked set in COCO layout.

    Attributes:
        train_split, test_split: Where it came from.
    """

    train_split: CocoSplit
    test_split: CocoSplit

    @property
    def has_run_lengths(self) -> bool:
        """Whether an object that is trained on has run lengths for an outline, which polygons cannot hold."""
        return any(not item.is_crowd and not item.polygons for image in self.train for item in image.objects)


def read_coco(
    root: Path,
    *,
    train: tuple[str, ...],
    test: str,
    progress: Callable[[int, int], None] | None = None,
) -> CocoDataset:
    """Read and check a set, every annotation and every pixel.

    Images come in the order of their ids, annotations as in the file.

    Args:
        root: See `find_splits`.
        train: The published name of the split to train on; a set of its own has its own.
        test: The same to test on.
        progress: Called with (done, all) images.

    Raises:
        DataError: every problem found, the first 20 in its text and all in `problems`.
    """
    splits = find_splits(root, train, test)
    files = [read_file(split.file, split.images) for split in splits]
    problems = [problem for file in files for problem in file.problems]
    problems += _other_categories(splits, files) + _in_both(splits, files)
    todo = [(split, image) for split, file in zip(splits, files, strict=True) for image in file.images]
    images, wrong = read_images(todo, _read_image, progress)
    problems += wrong
    num_train = len(files[0].images)
    for role, split, part in zip(
        ("train", "test"), splits, (images[:num_train], images[num_train:]), strict=True
    ):
        if not problems and not any(_is_object(item) for image in part for item in image.objects):
            problems.append(f"{split.file}: no annotation that is no crowd; there is nothing to {role} on")
    refuse(problems, root, "coco")
    classes = tuple(files[0].categories.values())
    published = [split.label for split in splits] == [*train, test]
    return CocoDataset(
        name="COCO" if published else root.resolve().name,
        classes=classes,
        train=tuple(images[:num_train]),
        test=tuple(images[num_train:]),
        train_names=(_engine_name(splits[0].label),),
        test_name=_engine_name(splits[1].label),
        split_counts={split.label: len(file.images) for split, file in zip(splits, files, strict=True)},
        notes=notes_of(files[0].categories, images[:num_train], images[num_train:]),
        train_split=splits[0],
        test_split=splits[1],
    )


def _is_object(item: CocoObject) -> bool:
    return not item.is_crowd and not item.is_flat


def _engine_name(label: str) -> str:
    """`coco_2017_train` for train2017, as Detectron2 registers it."""
    name = label.rstrip("0123456789")
    return f"coco_{label[len(name) :]}_{name}" if name != label else f"coco_{label}"


def _other_categories(splits: Sequence[CocoSplit], files: Sequence[CocoFile]) -> list[str]:
    first, second = (file.categories for file in files)
    ids = sorted(id_ for id_ in first.keys() | second.keys() if first.get(id_) != second.get(id_))
    return [
        f"{splits[1].file}, category {id_}: {_named(second.get(id_))}; {splits[0].file.name} has "
        f"{_named(first.get(id_))}"
        for id_ in ids
    ]


def _named(name: str | None) -> str:
    return "none" if name is None else repr(name)


def _in_both(splits: Sequence[CocoSplit], files: Sequence[CocoFile]) -> list[str]:
    train = {image.path.resolve(): image.image_id for image in files[0].images}
    return [
        f"{splits[1].file}, image {image.image_id}: {image.path} is image {train[image.path.resolve()]} of "
        f"{splits[0].file.name}, too"
        for image in files[1].images
        if image.path.resolve() in train
    ]


def _read_image(item: tuple[CocoSplit, ImageEntry]) -> DetectionImage | tuple[str, ...]:
    split, entry = item
    where = f"{split.file}, image {entry.image_id}"
    try:
        data = read_bounded(entry.path, MAX_BYTES)
        height, width = decode_image(data, str(entry.path)).shape[:2]
    except BenchError as error:
        return tuple(f"{where}: {problem}" for problem in error.problems)
    if (entry.width, entry.height) != (width, height):
        written = f"{entry.width} x {entry.height}"
        return (f"{where}: says {written} px; {entry.path} is {width} x {height}",)
    file_sha256 = hashlib.sha256(data)
    digest = hashlib.sha256(file_sha256.digest())
    for found in entry.objects:
        digest.update(found.sha256)
    return DetectionImage(
        image_id=entry.image_id,
        path=entry.path,
        width=width,
        height=height,
        objects=entry.objects,
        file_sha256=file_sha256.hexdigest(),
        content_sha256=digest.hexdigest(),
    )


def truth_of(images: Sequence[DetectionImage], classes: tuple[str, ...]) -> InstanceTruth:
    """The objects of a split as arrays."""
    objects: list[tuple[int, CocoObject]] = [
        (index, item) for index, image in enumerate(images) for item in image.objects
    ]
    return InstanceTruth(
        image_ids=tuple(int(image.image_id) for image in images),
        sizes=np.array([(image.height, image.width) for image in images], np.int64).reshape(-1, 2),
        classes=classes,
        image=np.array([index for index, _ in objects], np.int64),
        label=np.array([item.class_index for _, item in objects], np.int64),
        boxes=np.array([item.box for _, item in objects], np.float64).reshape(-1, 4),
        area=np.array([item.area for _, item in objects], np.float64),
        crowd=np.array([item.is_crowd for _, item in objects], np.bool_),
        masks=Masks.of([item.mask for _, item in objects]),
    )
