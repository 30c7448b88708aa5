"""One annotation in VOC's XML, read strictly: every fault named with its file and object.

For a test image the rules are those of Detectron2's evaluator, which reads the XML again after training and
would stop there: whole coordinates, and `pose`, `truncated`, `difficult` on every object. What another
reader would take otherwise (a key twice, a box outside of an object, a name space) is a fault in any split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from bench.core.errors import BenchError, DataError, did_you_mean
from bench.core.safe_xml import MAX_BYTES, parse_xml

MAX_OBJECTS = 10_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,7}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,7}(\.[0-9]{1,18})?")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One box: pixels, 1-based and inclusive as in the file; floats in training files of VOC2012."""

    class_index: int
    box: tuple[float, float, float, float]
    difficult: bool


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: {len(data):,} bytes; an annotation has at most {MAX_BYTES:,}")
    root = parse_xml(data, str(path))
    elements = root.findall("object")
    if len(elements) > MAX_OBJECTS:
        raise DataError(f"{path}: {len(elements):,} objects; expected at most {MAX_OBJECTS:,}")
    problems: list[str] = []
    width, height = 0, 0
    try:
        _check_frame(root, path, image_id, elements)
        width, height = _size(root, path)
    except BenchError as error:
        problems.append(str(error))
    objects = []
    for number, element in enumerate(elements, start=1):
        where = f"{path}, object {number}"
        try:
            objects.append(_read_object(element, where, classes, width, height, for_test))
        except BenchError as error:
            problems.append(str(error))
    if problems:
        raise DataError.of(problems)
    return Annotation(width, height, tuple(objects), hashlib.sha256(data).digest())


def _check_frame(root: Element, path: Path, image_id: str, objects: list[Element]) -> None:
    """Hold what is around the objects against what other readers would make of it."""
    if root.tag != "annotation":
        raise DataError(f"{path}: its root is <{root.tag}>; expected <annotation>")
    # A box that is not where it is looked for would be left out without a word.
    boxes = sum(_plain_tag(element) == "bndbox" for element in root.iter())
    inside = sum(_plain_tag(element) == "bndbox" for item in objects for element in item.iter())
    if boxes != inside:
        raise DataError(
            f"{path}: {boxes - inside} <bndbox> outside of an <object> below <annotation>; expected none"
        )
    name = _optional(root, "filename", str(path))
    if name is not None and name != image_id and name.rpartition(".")[0] != image_id:
        raise DataError(f"{path}: <filename> is {name!r}; expected that of {image_id}")


def _plain_tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2].lower()


def _size(root: Element, path: Path) -> tuple[int, int]:
    size = root.findall("size")
    if len(size) != 1:
        raise DataError(f"{path}: {len(size)} <size>; expected one with <width> and <height>")
    values = []
    for key in ("width", "height"):
        text = _required(size[0], key, f"{path}, size")
        if not _INTEGER.fullmatch(text) or int(text) < 1:
            raise DataError(f"{path}: <{key}> is {text!r}; expected a whole number of pixels")
        values.append(int(text))
    return values[0], values[1]


def _read_object(
    element: Element, where: str, classes: Sequence[str], width: int, height: int, for_test: bool
) -> VocObject:
    name = _required(element, "name", where)
    if name not in classes:
        raise DataError(f"{where}: unknown class {name!r}.{did_you_mean(name, classes)}")
    flags = {key: _flag(element, key, where, needed=for_test) for key in ("difficult", "truncated")}
    if for_test and _optional(element, "pose", where) is None:
        raise DataError(f"{where}: no <pose>; the evaluation reads it")
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        raise DataError(f"{where}: {len(boxes)} <bndbox>; expected one")
    xmin, ymin, xmax, ymax = (_coordinate(boxes[0], key, where, for_test) for key in _CORNERS)
    box = f"[{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}]"
    if xmin > xmax or ymin > ymax:
        raise DataError(f"{where}: the box {box} is empty; expected xmin <= xmax and ymin <= ymax")
    if xmin < 1 or ymin < 1:
        raise DataError(f"{where}: the box {box} starts outside the image; pixels count from 1")
    for axis, value, limit in (("xmax", xmax, width), ("ymax", ymax, height)):
        if limit and value > limit:
            raise DataError(f"{where}: {axis} {value:g} exceeds the image's {limit}")
    return VocObject(classes.index(name), (xmin, ymin, xmax, ymax), flags["difficult"])


def _optional(element: Element, key: str, where: str) -> str | None:
    """The text below an element, None where it is not there or empty; twice is a fault."""
    found = element.findall(key)
    if not found:
        return None
    if len(found) > 1 or len(found[0]):
        what = f"{len(found)} <{key}>" if len(found) > 1 else f"<{key}> holds other elements"
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
        raise DataError(f"{where}: <{key}> is {text!r}; expected 0 or 1")
    return text == "1"


def _coordinate(box: Element, key: str, where: str, whole: bool) -> float:
    text = _required(box, key, where)
    if whole and not _INTEGER.fullmatch(text):
        raise DataError(f"{where}: {key} is {text!r}; the evaluation takes whole numbers alone")
    if not _NUMBER.fullmatch(text):
        raise DataError(f"{where}: {key} is {text!r}; expected a number of pixels")
    return float(text)
