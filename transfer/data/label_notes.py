"""What a reader of the numbers of a set with label maps must know; nothing of it stops a run."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.data.dataset import shared_images
from transfer.data.label_pair import ReadPair
from transfer.data.label_splits import FoundSet
from transfer.data.segmentation import IGNORED


def notes_of(found: FoundSet, train: Sequence[ReadPair], test: Sequence[ReadPair]) -> tuple[str, ...]:
    """Absent classes, images of ignored pixels, turned images and copies."""
    notes = []
    for role, images in (("train", train), ("test", test)):
        present = {value for image in images for value in image.values}
        labels = enumerate(found.classes, start=1 if found.zero_is_ignored else 0)
        if absent := [name for label, name in labels if label not in present]:
            notes.append(f"{role}: no pixel of {', '.join(absent)}")
        ignored = sum(not has_class(image, zero_is_ignored=found.zero_is_ignored) for image in images)
        if ignored:
            notes.append(f"{role}: {ignored:,} {_images(ignored)} ignored pixels only")
    turned = sum(image.turn != 1 for image in (*train, *test))
    if turned:
        notes.append(
            f"{turned:,} {_images(turned)} an EXIF orientation; their maps are taken as made for the turned "
            "picture"
        )
    return (*notes, *shared_images(train, test))


def _images(number: int) -> str:
    return "image has" if number == 1 else "images have"


def has_class(image: ReadPair, *, zero_is_ignored: bool) -> bool:
    """Whether any pixel of an image is trained on or counted."""
    return bool(image.values - ({0, IGNORED} if zero_is_ignored else {IGNORED}))
