"""One annotation of COCO's JSON, read strictly: every fault named with the annotation's id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from bench.core.errors import DataError
from transfer.data.detection import Edges
from transfer.data.run_lengths import check_counts, unpack_counts

Polygon = npt.NDArray[np.float64]

OUTSIDE_PX = 1.0
"""So far a box or an outline may reach beyond the image: rounding, in files that people use."""
MAX_SHOWN = 80
MAX_POINTS = 100_000
MAX_COORDINATE = 1e9
MAX_AREA = 1e12


@dataclass(frozen=True, eq=False)
class CocoObject:
    """One annotation.

    Attributes:
        annotation_id: In the file.
        class_index: Index into the set's classes.
        box: x, y, width, height in pixels from the image's corner; a side may be 0.
        area: In pixels, as the file says; it decides what is small, medium and large.
        is_crowd: Many of one class under one outline.
        polygons: [2 n] each, x and y in turn; empty for run lengths.
        run_lengths: The packed mask; empty for polygons.
        size: (height, width) of the image.
        sha256: Of the annotation.
    """

    annotation_id: int
    class_index: int
    box: tuple[float, float, float, float]
    area: float
    is_crowd: bool
    polygons: tuple[Polygon, ...]
    run_lengths: bytes
    size: tuple[int, int]
    sha256: bytes

    @property
    def edges(self) -> Edges:
        """xmin, ymin, xmax, ymax."""
        x, y, width, height = self.box
        return x, y, x + width, y + height

    @property
    def is_flat(self) -> bool:
        """A box with a side of 0, which Detectron2 leaves out of training; COCO 2017 has two."""
        return 0.0 in self.box[2:]

    @property
    def segmentation(self) -> Any:
        """As Detectron2 takes it: a list of polygons, or packed run lengths."""
        if self.polygons:
            return list(self.polygons)
        return {"size": list(self.size), "counts": self.run_lengths}

    @cached_property
    def mask(self) -> bytes:
        """Packed run lengths of its pixels, polygons filled as the reference does."""
        if not self.polygons:
            return self.run_lengths
        parts = coco_mask.frPyObjects([polygon.tolist() for polygon in self.polygons], *self.size)
        merged: bytes = coco_mask.merge(parts)["counts"]
        return merged


def read_object(
    entry: Mapping[str, Any], where: str, labels: Mapping[int, int], width: int, height: int
) -> CocoObject:
    """One annotation.

    Args:
        entry: As parsed; its id and image are known to be good.
        where: File and id, for messages.
        labels: Category id to class index.
        width: Of its image, in pixels.
        height: The same.

    Raises:
        DataError: every fault of it, in `problems`.
    """
    problems: list[str] = []

    def tried(read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except DataError as error:
            problems.extend(error.problems)
            return None

    label = tried(_label, entry, where, labels)
    crowd = tried(_flag, entry, "iscrowd", where)
    if tried(_flag, entry, "ignore", where):
        problems.append(f"{where}: ignore is 1; the engine does not know it. Use iscrowd")
    box = tried(_box, entry, where, width, height)
    area = tried(_area, entry, where)
    polygons, run_lengths = tried(_outline, entry, where, width, height) or ((), b"")
    if not problems and polygons and area and all(map(_is_line, polygons)) and 0.0 not in box[2:]:
        problems.append(f"{where}: its polygons enclose nothing; the area is said to be {area:g}")
    if problems:
        raise DataError.of(problems)
    digest = hashlib.sha256(repr((entry["category_id"], box, area, bool(crowd), run_lengths)).encode())
    for polygon in polygons:
        digest.update(b"polygon" + polygon.tobytes())
    return CocoObject(
        entry["id"], label, box, area, bool(crowd), polygons, run_lengths, (height, width), digest.digest()
    )


def short(value: Any) -> str:
    """A value of a file for a message: a stranger's file may hold a megabyte of it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "a number of too many digits"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _label(entry: Mapping[str, Any], where: str, labels: Mapping[int, int]) -> int:
    category = entry.get("category_id")
    if type(category) is not int or category not in labels:
        raise DataError(f"{where}: category_id is {short(category)}; expected one of the categories")
    return labels[category]


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry.get(key, 0)
    if value not in (0, 1) or isinstance(value, float):
        raise DataError(f"{where}: {key} is {short(value)}; expected 0 or 1")
    return bool(value)


def _numbers(values: Any, what: str, where: str) -> Polygon:
    """A list of numbers of a size that coordinates have."""
    if not isinstance(values, list):
        raise DataError(f"{where}: {what} is {short(values)}; expected a list of numbers")
    for kind in set(map(type, values)) - {int, float}:
        wrong = next(value for value in values if type(value) is kind)
        raise DataError(f"{where}: {what} has {short(wrong)}; expected numbers alone")
    if values and (farthest := max(values, key=abs)) and abs(farthest) > MAX_COORDINATE:
        raise DataError(f"{where}: {what} has {short(farthest)}; expected a place in the image")
    return np.array(values, np.float64)


def _box(entry: Mapping[str, Any], where: str, width: int, height: int) -> tuple[float, ...]:
    if "bbox" not in entry:
        raise DataError(f"{where}: no bbox")
    values = _numbers(entry["bbox"], "bbox", where)
    if len(values) != 4:
        raise DataError(f"{where}: bbox has {len(values)} numbers; expected x, y, width, height")
    x, y, box_width, box_height = values.tolist()
    shown = f"bbox [{', '.join(f'{value:g}' for value in values)}]"
    if box_width < 0 or box_height < 0:
        raise DataError(f"{where}: {shown} has a negative side; expected x, y, width, height")
    _check_inside((x, y), (x + box_width, y + box_height), (width, height), shown, where)
    return x, y, box_width, box_height


def _check_inside(
    low: tuple[float, float], high: tuple[float, float], size: tuple[int, int], what: str, where: str
) -> None:
    if min(low) < -OUTSIDE_PX or any(end > limit + OUTSIDE_PX for end, limit in zip(high, size, strict=True)):
        raise DataError(f"{where}: {what} reaches outside the image of {size[0]} x {size[1]} pixels")


def _area(entry: Mapping[str, Any], where: str) -> float:
    value: Any = entry.get("area")
    if type(value) not in (int, float) or not 0 <= value <= MAX_AREA:
        raise DataError(f"{where}: area is {short(value)}; expected a number of pixels, 0 or more")
    return float(value)


def _outline(
    entry: Mapping[str, Any], where: str, width: int, height: int
) -> tuple[tuple[Polygon, ...], bytes]:
    outline = entry.get("segmentation")
    if isinstance(outline, dict):
        return (), _run_lengths(outline, where, width, height)
    if not isinstance(outline, list) or not outline:
        found = "is not there" if outline is None else "has no polygon" if outline == [] else "is no outline"
        raise DataError(f"{where}: segmentation {found}; expected polygons or run lengths")
    polygons = []
    for number, part in enumerate(outline, start=1):
        what = f"segmentation polygon {number}"
        values = _numbers(part, what, where)
        if len(values) % 2 or len(values) < 6:
            # Four numbers would be taken for a box by the reference.
            raise DataError(
                f"{where}: {what} has {len(values)} numbers; expected x and y of 3 or more points"
            )
        if len(values) > MAX_POINTS:
            raise DataError(f"{where}: {what} has {len(values):,} numbers; expected at most {MAX_POINTS:,}")
        xs, ys = values[::2], values[1::2]
        low, high = (float(xs.min()), float(ys.min())), (float(xs.max()), float(ys.max()))
        _check_inside(low, high, (width, height), what, where)
        polygons.append(values)
    return tuple(polygons), b""


def _run_lengths(outline: Mapping[str, Any], where: str, width: int, height: int) -> bytes:
    size, counts = outline.get("size"), outline.get("counts")
    if size != [height, width] or any(type(side) is not int for side in size):
        raise DataError(
            f"{where}: segmentation has run lengths of size {short(size)}; the image is [{height}, {width}]"
        )
    if isinstance(counts, str):
        counts = unpack_counts(counts, where)
    elif not isinstance(counts, list) or any(
        type(count) is not int or not 0 <= count <= width * height for count in counts
    ):
        raise DataError(f"{where}: counts of run lengths is {short(counts)}; expected whole numbers or text")
    check_counts(counts, width, height, where)
    packed: bytes = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)[
        "counts"
    ]
    return packed


def _is_line(polygon: Polygon) -> bool:
    """Whether all corners lie on one line, so that nothing is inside."""
    x, y = polygon[::2] - polygon[0], polygon[1::2] - polygon[1]
    farthest = int(np.argmax(x * x + y * y))
    return not bool(np.any(x * y[farthest] != y * x[farthest]))


def polygon_area(polygon: Polygon) -> float:
    """Pixels inside by the shoelace formula; [2 n] coordinates."""
    # From the first corner on: far from the origin the products would cancel.
    x, y = polygon[::2] - polygon[0], polygon[1::2] - polygon[1]
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
