"""Made-up objects and detections with masks, of every kind on which two evaluators could disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from transfer.metrics.detections import Detections, ImageDetections
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks

EXACT_SIDES = (32, 96)
"""Squares of these sides have areas on the limits of COCO's sizes."""


@dataclass(frozen=True)
class Shape:
    """x0, y0, x1, y1 in pixels of an ellipse or a rectangle; its mask is clipped to the image."""

    box: tuple[float, float, float, float]
    is_round: bool = False

    def packed(self, height: int, width: int) -> bytes:
        """Packed run lengths on an image; made from the runs, since drawing takes far longer."""
        x0, y0, x1, y1 = self.box
        x = np.arange(max(0, round(x0)), max(0, min(width, round(x1))))
        half = np.full(len(x), (y1 - y0) / 2)
        if self.is_round:
            from_middle = (x + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
            half *= np.sqrt(np.maximum(0.0, 1 - from_middle**2))
        middle = (y0 + y1) / 2
        start, end = (np.clip(np.rint(middle + side * half), 0, height).astype(int) for side in (-1, 1))
        return pack_runs(x * height + start, x * height + end, height, width)

    def moved(self, random: np.random.Generator, spread: float) -> Shape:
        """Each side moved at random, by a share of the width or height."""
        x0, y0, x1, y1 = self.box
        shift = random.normal(0, spread, 4) * ((x1 - x0, y1 - y0) * 2)
        x0, y0, x1, y1 = (np.array(self.box) + shift).tolist()
        return Shape((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), self.is_round)


def pack_runs(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> bytes:
    """Packed run lengths of the pixels from each start up to each end, counted column by column."""
    inside = ends > starts
    starts, ends = starts[inside], ends[inside]
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    turns = np.stack([starts, ends], axis=1).reshape(-1)
    counts = np.diff(np.concatenate([[0], turns, [height * width]]))
    counts = counts[:-1] if counts[-1] == 0 else counts
    packed: bytes = coco_mask.frPyObjects(
        {"size": [height, width], "counts": counts.tolist()}, height, width
    )["counts"]
    return packed


@dataclass(frozen=True)
class _Object:
    shape: Shape
    label: int
    is_crowd: bool
    is_exact: bool


def make_instances(
    seed: int,
    *,
    num_images: int = 9,
    num_classes: int = 5,
    objects_an_image: int = 5,
    detections_an_image: int = 14,
    is_crowded: bool = True,
    num_score_digits: int = 2,
    side_px: tuple[int, int] = (100, 160),
) -> tuple[InstanceTruth, Detections]:
    """Every fifth image has no object, one of them no detection either; the last class has no object at all.

    Half of the detections lie near an object of their class; every tenth has an empty mask.

    Args:
        seed: Equal seeds, equal instances.
        num_images: Numbered with gaps.
        num_classes: Named `class00`, ...
        objects_an_image: On average; every ninth is a crowd, every sixth has an area on a limit of the sizes.
        detections_an_image: On average.
        is_crowded: The first image has 120 objects, and 130 more detections of its first class.
        num_score_digits: The fewer, the more scores are equal.
        side_px: Bounds of the heights and widths of images.
    """
    random = np.random.default_rng(seed)
    sizes = random.integers(side_px[0], side_px[1] + 1, (num_images, 2))
    objects: list[list[_Object]] = []
    found = []
    for index, (height, width) in enumerate(sizes.tolist()):
        is_full = is_crowded and index == 0
        count = 120 if is_full else int(random.integers(1, 2 * objects_an_image))
        count = 0 if index % 5 == 3 else count
        mine = [_object(random, height, width, num_classes - 1) for _ in range(count)]
        objects.append(mine)
        count = 0 if index == 3 else int(random.integers(0, 2 * detections_an_image + 1))
        drawn = [_detection(random, mine, height, width, num_classes) for _ in range(count)]
        if is_full:
            drawn += [(0, _detection(random, mine, height, width, 1)[1]) for _ in range(130)]
        scores = np.round(random.random(len(drawn)), num_score_digits)
        found.append(_on_image(random, index, drawn, scores, height, width))
    ids = np.sort(random.choice(10 * num_images, num_images, replace=False)) + 1
    return _truth(random, ids, sizes, objects, num_classes), Detections.of_images(found, with_masks=True)


def _object(random: np.random.Generator, height: int, width: int, num_classes: int) -> _Object:
    is_exact = random.random() < 1 / 6
    if is_exact:
        side = int(random.choice(EXACT_SIDES))
        x0, y0 = (int(random.integers(0, extent - side + 1)) for extent in (width, height))
        shape = Shape((x0, y0, x0 + side, y0 + side))
    else:
        shape = _shape(random, height, width)
    return _Object(shape, int(random.integers(0, num_classes)), random.random() < 1 / 9, is_exact)


def _shape(random: np.random.Generator, height: int, width: int) -> Shape:
    """From a few pixels to nearly the whole image, each magnitude as often."""
    w, h = (float(np.exp(random.uniform(np.log(5), np.log(extent * 0.98)))) for extent in (width, height))
    x0, y0 = random.uniform(0, width - w), random.uniform(0, height - h)
    return Shape((x0, y0, x0 + w, y0 + h), is_round=bool(random.random() < 0.7))


def _detection(
    random: np.random.Generator, objects: list[_Object], height: int, width: int, num_classes: int
) -> tuple[int, Shape]:
    near = [item for item in objects if item.label < num_classes]
    if not near or random.random() < 0.5:
        return int(random.integers(0, num_classes)), _shape(random, height, width)
    item = near[int(random.integers(0, len(near)))]
    # One in four lies exactly on its object: overlaps of 1, and areas on a limit.
    return item.label, item.shape.moved(random, 0.07) if random.random() < 0.75 else item.shape


def _on_image(
    random: np.random.Generator,
    image: int,
    drawn: list[tuple[int, Shape]],
    scores: np.ndarray,
    height: int,
    width: int,
) -> ImageDetections:
    boxes = np.array([shape.box for _, shape in drawn], np.float64).reshape(-1, 4)
    outside = Shape((width, 0, width, 0)).packed(height, width)
    masks = tuple(outside if random.random() < 0.1 else shape.packed(height, width) for _, shape in drawn)
    return ImageDetections(
        image=image,
        label=np.array([label for label, _ in drawn], np.int64),
        scores=scores.astype(np.float32),
        boxes=np.clip(boxes, 0, [width, height, width, height]).astype(np.float32),
        masks=masks,
    )


def _truth(
    random: np.random.Generator,
    ids: np.ndarray,
    sizes: np.ndarray,
    objects: list[list[_Object]],
    num_classes: int,
) -> InstanceTruth:
    """The areas are near those of the masks, as in COCO's files, or exactly them."""
    flat = [(index, item) for index, mine in enumerate(objects) for item in mine]
    masks = [item.shape.packed(*sizes[index].tolist()) for index, item in flat]
    # One by one: of more than 255 at once pycocotools' area fails.
    pixels = np.array(
        [
            int(coco_mask.area({"size": sizes[index].tolist(), "counts": mask}))
            for (index, _), mask in zip(flat, masks, strict=True)
        ],
        np.float64,
    )
    is_exact = np.array([item.is_exact for _, item in flat], np.bool_)
    area = np.where(is_exact, pixels, np.round(pixels * random.uniform(0.95, 1.05, len(pixels)), 4))
    corners = np.array([item.shape.box for _, item in flat], np.float64).reshape(-1, 4)
    return InstanceTruth(
        image_ids=tuple(ids.tolist()),
        sizes=sizes.astype(np.int64),
        classes=tuple(f"class{index:02}" for index in range(num_classes)),
        image=np.array([index for index, _ in flat], np.int64),
        label=np.array([item.label for _, item in flat], np.int64),
        boxes=np.round(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1), 2),
        area=area,
        crowd=np.array([item.is_crowd for _, item in flat], np.bool_),
        masks=Masks.of(masks),
    )
