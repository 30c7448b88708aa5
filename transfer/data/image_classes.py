"""Images in class folders, for classification: `train` and `val`, each with one folder a class.

Whatever `bench.images.source` reads may stand for either: class folders, or tar shards with classes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core import rng
from bench.core.errors import DataError
from bench.core.records import DataStamp
from bench.images.source import ImageSource, open_source
from transfer.data.image_list import read_image_list
from transfer.protocols.classification import ExpectedImages, ExpectedSubset

TEST_SPLITS = ("val", "test")
"""Names of the folder that is tested on, where the protocol's own is not there; the first that is."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassificationDataset:
    """A set of images with a class each.

    Attributes:
        name: For records.
        train, test: Images by number; both have the same classes.
        chosen: Numbers of the training images that are trained on, rising.
        subset: How they were chosen, or "" for all.
        list_sha256: Of the list that chose them, or "".
        test_split: The folder's name.
        notes: Facts that a reader of its numbers must know.
    """

    name: str
    train: ImageSource
    test: ImageSource
    chosen: Indices
    subset: str
    list_sha256: str
    test_split: str
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of labels."""
        return self.train.classes or ()

    @property
    def train_labels(self) -> Indices:
        """[chosen] label of each image that is trained on."""
        return labels_of(self.train)[self.chosen]

    @property
    def test_labels(self) -> Indices:
        """[test] label of each."""
        return labels_of(self.test)

    @property
    def fingerprint(self) -> str:
        """sha256 over names, sizes and classes of all images, and over which are trained on."""
        digest = hashlib.sha256(f"{self.train.fingerprint}:{self.test.fingerprint}".encode())
        if len(self.chosen) < len(self.train):
            digest.update(self.chosen.astype("<i8").tobytes())
        return digest.hexdigest()

    def stamp(self) -> DataStamp:
        """What a record says of it."""
        return DataStamp(
            name=self.name,
            fingerprint=self.fingerprint,
            counts={"train": len(self.chosen), "test": len(self.test)},
            classes=self.classes,
            notes=self.notes,
        )


def labels_of(source: ImageSource) -> Indices:
    """The label of each image of a source that has classes."""
    if source.labels is None:
        raise TypeError("images without classes")
    return source.labels


def read_classification(root: Path, expected: ExpectedImages) -> ClassificationDataset:
    """The set in a folder.

    Args:
        root: With `train`, and `val` or `test`.
        expected: Of which a subset's list or share is taken.

    Raises:
        DataError: not there, not the same classes in both, an image outside of class folders, a list that
            does not fit the images.
    """
    train = _open(root, root / "train")
    names = dict.fromkeys((expected.test, *TEST_SPLITS))
    there = [name for name in names if (root / name).exists()]
    if not there:
        raise DataError(f"{root}: has no folder {' or '.join(names)} to be tested on")
    test = _open(root, root / there[0])
    if test.classes != train.classes:
        only = sorted(set(test.classes or ()) ^ set(train.classes or ()))
        raise DataError(f"{test.root}: its classes are not those of {train.root} (first: {only[0]!r})")
    if len(train.classes or ()) < 2:
        raise DataError(f"{train.root}: one class only; expected two or more")
    chosen, subset, list_sha256 = np.arange(len(train), dtype=np.int64), "", ""
    if isinstance(expected, ExpectedSubset):
        chosen, subset, list_sha256 = _subset(root, train, expected)
    notes = [f"{source.root.name}: {source.pack.text()}" for source in (train, test) if source.pack]
    absent = len(train.classes or ()) - len(np.unique(labels_of(train)[chosen]))
    if absent:
        notes.append(f"{absent:,} classes have no image that is trained on")
    if subset:
        notes.append(subset)
    return ClassificationDataset(
        name=_name(root, train, test, expected),
        train=train,
        test=test,
        chosen=chosen,
        subset=subset,
        list_sha256=list_sha256,
        test_split=there[0],
        notes=tuple(notes),
    )


def classification_departures(data: ClassificationDataset, expected: ExpectedImages) -> tuple[str, ...]:
    """In what this is not the published set, as far as names and counts tell.

    The pixels of the published set are not known here: the fingerprint alone shows other files.
    """
    packed = [
        f"{source.root.name}: {source.pack.text()}" for source in (data.train, data.test) if source.pack
    ]
    if not _is_named_like(data.train, expected):
        what = f"{len(data.classes):,} classes of its own"
        return (f"{data.name}, {what} (protocol: {expected.name})", *packed)
    if data.test_split != expected.test:
        return (f"tested on {data.test_split} (protocol: {expected.test})", *packed)
    counts = {"train": len(data.train), expected.test: len(data.test)}
    lines = [
        f"{split}: {counts[split]:,} images (protocol: {number:,})"
        for split, number in expected.split_counts.items()
        if counts[split] != number
    ]
    if isinstance(expected, ExpectedSubset) and data.list_sha256 != expected.train_list_sha256:
        lines.append(f"{data.subset} (protocol: the list of sha256 {expected.train_list_sha256[:12]})")
    return (*lines, *packed)


def _open(root: Path, path: Path) -> ImageSource:
    if not path.exists():
        raise DataError(f"{root}: has no folder {path.name}; expected train, and val or test")
    source = open_source(path)
    if source.labels is None:
        raise DataError(f"{path}: its images have no classes; expected one folder a class")
    return source


def _is_named_like(source: ImageSource, expected: ExpectedImages) -> bool:
    names = source.classes or ()
    return len(names) == expected.num_classes and all(
        re.fullmatch(expected.class_pattern, name) for name in names
    )


def _name(root: Path, train: ImageSource, test: ImageSource, expected: ExpectedImages) -> str:
    """The published set's name if counts and names are its own, else the folder's."""
    counts = (len(train), len(test))
    if _is_named_like(train, expected) and counts == (expected.num_train[0], expected.num_test):
        return expected.name
    return root.resolve().name


def _subset(root: Path, train: ImageSource, expected: ExpectedSubset) -> tuple[Indices, str, str]:
    if expected.train_list:
        path = root / expected.train_list
        if not path.exists():
            path = Path(expected.train_list)
        if not path.exists():
            raise DataError(
                f"{root / expected.train_list}: there is no such list of images to train on. Put the list "
                "there, or give --set data.train_list=FILE; --set \"data.train_list=''\" draws "
                f"{expected.train_share:.0%} of each class (marked)"
            )
        chosen, sha256 = read_image_list(path, train)
        return chosen, f"trained on {len(chosen):,} images, list {path.name}, sha256 {sha256[:12]}", sha256
    chosen = drawn(labels_of(train), expected.train_share)
    how = f"trained on {len(chosen):,} images, {expected.train_share:.1%} of each class, drawn here"
    return chosen, how, ""


def drawn(labels: Indices, share: float) -> Indices:
    """Numbers of a share of each class, rising; at least one image a class, the same in every run.

    Args:
        labels: [images].
        share: Above 0, at most 1.
    """
    order = rng.permutation(0, 0, len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[by_class], np.unique(labels))
    parts = np.split(by_class, starts[1:])
    taken = [part[: max(1, round(share * len(part)))] for part in parts]
    return np.sort(np.concatenate(taken)).astype(np.int64)
