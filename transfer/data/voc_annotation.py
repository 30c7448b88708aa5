"""One annotation in VOC's XML, read strictly: every fault named with its file and object.

For a test image the rules are those of Detectron2's evaluator, which reads the XML again after training and
would stop there: whole coordinates, and `pose`, `truncated`, `difficult` on every object. What another
reader would take otherwise (a key twice, a box outside of an object, a name space) is a fault in any split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from xml.etree.ElementTree import Element

from bench.core.errors import MAX_PROBLEMS_SHOWN, BenchError, DataError, did_you_mean
from bench.core.paths import read_bounded
from bench.core.safe_xml import MAX_BYTES, parse_xml
from transfer.data.detection import Edges

P = ParamSpec("P")
T = TypeVar("T")

MAX_OBJECTS = 10_000
MAX_SHOWN = 80
"""Characters of a wrong value in a message."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,7}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,7}(\.[0-9]{1,18})?")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One box: pixels, 1-based and inclusive as in the file; floats in training files of VOC2012."""

    class_index: int
    box: tuple[float, float, float, float]
    difficult: bool

    @property
    def edges(self) -> Edges:
        """The box from the image's corner: [xmin - 1, ymin - 1, xmax, ymax].

        Source: facebookresearch/detectron2 `data/datasets/pascal_voc.py`; difficult objects are trained on.
        """
        xmin, ymin, xmax, ymax = self.box
        return xmin - 1.0, ymin - 1.0, xmax, ymax

    @property
    def is_crowd(self) -> bool:
        """Never: a VOC crowd is one difficult object."""
        return False

    @property
    def segmentation(self) -> None:
        """None: the outlines of VOC lie in label maps."""
        return None


@dataclass(frozen=True)
class Annotation:
    """What an XML file says of an image; width and height in pixels."""

    width: int
    height: int
    objects: tuple[VocObject, ...]
    sha256: bytes


def read_annotation(path: Path, image_id: str, classes: Sequence[str], *, for_test: bool) -> Annotation:
    """The content of one file.

    Args:
        path: The XML.
        image_id: Of the image it belongs to.
        classes: The names that may occur.
        for_test: Hold it to what the evaluator reads, too.

    Raises:
        DataError: every fault of this file, in `problems`.
    """
    data = read_bounded(path, MAX_BYTES)
    root = parse_xml(data, str(path))
    elements = root.findall("object")
    if len(elements) > MAX_OBJECTS:
        raise DataError(f"{path}: {len(elements):,} objects; expected at most {MAX_OBJECTS:,}")
    faults = _Faults()
    faults.problems += _frame_problems(root, path, image_id)
    bounds = faults.tried(_size, root, path) or (0, 0)
    objects = []
    for number, element in enumerate(elements, start=1):
        where = f"{path}, object {number}"
        found = _read_object(element, where, classes, bounds, for_test=for_test, faults=faults)
        if found is not None:
            objects.append(found)
    if faults.problems:
        raise DataError.of(faults.problems)
    return Annotation(*bounds, tuple(objects), hashlib.sha256(data).digest())


class _Faults:
    """The problems of a file so far."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def tried(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """What `read` gives, or None and one problem more."""
        try:
            return read(*arguments, **named)
        except BenchError as error:
            self.problems.append(str(error))
            return None


def _frame_problems(root: Element, path: Path, image_id: str) -> Iterator[str]:
    """Hold what is around the objects against what other readers would make of it."""
    if root.tag != "annotation":
        yield f"{path}: its root is {_short(root.tag)!r}; expected <annotation>"
    # An object or a box that is not where it is looked for would be left out without a word.
    for tag, places in (("object", ("object",)), ("bndbox", ("object/bndbox", "object/part/bndbox"))):
        num_there = sum(_plain_tag(element) == tag for element in root.iter())
        num_read = sum(len(root.findall(place)) for place in places)
        if num_there != num_read:
            yield (
                f"{path}: {num_there - num_read} <{tag}> in another place or spelling than "
                f"{' or '.join(f'annotation/{place}' for place in places)}"
            )
    try:
        name = _optional(root, "filename", str(path))
    except DataError as error:
        yield str(error)
        return
    if name is not None and name != image_id and name.rpartition(".")[0] != image_id:
        yield f"{path}: <filename> is {_short(name)!r}; expected that of {image_id}"


def _plain_tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2].lower()


def _short(text: str) -> str:
    """Text of a file for a message: a stranger's file may hold a megabyte of it."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _size(root: Element, path: Path) -> tuple[int, int]:
    size = root.findall("size")
    if len(size) != 1:
        raise DataError(f"{path}: {len(size)} <size>; expected one with <width> and <height>")
    values = []
    for key in ("width", "height"):
        text = _required(size[0], key, f"{path}, size")
        if not _INTEGER.fullmatch(text) or int(text) < 1:
            raise DataError(f"{path}: <{key}> is {_short(text)!r}; expected a whole number of pixels")
        values.append(int(text))
    return values[0], values[1]


def _read_object(
    element: Element,
    where: str,
    classes: Sequence[str],
    bounds: tuple[int, int],
    *,
    for_test: bool,
    faults: _Faults,
) -> VocObject | None:
    before = len(faults.problems)
    # A near name takes time to find, and nobody reads a thousand of them.
    suggest = before < MAX_PROBLEMS_SHOWN
    label = faults.tried(_class_index, element, where, classes, suggest=suggest)
    difficult = faults.tried(_flag, element, "difficult", where, needed=for_test)
    faults.tried(_flag, element, "truncated", where, needed=for_test)
    faults.tried(_pose, element, where, needed=for_test)
    box = faults.tried(_box, element, where, bounds, whole=for_test)
    if len(faults.problems) > before or label is None or difficult is None or box is None:
        return None
    return VocObject(label, box, difficult)


def _class_index(element: Element, where: str, classes: Sequence[str], *, suggest: bool) -> int:
    name = _required(element, "name", where)
    if name not in classes:
        near = did_you_mean(name, classes) if suggest else ""
        raise DataError(f"{where}: unknown class {_short(name)!r}.{near}")
    return classes.index(name)


def _pose(element: Element, where: str, *, needed: bool) -> None:
    # It is read and not used: it may be empty, but not be missing.
    if _optional(element, "pose", where) is None and needed and element.find("pose") is None:
        raise DataError(f"{where}: no <pose>; the evaluation reads it")


def _box(
    element: Element, where: str, bounds: tuple[int, int], *, whole: bool
) -> tuple[float, float, float, float]:
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        raise DataError(f"{where}: {len(boxes)} <bndbox>; expected one")
    xmin, ymin, xmax, ymax = (_coordinate(boxes[0], key, where, whole) for key in _CORNERS)
    box = f"[{', '.join(map(_number, (xmin, ymin, xmax, ymax)))}]"
    if xmin > xmax or ymin > ymax:
        raise DataError(f"{where}: the box {box} is empty; expected xmin <= xmax and ymin <= ymax")
    if xmin < 1 or ymin < 1:
        raise DataError(f"{where}: the box {box} starts outside the image; pixels count from 1")
    for axis, value, limit in zip(("xmax", "ymax"), (xmax, ymax), bounds, strict=True):
        if limit and value > limit:
            raise DataError(f"{where}: {axis} {_number(value)} exceeds the image's {limit}")
    return xmin, ymin, xmax, ymax


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _optional(element: Element, key: str, where: str) -> str | None:
    """The text below an element, None where it is not there or empty; twice is a fault, in any spelling."""
    found = [child for child in element if _plain_tag(child) == key]
    if not found:
        return None
    if len(found) > 1 or found[0].tag != key or len(found[0]):
        what = f"{len(found)} <{key}>" if len(found) > 1 else f"<{key}> in another spelling, or not plain"
        raise DataError(f"{where}: {what}; expected one with plain text")
    return (found[0].text or "").strip() or None


def _required(element: Element, key: str, where: str) -> str:
    text = _optional(element, key, where)
    if text is None:
        raise DataError(f"{where}: no <{key}>")
    return text


def _flag(element: Element, key: str, where: str, *, needed: bool) -> bool:
    text = _optional(element, key, where)
    if text is None and needed:
        raise DataError(f"{where}: no <{key}>; the evaluation reads it")
    if text not in ("0", "1", None):
        raise DataError(f"{where}: <{key}> is {_short(text)!r}; expected 0 or 1")
    return text == "1"


def _coordinate(box: Element, key: str, where: str, whole: bool) -> float:
    text = _required(box, key, where)
    if whole and not _INTEGER.fullmatch(text):
        raise DataError(f"{where}: {key} is {_short(text)!r}; the evaluation takes whole numbers alone")
    if not _NUMBER.fullmatch(text):
        raise DataError(f"{where}: {key} is {_short(text)!r}; expected a number of pixels")
    return float(text)
