"""The objects of a set with masks, as arrays, and the file in which they and what was found are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.store import Attachment
from transfer.metrics.detections import Bool, Detections, Float64, Int64
from transfer.metrics.kept import pack_arrays, unpack_arrays
from transfer.metrics.masks import Masks


@dataclass(frozen=True)
class InstanceTruth:
    """The objects of a test split; n of them, in the order of images.

    Attributes:
        image_ids: Of every image, rising; also of those without objects.
        sizes: [images, 2] height and width in pixels.
        classes: Names, in the order of labels.
        image: [n] index into `image_ids`, rising; within an image as in the file.
        label: [n] index into `classes`.
        boxes: [n, 4] x, y, width, height in pixels from the image's corner.
        area: [n] in pixels, as the file says.
        crowd: [n] many of a class under one outline: neither to be found nor a fault to find.
        masks: Of each.
    """

    image_ids: tuple[int, ...]
    sizes: Int64
    classes: tuple[str, ...]
    image: Int64
    label: Int64
    boxes: Float64
    area: Float64
    crowd: Bool
    masks: Masks

    @property
    def edges(self) -> Float64:
        """[n, 4] the boxes as detections have them."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]], axis=1)

    @property
    def ignored(self) -> Bool:
        """[n] what need not be found."""
        return self.crowd


def pack(truth: InstanceTruth, found: Detections) -> Attachment:
    """The file of a test with masks; see `pack_arrays`.

    Raises:
        ValueError: detections without masks.
    """
    if found.masks is None:
        raise ValueError("detections have no masks")
    arrays: dict[str, npt.NDArray[Any]] = {
        "truth.sizes": truth.sizes.astype(np.int32),
        "truth.image": truth.image.astype(np.int32),
        "truth.label": truth.label.astype(np.int32),
        "truth.boxes": truth.boxes,
        "truth.area": truth.area,
        "truth.crowd": truth.crowd,
        "truth.masks.text": truth.masks.text,
        "truth.masks.ends": truth.masks.ends,
        **found.arrays(),
    }
    return pack_arrays(arrays, {"image_ids": truth.image_ids, "classes": truth.classes})


def unpack(data: bytes, sha256: str, where: str) -> tuple[InstanceTruth, Detections]:
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
        truth = InstanceTruth(
            image_ids=tuple(names["image_ids"]),
            sizes=arrays["truth.sizes"].astype(np.int64),
            classes=tuple(names["classes"]),
            image=arrays["truth.image"].astype(np.int64),
            label=arrays["truth.label"].astype(np.int64),
            boxes=arrays["truth.boxes"],
            area=arrays["truth.area"],
            crowd=arrays["truth.crowd"],
            masks=Masks(arrays["truth.masks.text"], arrays["truth.masks.ends"]),
        )
        found = Detections.of_arrays(arrays)
    except KeyError as error:
        raise DataError(f"{where}: not a file of predictions with masks: no {error}") from None
    return truth, found
