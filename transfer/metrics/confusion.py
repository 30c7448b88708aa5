"""Confusion matrices of label maps, counted in whole numbers, and a test as one sparse matrix an image.

Source:
    hotcoco `metrics.pixel_confusion`. It reads each pixel once, in any integer type (uint8 is the fastest),
    and counts in 64 bits; it refuses a label that is no class where a pixel counts. What is found under
    ignored pixels it leaves alone; we do not.
    Replaces: open-mmlab/mmsegmentation `mmseg/evaluation/metrics/iou_metric.py`, three `torch.histc` in
    single precision: diagonal, rows and columns, but not what is taken for what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import BenchError, DataError, EngineError
from transfer.data.segmentation import IGNORED
from transfer.metrics.detections import Int64

UInt8 = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer[Any]]

MAX_SAMPLES = 8
"""Label maps that are kept for pictures."""

MAX_PIXELS = 2**46
"""Of a test: a hundred times as many are a whole number in double precision, too, so that percentages are
divided once and rounded once. ADE20K's 2,000 test images have 2**29."""


def confusion(truth: Labels, found: Labels, num_classes: int, *, where: str = "label map") -> Int64:
    """How many pixels of each class were taken for each class.

    Args:
        truth: [h, w] labels of 0 to num_classes - 1, or 255 where a pixel is not counted.
        found: [h, w] labels of 0 to num_classes - 1, at ignored pixels, too.
        num_classes: 1 to 255.
        where: The image, for messages.

    Returns:
        [num_classes, num_classes] pixels; rows truth, columns found. Its sum is the pixels not ignored.

    Raises:
        DataError: a label of the truth is no class and not 255.
        EngineError: one of what was found is no class, or it is no label map of the truth's size.
    """
    from hotcoco import metrics

    if not 1 <= num_classes <= IGNORED:
        raise ValueError(f"{num_classes} classes; labels have 8 bits and {IGNORED} is ignored")
    for name, labels, kind in (("truth", truth, DataError), ("found", found, EngineError)):
        if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
            is_now = f"{labels.dtype} of shape {labels.shape}"
            raise kind(f"{where}: {name} is {is_now}; expected a label map, integers of [height, width]")
    if truth.shape != found.shape:
        raise EngineError(
            f"{where}: what was found has {_size(found)} pixels, the image {_size(truth)}. Labels must be "
            "given at the size of the image."
        )
    if found.min() < 0 or found.max() >= num_classes:
        bad = (found < 0) | (found >= num_classes)
        raise EngineError(f"{where}: found {_first(found, bad)}; expected 0 to {num_classes - 1}")
    try:
        counted = metrics.pixel_confusion(truth, found, num_classes, ignore_index=IGNORED)
    except ValueError:
        bad = ((truth < 0) | (truth >= num_classes)) & (truth != IGNORED)
        if not bad.any():
            raise
        raise DataError(
            f"{where}: {_first(truth, bad)}; expected 0 to {num_classes - 1}, or {IGNORED} for ignored"
        ) from None
    return counted.astype(np.int64)


def _size(labels: Labels) -> str:
    height, width = labels.shape
    return f"{width} x {height}"


def _first(labels: Labels, bad: npt.NDArray[np.bool_]) -> str:
    row, column = np.argwhere(bad)[0].tolist()
    return f"label {labels[row, column]} in row {row}, column {column} and {bad.sum() - 1:,} more such pixels"


@dataclass(frozen=True, eq=False)
class Sample:
    """Label maps of one image, kept for a picture.

    Attributes:
        image: Index in the split.
        truth: [h, w] labels, 255 where ignored.
        found: [h, w] labels.
    """

    image: int
    truth: UInt8
    found: UInt8


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """The confusion matrix of one image: the k entries that are not 0, by rows.

    Attributes:
        image: Index in the split.
        truth, found: [k] classes.
        count: [k] pixels.
        num_ignored: Pixels.
        sample: Its label maps, or None if they are not kept.
    """

    image: int
    truth: Int64
    found: Int64
    count: Int64
    num_ignored: int
    sample: Sample | None = None

    @classmethod
    def of(
        cls,
        image: int,
        truth: Labels,
        found: Labels,
        num_classes: int,
        *,
        keep_maps: bool = False,
        where: str = "label map",
    ) -> ImageLabels:
        """Count one image; arguments and errors are those of `confusion`."""
        matrix = confusion(truth, found, num_classes, where=where)
        rows, columns = np.nonzero(matrix)
        sample = Sample(image, truth.astype(np.uint8), found.astype(np.uint8)) if keep_maps else None
        num_ignored = truth.size - int(matrix.sum())
        return cls(image, rows, columns, matrix[rows, columns], num_ignored, sample)


@dataclass(frozen=True, eq=False)
class LabelTest:
    """What became of every image of a test split; n entries that are not 0, by image, truth and found.

    Attributes:
        image_ids: Of every image, in the order of the split.
        classes: Names, in the order of labels.
        image: [n] index into `image_ids`.
        truth, found: [n] index into `classes`.
        count: [n] pixels, above 0.
        num_ignored: [images] pixels.
        samples: Up to eight label maps, in the order of images.

    Raises:
        ValueError: they do not fit together.
    """

    image_ids: tuple[str | int, ...]
    classes: tuple[str, ...]
    image: Int64
    truth: Int64
    found: Int64
    count: Int64
    num_ignored: Int64
    samples: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        num_images, num_classes = len(self.image_ids), len(self.classes)
        if not 1 <= num_classes <= IGNORED or len(set(self.classes)) != num_classes:
            raise ValueError(f"{num_classes} classes; expected 1 to {IGNORED} of different names")
        if len(set(self.image_ids)) != num_images:
            raise ValueError("an image is there twice")
        for name, limit in (("image", num_images), ("truth", num_classes), ("found", num_classes)):
            values = getattr(self, name)
            if values.shape != self.count.shape or ((values < 0) | (values >= limit)).any():
                raise ValueError(f"{name} is not one of {limit} for each count")
        if self.num_ignored.shape != (num_images,) or (self.num_ignored < 0).any():
            raise ValueError("ignored pixels are no count for each image")
        # One after the other in the order of image, truth, found; equal ones would be one entry.
        place = (self.image * num_classes + self.truth) * num_classes + self.found
        if self.count.ndim != 1 or (np.diff(place) <= 0).any():
            raise ValueError("entries are not in order")
        if (self.count <= 0).any() or sum(self.count.tolist()) > MAX_PIXELS:
            raise ValueError("a count is not above 0, or there are too many pixels")
        self._check_samples()

    def _check_samples(self) -> None:
        images = [sample.image for sample in self.samples]
        if len(images) > MAX_SAMPLES or sorted(set(images)) != images:
            raise ValueError(f"{len(images)} samples; expected up to {MAX_SAMPLES} in the order of images")
        if images and not 0 <= images[0] <= images[-1] < len(self.image_ids):
            raise ValueError("a sample is of no image")
        for sample in self.samples:
            try:
                again = ImageLabels.of(sample.image, sample.truth, sample.found, len(self.classes))
            except BenchError as error:
                raise ValueError(f"sample of image {sample.image}: {error}") from None
            here = slice(*np.searchsorted(self.image, [sample.image, sample.image + 1]))
            same = all(
                np.array_equal(getattr(again, name), getattr(self, name)[here])
                for name in ("truth", "found", "count")
            )
            if not same or again.num_ignored != self.num_ignored[sample.image]:
                raise ValueError(f"sample of image {sample.image}: its pixels are not those counted")

    @classmethod
    def of_images(
        cls, found: Sequence[ImageLabels], image_ids: Sequence[str | int], classes: Sequence[str]
    ) -> LabelTest:
        """Put together what each image gave, in any order.

        Raises:
            EngineError: an image was not tested, or more than once.
            ValueError: something else does not fit together.
        """
        found = sorted(found, key=lambda item: item.image)
        images = [item.image for item in found]
        if images != list(range(len(image_ids))):
            raise EngineError(
                f"{len(images):,} label maps of {len(set(images)):,} images came back; expected one of each "
                f"of {len(image_ids):,}. Nothing was recorded."
            )
        none = np.zeros(0, np.int64)
        return cls(
            image_ids=tuple(image_ids),
            classes=tuple(classes),
            image=np.repeat(np.array(images, np.int64), [len(item.count) for item in found]),
            truth=np.concatenate([none, *(item.truth for item in found)]),
            found=np.concatenate([none, *(item.found for item in found)]),
            count=np.concatenate([none, *(item.count for item in found)]),
            num_ignored=np.array([item.num_ignored for item in found], np.int64),
            samples=tuple(item.sample for item in found if item.sample is not None),
        )

    def matrix(self, times: Int64 | None = None) -> Int64:
        """The confusion matrix of the whole split, or of some of its images.

        Args:
            times: [images] how often each image counts: 0 or 1 for a subset, more for a resample. Once each
                without it.

        Returns:
            [classes, classes] pixels; rows truth, columns found.

        Raises:
            ValueError: `times` does not fit, or there are too many pixels for whole numbers.
        """
        num_classes = len(self.classes)
        count = self.count
        if times is not None:
            if times.shape != (len(self.image_ids),) or times.dtype.kind not in "iu" or (times < 0).any():
                raise ValueError("times is not how often each image counts")
            if float(self.count.astype(np.float64) @ times[self.image].astype(np.float64)) > MAX_PIXELS:
                raise ValueError("too many pixels")
            count = self.count * times[self.image].astype(np.int64)
        flat = np.zeros(num_classes * num_classes, np.int64)
        np.add.at(flat, self.truth * num_classes + self.found, count)
        return flat.reshape(num_classes, num_classes)
