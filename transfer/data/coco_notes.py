"""What a reader of numbers must know of a COCO set, though it is no fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transfer.data.coco_annotation import CocoObject, polygon_area
from transfer.data.dataset import shared_images
from transfer.data.detection import DetectionImage

FAR = 0.5
"""Boxes whose overlap with the frame of their outline is less, areas that differ by more, are odd."""
_SHOWN = 5


def notes_of(
    categories: Mapping[int, str], train: Sequence[DetectionImage], test: Sequence[DetectionImage]
) -> tuple[str, ...]:
    """A line for each.

    Args:
        categories: Id to name, in the order of ids.
        train: Images to train on.
        test: Images to test on.
    """
    notes = []
    ids = list(categories)
    if ids != list(range(1, len(ids) + 1)):
        notes.append(f"category ids are not 1 to {len(ids)}: labels are in the order of ids")
    for role, images in (("train", train), ("test", test)):
        notes += _absent(role, categories, images)
        notes += _odd(role, [item for image in images for item in image.objects])
    if empty := sum(not image.is_trained_on for image in train):
        notes.append(f"train: {empty:,} images have no object, or crowds alone, and are left out of training")
    if flat := [item for image in train for item in image.objects if item.is_flat]:
        notes.append(f"train: {_named(flat)}: boxes with a side of 0 are left out, as Detectron2 does")
    if flat := [item for image in test for item in image.objects if item.is_flat]:
        notes.append(f"test: {_named(flat)}: boxes with a side of 0 are objects to find, as COCO has it")
    if any(not item.is_crowd and not item.polygons for image in train for item in image.objects):
        notes.append("train: objects with run lengths, so all outlines are trained on as bit masks")
    return (*notes, *shared_images(train, test))


def _absent(role: str, categories: Mapping[int, str], images: Sequence[DetectionImage]) -> list[str]:
    present = {item.class_index for image in images for item in image.objects if not item.is_crowd}
    absent = [name for label, name in enumerate(categories.values()) if label not in present]
    if not absent:
        return []
    effect = "; a class without objects is in no mean" if role == "test" else ""
    return [f"{role}: no object (crowds aside) of {', '.join(absent)}{effect}"]


def _odd(role: str, objects: Sequence[CocoObject]) -> list[str]:
    """Boxes that are not those of their polygons, areas that are not: another convention, or a slip."""
    drawn = [item for item in objects if item.polygons and not item.is_flat]
    boxes = [item for item in drawn if _overlap(item) < FAR]
    areas = [item for item in drawn if len(item.polygons) == 1 and _is_far(item)]
    notes = []
    if boxes:
        notes.append(
            f"{role}: {_named(boxes)}: boxes lie elsewhere than their polygons; bbox is x, y, width, height"
        )
    if areas:
        notes.append(
            f"{role}: {_named(areas)}: areas are not those of their polygons; AP by size follows them"
        )
    return notes


def _named(objects: Sequence[CocoObject]) -> str:
    first = ", ".join(str(item.annotation_id) for item in objects[:_SHOWN])
    more = f" and {len(objects) - _SHOWN:,} more" if len(objects) > _SHOWN else ""
    return f"annotation{'s' if len(objects) > 1 else ''} {first}{more}"


def _overlap(item: CocoObject) -> float:
    """Intersection over union of a box and the frame of its polygons."""
    left = min(float(polygon[::2].min()) for polygon in item.polygons)
    top = min(float(polygon[1::2].min()) for polygon in item.polygons)
    right = max(float(polygon[::2].max()) for polygon in item.polygons)
    bottom = max(float(polygon[1::2].max()) for polygon in item.polygons)
    xmin, ymin, xmax, ymax = item.edges
    common = max(min(right, xmax) - max(left, xmin), 0.0) * max(min(bottom, ymax) - max(top, ymin), 0.0)
    union = (right - left) * (bottom - top) + (xmax - xmin) * (ymax - ymin) - common
    return common / union if union else 1.0


def _is_far(item: CocoObject) -> bool:
    drawn = polygon_area(item.polygons[0])
    return abs(drawn - item.area) > FAR * max(drawn, item.area, 1.0)
