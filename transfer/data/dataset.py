"""What a checked data set is, whatever task it is for, and what all readers of one share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.core.errors import DataError
from bench.core.records import DataStamp

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class DataImage:
    """One image of a set; sizes in pixels, as it is seen.

    `file_sha256` is of the image's file, `content_sha256` of that and of all that is said of it.
    """

    image_id: str | int
    path: Path
    width: int
    height: int
    file_sha256: str
    content_sha256: str


I = TypeVar("I", bound=DataImage)  # noqa: E741


@dataclass(frozen=True)
class TransferDataset(Generic[I]):
    """A checked set.

    Attributes:
        name: For records.
        classes: In the order of labels.
        train, test: Images in the order of their ids.
        split_counts: Images of each split by its label.
        notes: Facts that a reader of its numbers must know.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[I, ...]
    test: tuple[I, ...]
    split_counts: dict[str, int]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """sha256 over classes and, per split, every image's id and the hash of its content."""
        digest = hashlib.sha256()
        digest.update("\n".join(self.classes).encode())
        for role, images in (("train", self.train), ("test", self.test)):
            for image in images:
                digest.update(f"\n{role}:{image.image_id}:{image.content_sha256}".encode())
        return digest.hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """Images per role."""
        return {"train": len(self.train), "test": len(self.test)}

    def stamp(self) -> DataStamp:
        """What a record says of it."""
        return DataStamp(
            name=self.name,
            fingerprint=self.fingerprint,
            counts=self.counts,
            classes=self.classes,
            notes=self.notes,
        )


def read_images(
    todo: Sequence[T],
    read: Callable[[T], I | tuple[str, ...]],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[I], list[str]]:
    """Images in the order of `todo`, and the problems of those that cannot be had.

    Args:
        todo: What is to be read.
        read: Gives an image or its problems; hashing, decoding and file reading release the GIL.
        progress: Called with (done, all) images.
    """
    images: list[I] = []
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done, result in enumerate(pool.map(read, todo), start=1):
            if isinstance(result, tuple):
                problems += result
            else:
                images.append(result)
            if progress:
                progress(done, len(todo))
    return images, problems


def refuse(problems: Sequence[str], root: Path, layout: str, where: str = "") -> None:
    """Stop if a set has problems; `where` is added to their count.

    Raises:
        DataError: with all of them, and where to see them.
    """
    if not problems:
        return
    count = f"{len(problems):,} {'fault' if len(problems) == 1 else 'faults'}"
    hint = f'{root}: {count}{where}. Nothing was trained; "bench data check {layout} {root}" lists all.'
    raise DataError.of(problems, hint=hint)


def shared_images(train: Sequence[DataImage], test: Sequence[DataImage]) -> tuple[str, ...]:
    """A note if the same picture is there twice under other names, above all in training and test."""
    notes = []
    for role, images in (("train", train), ("test", test)):
        if again := len(images) - len({image.file_sha256 for image in images}):
            notes.append(f"{role}: {again:,} images are there again under another name")
    known = {image.file_sha256 for image in train}
    both = [image.image_id for image in test if image.file_sha256 in known]
    if both:
        notes.append(
            f"{len(both):,} of {len(test):,} test images are training images, too (first: {both[0]})"
        )
    return tuple(notes)


def split_departures(
    data: TransferDataset[Any], splits: Sequence[str], classes: Sequence[str], expected: Any
) -> tuple[str, ...]:
    """Other splits, other classes, another number of images in one of them.

    The hash of the published files is not known here: the fingerprint alone shows an edited annotation.

    Args:
        data: The set.
        splits: Labels of its splits, the test's last.
        classes: Those of the published set.
        expected: The protocol's `ExpectedData`.
    """
    if tuple(splits) != (*expected.train, expected.test):
        return (f"{data.name}, splits {', '.join(splits)} (protocol: {expected.name})",)
    if data.classes != tuple(classes):
        return (f"{data.name}, {len(data.classes)} classes of its own (protocol: {expected.name})",)
    return tuple(
        f"{label}: {data.split_counts[label]:,} images (protocol: {count:,})"
        for label, count in expected.split_counts.items()
        if data.split_counts[label] != count
    )
