"""Reads one image with its label map, and holds palettes against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import BenchError
from bench.core.palette import Colour
from bench.core.paths import inside, read_bounded
from bench.core.safe_image import MAX_BYTES, decode_image, exif_orientation
from transfer.data.label_map import LabelMap, colour_of, count_labels, read_label_map
from transfer.data.label_names import Colours
from transfer.data.label_splits import FoundSet
from transfer.data.segmentation import IGNORED, Pairs, SegmentationImage

_MAX_NAMED = 5
"""Wrong labels of one map that are named with their pixels."""
_QUANTISED = "Was it quantised anew? Its indices may then stand for other classes"


@dataclass(frozen=True, eq=False)
class ReadPair(SegmentationImage):
    """An image as it was read; its `palette` is that of its map, `turn` its EXIF orientation."""

    palette: bytes | None
    turn: int


class PairReader:
    """Reads the pairs of one set; it may be called from several threads."""

    def __init__(self, found: FoundSet) -> None:
        self._found = found
        self._palettes: dict[bytes, bytes] = {}

    def __call__(self, item: tuple[Pairs, str]) -> ReadPair | tuple[str, ...]:
        """One image, or every problem of it and its map."""
        pairs, image_id = item
        problems: list[str] = []
        size, labels, turn = None, None, 1
        image_path = pairs.image_dir / f"{image_id}{pairs.image_suffix}"
        label_path = pairs.label_dir / f"{image_id}{pairs.label_suffix}"
        image_hash = label_hash = b""
        try:
            data = _read(pairs.image_dir, image_path)
            image_hash = hashlib.sha256(data).digest()
            height, width = decode_image(data, str(image_path)).shape[:2]
            size, turn = (width, height), exif_orientation(data, str(image_path))
        except BenchError as error:
            problems += error.problems
        try:
            data = _read(pairs.label_dir, label_path)
            label_hash = hashlib.sha256(data).digest()
            labels = read_label_map(data, str(label_path))
        except BenchError as error:
            problems += error.problems
        values: frozenset[int] = frozenset()
        if labels is not None:
            counts = count_labels(labels.labels)
            values = frozenset(np.flatnonzero(counts).tolist())
            problems += self._wrong_labels(label_path, counts)
            problems += self._wrong_colours(label_path, labels, values)
            if size is not None:
                problems += _other_size(label_path, labels, image_path, size, turn)
        if problems or labels is None or size is None:
            return tuple(problems)
        digest = hashlib.sha256(image_hash + label_hash + bytes([self._found.zero_is_ignored]))
        # Most maps of a set have the same palette: one object for all.
        palette = labels.palette and self._palettes.setdefault(labels.palette, labels.palette)
        return ReadPair(
            image_id=image_id,
            path=image_path,
            width=size[0],
            height=size[1],
            file_sha256=image_hash.hex(),
            content_sha256=digest.hexdigest(),
            pairs=pairs,
            values=values,
            palette=palette,
            turn=turn,
        )

    def _wrong_labels(self, path: Path, counts: npt.NDArray[np.int64]) -> list[str]:
        zero_is_ignored = self._found.zero_is_ignored
        first_above = len(self._found.classes) + zero_is_ignored
        wrong = [int(value) for value in np.flatnonzero(counts) if first_above <= value != IGNORED]
        if not wrong:
            return []
        named = ", ".join(f"{value} ({counts[value]:,} px)" for value in wrong[:_MAX_NAMED])
        more = f" and {len(wrong) - _MAX_NAMED} more" if len(wrong) > _MAX_NAMED else ""
        known = f"1 to {first_above - 1}, 0 or" if zero_is_ignored else f"0 to {first_above - 1}, or"
        expected = f"expected {known} {IGNORED} for ignored"
        return [f"{path}: label {named}{more}; {expected}{self._found.out_of_range}"]

    def _wrong_colours(self, path: Path, labels: LabelMap, values: Iterable[int]) -> list[str]:
        colours = self._found.colours
        if colours is None or labels.palette is None:
            return []
        return [
            f"{path}: index {index} has the colour {colour}; expected {expected} by {source}. {_QUANTISED}"
            for index, colour, expected, source in _differences(labels.palette, values, colours)
        ][:1]


def _read(folder: Path, path: Path) -> bytes:
    """A file below a folder, which may itself be a link, as whole data sets often are."""
    return read_bounded(inside(folder, path.relative_to(folder).as_posix()), MAX_BYTES)


def _differences(
    palette: bytes, values: Iterable[int], colours: Colours
) -> Iterator[tuple[int, Colour, Colour, str]]:
    for index in sorted(values):
        colour, expected = colour_of(palette, index), colours.by_index.get(index)
        if colour and expected and colour != expected:
            yield index, colour, expected, colours.source


def first_disagreement(images: Iterable[ReadPair]) -> list[str]:
    """The first two maps with palettes that show one index in two colours; only indices in use count."""
    known: dict[int, tuple[Colour, Path]] = {}
    for image in images:
        if image.palette is None:
            continue
        for index in sorted(image.values):
            colour = colour_of(image.palette, index)
            if colour is None:
                continue
            expected, path = known.setdefault(index, (colour, image.label_path))
            if colour != expected:
                return [
                    f"{image.label_path}: index {index} has the colour {colour}; in {path} it has "
                    f"{expected}. {_QUANTISED}"
                ]
    return []


def _other_size(
    label_path: Path, labels: LabelMap, image_path: Path, size: tuple[int, int], turn: int
) -> list[str]:
    height, width = labels.labels.shape
    if (width, height) == size:
        return []
    problem = f"{label_path}: {width} x {height} px; its image {image_path} is {size[0]} x {size[1]} px"
    if turn > 4 and (height, width) == size:
        problem += (
            f", turned by its EXIF orientation {turn}, as engines do; expected a map of what is seen. "
            "Save the image without EXIF if the map was made of what is stored"
        )
    return [problem]
