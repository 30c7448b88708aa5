"""Boxes that were found and boxes that are there, as arrays, and the file in which both are kept.

Statistics over test images (a bootstrap, a comparison of two weights) need them long after the run: the file
holds all that is asked, detections as the detector gave them and the truth they were held against.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.store import Attachment

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

MAX_BYTES = 2 * 1024**3
"""Of an unpacked file: a hundred detections on each of half a million images."""


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


@dataclass(frozen=True)
class Detections:
    """What a detector found on the same images; m boxes, in the order of images.

    Attributes:
        image: [m] index of the image, rising; within an image as the detector gave them.
        label: [m] index of the class.
        scores: [m] of 0 to 1.
        boxes: [m, 4] xmin, ymin, xmax, ymax in pixels, 0-based edges, as Detectron2 gives them.
    """

    image: Int64
    label: Int64
    scores: Float32
    boxes: Float32

    @classmethod
    def of_images(cls, found: Sequence[tuple[int, Int64, Float32, Float32]]) -> Detections:
        """Put together what each image gave: (index of the image, label, scores, boxes), in any order."""
        found = sorted(found, key=lambda item: item[0])
        empty = (0, np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
        counts = [len(label) for _, label, _, _ in found]
        parts = [empty, *found]
        return cls(
            image=np.repeat(np.array([index for index, *_ in found], np.int64), counts),
            label=np.concatenate([label for _, label, _, _ in parts]),
            scores=np.concatenate([scores for _, _, scores, _ in parts]),
            boxes=np.concatenate([boxes for _, _, _, boxes in parts]),
        )


SUFFIX = ".predictions.safetensors.gz"


def pack(truth: Truth, detections: Detections) -> Attachment:
    """The file of a test, a safetensors file in gzip.

    Its sha256 is of the unpacked content: equal arrays have an equal one with every version of zlib.
    """
    from safetensors.numpy import save

    arrays: dict[str, npt.NDArray[Any]] = {
        "truth.image": truth.image.astype(np.int32),
        "truth.label": truth.label.astype(np.int32),
        "truth.boxes": truth.boxes,
        "truth.difficult": truth.difficult,
        "found.image": detections.image.astype(np.int32),
        "found.label": detections.label.astype(np.int32),
        "found.scores": detections.scores,
        "found.boxes": detections.boxes,
    }
    names = json.dumps({"image_ids": truth.image_ids, "classes": truth.classes}, sort_keys=True)
    content: bytes = save(arrays, metadata={"names": names})
    return Attachment(SUFFIX, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest())


def unpack(data: bytes, sha256: str, where: str) -> tuple[Truth, Detections]:
    """What `pack` was given.

    Args:
        data: The file's content.
        sha256: Of the unpacked content, from the record.
        where: The file, for messages.

    Raises:
        DataError: damaged, or not the file that the record means.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = _unzip(data)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{where}: not a gzip file of predictions: {error}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{where}: not the predictions of this record: its sha256 is another one")
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        names = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["names"])
        return (
            Truth(
                image_ids=tuple(names["image_ids"]),
                classes=tuple(names["classes"]),
                image=arrays["truth.image"].astype(np.int64),
                label=arrays["truth.label"].astype(np.int64),
                boxes=arrays["truth.boxes"],
                difficult=arrays["truth.difficult"],
            ),
            Detections(
                image=arrays["found.image"].astype(np.int64),
                label=arrays["found.label"].astype(np.int64),
                scores=arrays["found.scores"],
                boxes=arrays["found.boxes"],
            ),
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{where}: not a file of predictions: {error}") from None


def _unzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"unpacks to more than {MAX_BYTES:,} bytes")
    return content
