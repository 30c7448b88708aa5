"""Reads a set in VOC layout: a VOCdevkit with VOC2007 and VOC2012, or one folder with classes of its own.

Everything is read and checked before anything trains, by the rules of the engine's evaluator, which would
stop on some of the same faults only after the training: every problem is named with its file and object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import DataError
from bench.core.paths import safe_name
from transfer.data.voc_annotation import VocImage, read_image_of

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
class Split:
    """One `ImageSets/Main/<name>.txt` below `folder`."""

    folder: Path
    name: str

    @property
    def label(self) -> str:
        """`VOC2007/trainval`."""
        return f"{self.folder.name}/{self.name}"


@dataclass(frozen=True)
class VocDataset:
    """A checked set. `notes` are facts about it that a reader of its numbers must know."""

    name: str
    classes: tuple[str, ...]
    train: tuple[VocImage, ...]
    test: tuple[VocImage, ...]
    train_splits: tuple[Split, ...]
    test_split: Split
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """sha256 over classes and, per split, every image's id and the hash of its two files."""
        digest = hashlib.sha256()
        digest.update("\n".join(self.classes).encode())
        for role, images in (("train", self.train), ("test", self.test)):
            for image in sorted(images, key=lambda item: (item.image_id, item.content_sha256)):
                digest.update(f"\n{role}:{image.image_id}:{image.content_sha256}".encode())
        return digest.hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """Images per role."""
        return {"train": len(self.train), "test": len(self.test)}


def read_voc(
    root: Path,
    *,
    train: tuple[str, ...],
    test: str,
    progress: Callable[[int, int], None] | None = None,
) -> VocDataset:
    """Read and check a set.

    Args:
        root: A VOCdevkit (a folder that holds VOC2007 ...), or one folder in VOC layout.
        train: Splits of a devkit to train on, "VOC2007/trainval". A single folder has its own: trainval
            and test where it has a test split, else train and val.
        test: Split of a devkit to test on.
        progress: Called with (done, all) images.

    Raises:
        DataError: every problem found, the first 20 in full.
    """
    if {"{", "}"} & set(str(root.absolute())):
        # Detectron2's evaluator takes its path for a format string.
        raise DataError(f"{root}: braces in the path; the evaluation cannot read it. Rename the folder")
    train_splits, test_split, single = _find_splits(root, train, test)
    classes = _read_classes(root, single)
    problems: list[str] = []
    todo = [(split, image_id) for split in train_splits for image_id in _read_split(split)]
    num_train = len(todo)
    todo += [(test_split, image_id) for image_id in _read_split(test_split)]
    overlap = {(s.folder, i) for s, i in todo[:num_train]} & {(s.folder, i) for s, i in todo[num_train:]}
    problems += [
        f"{folder}: {image_id} is in the training and in the test split" for folder, image_id in overlap
    ]

    images: list[VocImage | None] = []

    def read_one(item: tuple[int, tuple[Split, str]]) -> VocImage | str:
        index, (split, image_id) = item
        try:
            return read_image_of(split.folder, image_id, classes, for_test=index >= num_train)
        except DataError as error:
            return str(error)

    # Hashing and file reading release the GIL; the order of results is that of the split files.
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done, result in enumerate(pool.map(read_one, enumerate(todo)), start=1):
            if isinstance(result, str):
                problems.append(result)
                images.append(None)
            else:
                images.append(result)
            if progress:
                progress(done, len(todo))
    if not problems and not any(image.objects for image in images[:num_train] if image):
        problems.append(f"{root}: no training image has an object; there is nothing to train on")
    if problems:
        bad = f"{len(problems):,} problems in {len(todo):,} images of {root}; nothing was trained."
        raise DataError.of(problems, hint=bad)
    read = [image for image in images if image is not None]
    return VocDataset(
        name="VOCdevkit" if not single else root.resolve().name,
        classes=classes,
        train=tuple(read[:num_train]),
        test=tuple(read[num_train:]),
        train_splits=train_splits,
        test_split=test_split,
        notes=_notes(classes, read[:num_train], read[num_train:]),
    )


def _find_splits(root: Path, train: tuple[str, ...], test: str) -> tuple[tuple[Split, ...], Split, bool]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a VOCdevkit or one folder in VOC layout")
    if (root / "ImageSets").is_dir():
        return *_splits_of_folder(root), True
    if (root / "VOCdevkit").is_dir():
        root = root / "VOCdevkit"
    if not (root / test.split("/")[0]).is_dir():
        raise DataError(
            f"{root}: neither a VOCdevkit (no {test.split('/')[0]} in it) nor one folder in VOC layout "
            "(no ImageSets in it)"
        )
    splits = [Split(root / label.split("/")[0], label.split("/")[1]) for label in (*train, test)]
    missing = [split for split in splits if not _split_file(split).is_file()]
    if missing:
        raise DataError.of([f"{_split_file(split)}: missing" for split in missing])
    return tuple(splits[:-1]), splits[-1], False


def _splits_of_folder(root: Path) -> tuple[tuple[Split, ...], Split]:
    names = {path.stem for path in (root / "ImageSets" / "Main").glob("*.txt")}
    for train, test in (("trainval", "test"), ("train", "test"), ("train", "val")):
        if {train, test} <= names:
            return (Split(root, train),), Split(root, test)
    raise DataError(
        f"{root}/ImageSets/Main: has neither (trainval or train) with test, nor train with val; "
        f"found {', '.join(sorted(names)) or 'nothing'}"
    )


def _split_file(split: Split) -> Path:
    return split.folder / "ImageSets" / "Main" / f"{split.name}.txt"


def _read_split(split: Split) -> list[str]:
    path = _split_file(split)
    lines = _read_lines(path)
    problems = []
    for number, line in enumerate(lines, start=1):
        if len(line.split()) != 1:
            what = "empty" if not line.split() else f"{line!r} has several columns"
            problems.append(f"{path}, line {number}: {what}; expected one image id a line")
    ids = [line.strip() for line in lines]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        problems.append(f"{path}: {twice} is listed twice")
    if not ids:
        problems.append(f"{path}: lists no image")
    if problems:
        raise DataError.of(problems)
    return [safe_name(name, f"{path}: image id") for name in ids]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None


def _read_classes(root: Path, single: bool) -> tuple[str, ...]:
    path = root / "classes.txt"
    if not single or not path.is_file():
        return VOC_CLASSES
    names = [line.strip() for line in _read_lines(path) if line.strip()]
    # Sets with label maps list the background too; a detector has it built in.
    names = [name for name in names if name != "background"]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path}: expected one class name a line, each once")
    return tuple(safe_name(name, f"{path}: class") for name in names)


def absent_classes(classes: tuple[str, ...], images: Sequence[VocImage]) -> list[str]:
    """The classes that have no object in `images`, difficult ones aside."""
    present = {item.class_index for image in images for item in image.objects if not item.difficult}
    return [name for index, name in enumerate(classes) if index not in present]


def _notes(classes: tuple[str, ...], train: list[VocImage], test: list[VocImage]) -> tuple[str, ...]:
    notes = []
    for role, images in (("train", train), ("test", test)):
        absent = absent_classes(classes, images)
        if absent:
            effect = "; each counts as AP 0 under the 11-point rule" if role == "test" else ""
            notes.append(f"{role}: no object (difficult ones aside) of {', '.join(absent)}{effect}")
    empty = sum(not image.objects for image in train)
    if empty:
        notes.append(f"train: {empty} images have no object and are left out of training")
    return tuple(notes)
