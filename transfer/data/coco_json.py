"""The three lists of a COCO JSON file, each entry held against the others: every fault with its id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, DataError
from bench.core.paths import inside
from bench.core.safe_json import read_json
from transfer.data.coco_annotation import CocoObject, read_object, short

MAX_ID = 2**53
"""Larger ones lose digits in readers that take numbers for floats."""
MAX_SIDE_PX = 65_535
MAX_CLASSES = 10_000
MAX_NAME = 200
MAX_PATH = 4096

Place = tuple[Path, int, int]
"""File, width and height of an image."""


@dataclass(frozen=True)
class ImageEntry:
    """One image of the file, with its annotations in the file's order; sizes in pixels."""

    image_id: int
    path: Path
    width: int
    height: int
    objects: tuple[CocoObject, ...]


@dataclass(frozen=True)
class CocoFile:
    """What a file says: category id to name, in the order of ids; images by id; and every fault."""

    categories: dict[int, str]
    images: tuple[ImageEntry, ...]
    problems: tuple[str, ...]


def read_file(path: Path, folder: Path) -> CocoFile:
    """Everything in a file that can be used, and a line for everything that cannot.

    Args:
        path: The JSON.
        folder: Where its images lie; names that leave it are faults.

    Raises:
        DataError: it cannot be read as JSON, or has not COCO's three lists.
    """
    lists = _lists(path, read_json(path))
    problems: list[str] = []
    categories = _categories(lists["categories"], path, problems)
    labels = {category: label for label, category in enumerate(categories)}
    images = _images(lists["images"], path, folder, problems)
    objects = _objects(lists["annotations"], path, images, labels, problems)
    return CocoFile(
        categories=categories,
        images=tuple(
            ImageEntry(image_id, *place, tuple(objects.get(image_id, ())))
            for image_id, place in sorted(images.items())
            if place
        ),
        problems=tuple(problems),
    )


def _lists(path: Path, value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, dict):
        raise DataError(f"{path}: its top is no object; expected images, annotations and categories")
    wrong = []
    for key in ("images", "annotations", "categories"):
        if not isinstance(value.get(key), list):
            found = "is no list" if key in value else "is missing"
            wrong.append(f"{path}: {key} {found}; expected images, annotations and categories")
        elif not value[key] and key != "annotations":
            wrong.append(f"{path}: {key} is empty")
    if wrong:
        raise DataError.of(wrong)
    return value


def _entries(values: list[Any], kind: str, path: Path, problems: list[str]) -> Iterator[tuple[int, str, Any]]:
    """(id, where, entry) of each that has an id of its own; the others are faults."""
    seen: set[int] = set()
    for number, entry in enumerate(values, start=1):
        place = f"number {number} of the list"
        if not isinstance(entry, dict):
            problems.append(f"{path}, {kind} {place}: {short(entry)}; expected an object")
            continue
        id_ = entry.get("id")
        if type(id_) is not int or not 0 <= id_ < MAX_ID:
            problems.append(f"{path}, {kind} {place}: id is {short(id_)}; expected a whole number")
            continue
        where = f"{path}, {kind} {id_}"
        if id_ in seen:
            problems.append(f"{where}: the id is there again, {place}")
            continue
        seen.add(id_)
        yield id_, where, entry


def _categories(values: list[Any], path: Path, problems: list[str]) -> dict[int, str]:
    if len(values) > MAX_CLASSES:
        raise DataError(f"{path}: {len(values):,} categories; expected at most {MAX_CLASSES:,}")
    found: dict[int, str] = {}
    names: set[str] = set()
    for id_, where, entry in _entries(values, "category", path, problems):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
            problems.append(f"{where}: name is {short(name)}; expected a printable name")
        elif name in names:
            problems.append(f"{where}: the name {name!r} is that of another category, too")
        # A faulty one stays known: its annotations are not at fault.
        found[id_] = name if isinstance(name, str) else ""
        names.add(found[id_])
    return dict(sorted(found.items()))


def _images(values: list[Any], path: Path, folder: Path, problems: list[str]) -> dict[int, Place | None]:
    found: dict[int, Place | None] = {}
    taken: dict[Path, int] = {}
    for id_, where, entry in _entries(values, "image", path, problems):
        faults = []
        for key in ("width", "height"):
            side = entry.get(key)
            if type(side) is not int or not 1 <= side <= MAX_SIDE_PX:
                faults.append(f"{where}: {key} is {short(side)}; expected a whole number of pixels")
        name, place = entry.get("file_name"), None
        if not isinstance(name, str) or len(name) > MAX_PATH:
            faults.append(f"{where}: file_name is {short(name)}; expected the name of its file")
        else:
            try:
                place = inside(folder, name)
            except BenchError as error:
                faults += [f"{where}: {problem}" for problem in error.problems]
        # By the file itself: "a.jpg" and "./a.jpg" are one, and would count twice.
        if place and (first := taken.setdefault(place.resolve(), id_)) != id_:
            faults.append(f"{where}: file_name {short(name)} is the file of image {first}, too")
        problems += faults
        found[id_] = (place, entry["width"], entry["height"]) if place and not faults else None
    return found


def _objects(
    values: list[Any],
    path: Path,
    images: dict[int, Place | None],
    labels: dict[int, int],
    problems: list[str],
) -> dict[int, list[CocoObject]]:
    found: dict[int, list[CocoObject]] = {}
    for _, where, entry in _entries(values, "annotation", path, problems):
        image_id = entry.get("image_id")
        if type(image_id) is not int or image_id not in images:
            problems.append(f"{where}: image_id is {short(image_id)}; expected one of the images")
            continue
        place = images[image_id]
        if place is None:  # the fault is the image's
            continue
        _, width, height = place
        try:
            item = read_object(entry, where, labels, width, height)
        except DataError as error:
            problems += error.problems
        else:
            found.setdefault(image_id, []).append(item)
    return found
