"""What was found, and boxes that are there, as arrays, and the file in which both are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.store import Attachment
from transfer.metrics.kept import pack_arrays, unpack_arrays
from transfer.metrics.masks import Masks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """The objects of a test split; n of them, in the order of images.

    Attributes:
        image_ids: Of every image, in the order of the split; also of those without objects.
        classes: Names, in the order of labels.
        image: [n] index into `image_ids`, rising.
        label: [n] index into `classes`.
        boxes: [n, 4] xmin, ymin, xmax, ymax in pixels, 1-based and inclusive, as in VOC's XML.
        difficult: [n] neither to be found nor a fault to find.
    """

    image_ids: tuple[str, ...]
    classes: tuple[str, ...]
    image: Int64
    label: Int64
    boxes: Float64
    difficult: Bool

    @property
    def edges(self) -> Float64:
        """[n, 4] the boxes as detections have them."""
        edges: Float64 = self.boxes - np.array([1.0, 1.0, 0.0, 0.0])
        return edges

    @property
    def ignored(self) -> Bool:
        """[n] what need not be found."""
        return self.difficult

    @property
    def masks(self) -> None:
        """None: boxes alone."""
        return None


@dataclass(frozen=True)
class ImageDetections:
    """What a detector found on one image, m boxes in its order; `image` is its index in the split.

    The arrays are those of `Detections`; `masks` are packed run lengths, or None from a detector without.
    """

    image: int
    label: Int64
    scores: Float32
    boxes: Float32
    masks: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Detections:
    """What a detector found on the same images; m boxes, in the order of images.

    Attributes:
        image: [m] index of the image, rising; within an image as the detector gave them.
        label: [m] index of the class.
        scores: [m] of 0 to 1.
        boxes: [m, 4] xmin, ymin, xmax, ymax in pixels, 0-based edges, as Detectron2 gives them.
        masks: [m] of a detector that has them, or None.
    """

    image: Int64
    label: Int64
    scores: Float32
    boxes: Float32
    masks: Masks | None = None

    @classmethod
    def of_images(cls, found: Sequence[ImageDetections], *, with_masks: bool = False) -> Detections:
        """Put together what each image gave, in any order."""
        found = sorted(found, key=lambda item: item.image)
        if with_masks and any(len(item.masks or ()) != len(item.label) for item in found):
            raise ValueError("an image has another number of masks than of boxes")
        empty = ImageDetections(
            0, np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
        )
        counts = [len(item.label) for item in found]
        parts = [empty, *found]
        return cls(
            image=np.repeat(np.array([item.image for item in found], np.int64), counts),
            label=np.concatenate([item.label for item in parts]),
            scores=np.concatenate([item.scores for item in parts]),
            boxes=np.concatenate([item.boxes for item in parts]),
            masks=Masks.of([mask for item in found for mask in item.masks or ()]) if with_masks else None,
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By the names that they have in a file; `of_arrays` reads them again."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "found.image": self.image.astype(np.int32),
            "found.label": self.label.astype(np.int32),
            "found.scores": self.scores,
            "found.boxes": self.boxes,
        }
        if self.masks is not None:
            arrays |= {"found.masks.text": self.masks.text, "found.masks.ends": self.masks.ends}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Detections:
        """From the arrays of a file. Raises KeyError for one that is not there."""
        has_masks = "found.masks.text" in arrays
        return cls(
            image=arrays["found.image"].astype(np.int64),
            label=arrays["found.label"].astype(np.int64),
            scores=arrays["found.scores"],
            boxes=arrays["found.boxes"],
            masks=Masks(arrays["found.masks.text"], arrays["found.masks.ends"]) if has_masks else None,
        )


def pack(truth: Truth, detections: Detections) -> Attachment:
    """The file of a test without masks; see `pack_arrays`."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "truth.image": truth.image.astype(np.int32),
        "truth.label": truth.label.astype(np.int32),
        "truth.boxes": truth.boxes,
        "truth.difficult": truth.difficult,
        **detections.arrays(),
    }
    return pack_arrays(arrays, {"image_ids": truth.image_ids, "classes": truth.classes})


def unpack(data: bytes, sha256: str, where: str) -> tuple[Truth, Detections]:
    """What `pack` was given.

    Args:
        data: The file's content.
        sha256: Of the unpacked content, from the record.
        where: The file, for messages.

    Raises:
        DataError: damaged, or not the file that the record means.
    """
    arrays, names = unpack_arrays(data, sha256, where)
    try:
        return (
            Truth(
                image_ids=tuple(names["image_ids"]),
                classes=tuple(names["classes"]),
                image=arrays["truth.image"].astype(np.int64),
                label=arrays["truth.label"].astype(np.int64),
                boxes=arrays["truth.boxes"],
                difficult=arrays["truth.difficult"],
            ),
            Detections.of_arrays(arrays),
        )
    except KeyError as error:
        raise DataError(f"{where}: not a file of predictions: no {error}") from None
