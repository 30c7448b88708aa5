"""What was found beside what is there: test images under their label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.core.safe_image import read_image
from bench.images.sheet import Box, Tile
from transfer.data.segmentation import IGNORED, SegmentationImage
from transfer.metrics.confusion import LabelTest

BACKGROUND = "background"
"""A class of this name is left as the picture is."""

_IGNORED_GRAY = 200

Labels = npt.NDArray[np.uint8]


def label_tiles(images: Sequence[SegmentationImage], test: LabelTest) -> list[Tile]:
    """The images whose maps were kept, each with the truth and beside it with what was found.

    Args:
        images: The test split.
        test: Its test.
    """
    tiles = []
    for sample in test.samples:
        image = images[sample.image]
        pixels = read_image(image.path)
        there = np.where((sample.truth == IGNORED)[..., None], _IGNORED_GRAY, pixels).astype(np.uint8)
        counted = sample.truth != IGNORED
        right = 100.0 * float((sample.truth == sample.found)[counted].mean()) if counted.any() else 0.0
        tiles += [
            Tile(there, f"{image.image_id}: there", _regions(sample.truth, test.classes)),
            Tile(pixels, f"{image.image_id}: {right:.0f} % right", _regions(sample.found, test.classes)),
        ]
    return tiles


def _regions(labels: Labels, classes: Sequence[str]) -> tuple[Box, ...]:
    """Each class of a map as a mask, with its name where it is."""
    regions = []
    for label in np.unique(labels[labels != IGNORED]).tolist():
        if classes[label] == BACKGROUND:
            continue
        mask = labels == label
        rows, columns = np.nonzero(mask)
        middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        x, y = float(columns[middle]), float(rows[middle])
        # A box without sides: its name is drawn, and no frame.
        regions.append(Box(classes[label], x + 1, y + 1, x, y, faint=False, mask=mask))
    return tuple(regions)
