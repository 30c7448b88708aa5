"""The two text files of a set with label maps: the names of its classes, and their colours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError, DataError
from bench.core.palette import Colour
from bench.core.paths import safe_name
from transfer.data.segmentation import IGNORED
from transfer.data.voc_splits import read_lines

_LINE = re.compile(r"([0-9]{1,3}) ([0-9]{1,3}) ([0-9]{1,3}) ([0-9]{1,3}) (\S.*)", re.ASCII)

IGNORE = "ignore"
"""As the first line of `classes.txt`: 0 is no class."""


@dataclass(frozen=True)
class Colours:
    """What colours the palettes of label maps must have; `source` says where they stand."""

    by_index: dict[int, Colour]
    source: str


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a `classes.txt`: line by line, in the order of label values.

    Raises:
        DataError: missing, an empty line among them, a name that is there twice or cannot serve as one.
    """
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    problems = []
    for number, name in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        if not name:
            problems.append(f"{where}: empty, which would move every class below it; expected a class name")
        try:
            for word in name.split():
                safe_name(word, f"{where}: class")
        except BenchError as error:
            problems += error.problems
    twice = [name for name, count in Counter(lines).items() if name and count > 1]
    problems += [f"{path}: {name} is there twice" for name in twice]
    if not 2 <= len(lines) <= IGNORED:
        problems.append(
            f"{path}: {len(lines)} lines; expected 2 to {IGNORED}, one name a line, by the value of the label"
        )
    if problems:
        raise DataError.of(problems)
    return tuple(lines)


def read_palette(path: Path, classes: Sequence[str], *, zero_is_ignored: bool) -> Colours:
    """The colours in a `palette.txt`, lines of `INDEX R G B NAME`.

    Args:
        path: The file.
        classes: Each must be there under its own name.
        zero_is_ignored: See `SegmentationDataset`.

    Raises:
        DataError: every line that is of another form or says other names than `classes`.
    """
    names = dict(enumerate(classes, start=1 if zero_is_ignored else 0))
    colours: dict[int, Colour] = {}
    problems = []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        found = _LINE.fullmatch(" ".join(line.split()))
        if found is None:
            problems.append(f"{where}: {line[:80]!r}; expected INDEX R G B NAME")
            continue
        index, *rgb = (int(text) for text in found.groups()[:4])
        ignored = index == IGNORED or (zero_is_ignored and index == 0)
        if index > 255 or max(rgb) > 255:
            problems.append(f"{where}: {line[:80]!r}; expected numbers of 0 to 255")
        elif index in colours:
            problems.append(f"{where}: {index} is there twice")
        elif not ignored and names.get(index) != found[5]:
            expected = f"{names[index]!r} as in classes.txt" if index in names else "no class of this index"
            problems.append(f"{where}: {index} is {found[5][:80]!r}; expected {expected}")
        colours[index] = (rgb[0], rgb[1], rgb[2])
    missing = [f"{index} {name}" for index, name in names.items() if index not in colours]
    if missing and not problems:
        problems.append(f"{path}: no colour of {', '.join(missing)}")
    if problems:
        raise DataError.of(problems)
    return Colours(colours, str(path))
