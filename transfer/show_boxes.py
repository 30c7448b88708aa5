"""What was found beside what is there: test images with their boxes and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from bench.core.safe_image import read_image
from bench.images.sheet import Box, Tile
from transfer.data.detection import DetectionImage

NUM_IMAGES = 8
_AT_LEAST = 3
"""Findings drawn on an image that has fewer objects."""


def box_tiles(images: Sequence[DetectionImage], truth: Any, found: Any) -> list[Tile]:
    """`NUM_IMAGES` test images, evenly spread, each with its objects and beside it with the findings.

    As many findings are drawn as there are objects, the ones of highest score: a fixed limit of score would
    leave a weak detector with nothing to see.

    Args:
        images: The test split.
        truth: Its objects.
        found: What was found on them.
    """
    with_objects = np.unique(truth.image)
    count = min(NUM_IMAGES, len(with_objects))
    tiles = []
    for place in range(count):
        index = int(with_objects[place * len(with_objects) // count])
        image = images[index]
        pixels = read_image(image.path)
        objects = np.flatnonzero(truth.image == index)
        findings = np.flatnonzero(found.image == index)
        best = np.argsort(-found.scores[findings], kind="stable")[: max(len(objects), _AT_LEAST)]
        there = tuple(_boxes(truth, truth.edges, objects, truth.classes, image, ignored=truth.ignored))
        seen = tuple(_boxes(found, found.boxes, findings[best], truth.classes, image, scores=found.scores))
        tiles += [
            Tile(pixels, f"{image.image_id}: {len(objects)} there", there),
            Tile(pixels, f"{image.image_id}: best {len(best)} of {len(findings)} found", seen),
        ]
    return tiles


def _boxes(
    what: Any,
    edges: Any,
    chosen: Any,
    classes: Sequence[str],
    image: DetectionImage,
    *,
    ignored: Any = None,
    scores: Any = None,
) -> Iterator[Box]:
    for index in chosen:
        xmin, ymin, xmax, ymax = map(float, edges[index])
        mask = None
        if what.masks is not None:
            packed = {"size": [image.height, image.width], "counts": what.masks[index]}
            mask = coco_mask.decode(packed).astype(bool)
        yield Box(
            name=classes[what.label[index]],
            left=xmin + 1,
            top=ymin + 1,
            right=xmax,
            bottom=ymax,
            faint=bool(ignored is not None and ignored[index]),
            mask=mask,
            note="" if scores is None else f" {scores[index]:.2f}",
        )
