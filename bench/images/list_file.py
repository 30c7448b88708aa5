"""List files: one image a line, with a class or without."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.paths import inside, read_bounded
from bench.images.index import SUFFIXES, Listing, Names, image_size, number_labels

_MAX_LIST_BYTES = 1024**3


def read_list(path: Path) -> Listing:
    """The images of a list file, in the order of its lines.

    Raises:
        DataError: every line that is blank, names no image, leads out or stands there twice; a label on some
            lines only; all problems at once.
    """
    try:
        text = read_bounded(path, _MAX_LIST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start:,}") from None
    lines = text.removesuffix("\n").split("\n")
    problems: list[str] = []
    first: dict[str, int] = {}
    sizes, labels = [], []
    inner: dict[str, str | None] = {}
    with progress("Listing images", len(lines)) as bar:
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number:,}"
            name, label = _columns(line.removesuffix("\r"))
            if not name:
                problems.append(f"{where}: blank; expected the path of an image")
            elif problem := _leads_out(path.parent, name, inner):
                problems.append(f"{where}: {problem}")
            elif (before := first.setdefault(str(PurePosixPath(name)), number)) != number:
                problems.append(f"{where}: {name} is on line {before:,} already; expected each image once")
            else:
                faults: list[str] = []
                size = image_size(path.parent / name, (path.parent / name).stat, faults)
                problems += [f"{where}: {fault}" for fault in faults]
                sizes.append(size or 0)
            if name:
                labels.append(label)
            if number % 1000 == 0 or number == len(lines):
                bar.update(number)
    if labels.count(None) not in (0, len(labels)):
        count = labels.count(None)
        problems.append(f"{path}: {count:,} of {len(labels):,} images without a label; expected all or none")
    texts = [label for label in labels if label is not None]
    numbered = None
    try:
        numbered = number_labels(texts) if texts else None
    except DataError as error:
        problems.append(f"{path}: {error}")
    if problems:
        raise DataError.of(problems)
    return Listing(Names.of(first), np.array(sizes, np.int64), *(numbered or (None, None)))


def _columns(line: str) -> tuple[str, str | None]:
    """(path, label) of a line. Without a tab, a path with spaces is told by how images are named."""
    if "\t" in line:
        name, _, label = line.partition("\t")
        return name.strip(), label.strip() or None
    line = line.strip()
    if " " in line and not line.lower().endswith(tuple(SUFFIXES)):
        name, _, label = line.rpartition(" ")
        return name.rstrip(), label
    return line, None


def _leads_out(folder: Path, name: str, known: dict[str, str | None]) -> str | None:
    """What speaks against a name of a list, as `inside`; each folder on the way is resolved once."""
    parent, _, _ = name.rpartition("/")
    plain = name.isprintable() and "\\" not in name and ".." not in name and not name.startswith("/")
    if parent and parent not in known:
        known[parent] = _refusal(folder, parent)
    if plain and not (folder / name).is_symlink():
        return known.get(parent)
    return _refusal(folder, name)


def _refusal(folder: Path, name: str) -> str | None:
    try:
        inside(folder, name)
    except DataError as error:
        return str(error)
    return None
