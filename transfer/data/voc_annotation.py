"""One annotation of a set in VOC layout: read, held against its image, every fault named with its object.

For a test image the rules are those of the engine's evaluator, which reads the XML again after training
and would stop there: whole coordinates, and `pose`, `truncated`, `difficult` on every object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from bench.core.errors import BenchError, DataError, did_you_mean
from bench.core.paths import inside
from bench.core.safe_image import image_size
from bench.core.safe_xml import parse_xml

MAX_OBJECTS = 10_000
_INTEGER = re.compile(r"[+-]?\d{1,7}")
_NUMBER = re.compile(r"[+-]?\d{1,7}(\.\d{1,18})?")


@dataclass(frozen=True)
class VocObject:
    """One box: pixels, 1-based and inclusive as in the file; floats in training files of VOC2012."""

    class_index: int
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocImage:
    """One annotated image; sizes in pixels."""

    image_id: str
    path: Path
    width: int
    height: int
    objects: tuple[VocObject, ...]
    content_sha256: str


def read_image_of(folder: Path, image_id: str, classes: tuple[str, ...], *, for_test: bool) -> VocImage:
    """One image of a VOC folder with its annotation, both checked.

    Args:
        folder: With `Annotations` and `JPEGImages`.
        image_id: From a split file.
        classes: The names that may occur.
        for_test: Hold the annotation to what the evaluator reads, too.

    Raises:
        DataError: every fault of this image, a line each.
    """
    xml_path = inside(folder, f"Annotations/{image_id}.xml")
    image_path = inside(folder, f"JPEGImages/{image_id}.jpg")
    try:
        xml_data = xml_path.read_bytes()
        image_data = image_path.read_bytes()
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    root = parse_xml(xml_data, str(xml_path))
    width, height = image_size(image_data, str(image_path))
    _check_size(root, xml_path, width, height)
    elements = root.findall("object")
    if len(elements) > MAX_OBJECTS:
        raise DataError(f"{xml_path}: {len(elements):,} objects; expected at most {MAX_OBJECTS:,}")
    objects, problems = [], []
    for number, element in enumerate(elements, start=1):
        where = f"{xml_path}, object {number}"
        try:
            objects.append(_read_object(element, where, classes, width, height, for_test))
        except BenchError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    digest = hashlib.sha256(hashlib.sha256(xml_data).digest() + hashlib.sha256(image_data).digest())
    return VocImage(image_id, image_path, width, height, tuple(objects), digest.hexdigest())


def _check_size(root: Element, path: Path, width: int, height: int) -> None:
    written = (_text(root, "size/width"), _text(root, "size/height"))
    if written != (str(width), str(height)):
        raise DataError(f"{path}: says the image is {written[0]} x {written[1]} px; it is {width} x {height}")


def _read_object(
    element: Element, where: str, classes: tuple[str, ...], width: int, height: int, for_test: bool
) -> VocObject:
    name = _text(element, "name")
    if name not in classes:
        raise DataError(f"{where}: unknown class {name!r}.{did_you_mean(name or '', classes)}")
    if for_test:
        # The evaluator reads these three of every object, with int() for the flags.
        for key in ("pose", "truncated", "difficult"):
            if _text(element, key) is None:
                raise DataError(f"{where}: no <{key}>; the evaluation reads it")
        _flag(element, "truncated", where)
    box = [_coordinate(element, key, where, for_test) for key in ("xmin", "ymin", "xmax", "ymax")]
    xmin, ymin, xmax, ymax = box
    if xmin > xmax or ymin > ymax:
        raise DataError(f"{where}: the box {box} is empty; expected xmin <= xmax and ymin <= ymax")
    if xmin < 0 or ymin < 0:
        raise DataError(f"{where}: the box {box} starts outside the image; boxes count from 1")
    if xmax > width or ymax > height:
        axis, value, limit = ("xmax", xmax, width) if xmax > width else ("ymax", ymax, height)
        raise DataError(f"{where}: {axis} {value:g} exceeds the image's {limit}")
    difficult = _flag(element, "difficult", where)
    return VocObject(classes.index(name), (xmin, ymin, xmax, ymax), difficult)


def _text(element: Element, path: str) -> str | None:
    found = element.find(path)
    return found.text.strip() if found is not None and found.text and found.text.strip() else None


def _flag(element: Element, key: str, where: str) -> bool:
    text = _text(element, key)
    if text is None:
        return False
    if text not in ("0", "1"):
        raise DataError(f"{where}: <{key}> is {text!r}; expected 0 or 1")
    return text == "1"


def _coordinate(element: Element, key: str, where: str, whole: bool) -> float:
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        raise DataError(f"{where}: {len(boxes)} <bndbox>; expected one")
    text = _text(boxes[0], key)
    if text is None:
        raise DataError(f"{where}: no <{key}>")
    if whole and not _INTEGER.fullmatch(text):
        raise DataError(f"{where}: {key} is {text!r}; the evaluation takes whole numbers alone")
    if not _NUMBER.fullmatch(text):
        raise DataError(f"{where}: {key} is {text!r}; expected a number of pixels")
    return float(text)
