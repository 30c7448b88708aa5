"""The splits of a set in VOC layout: which there are, and the image ids that each lists."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError, DataError
from bench.core.paths import read_bounded, safe_name

MAX_BYTES = 64 * 1024**2
"""Of a list: some millions of image ids."""


@dataclass(frozen=True)
class Split:
    """One `ImageSets/Main/<name>.txt` below `folder`."""

    folder: Path
    name: str

    @property
    def label(self) -> str:
        """`VOC2007/trainval`."""
        return f"{self.folder.name}/{self.name}"

    @property
    def file(self) -> Path:
        """The list of its images."""
        return self.folder / "ImageSets" / "Main" / f"{self.name}.txt"


def find_splits(root: Path, train: tuple[str, ...], test: str) -> tuple[tuple[Split, ...], Split, bool]:
    """The splits to train and to test on, and whether `root` is a single folder and no devkit.

    Args:
        root: A VOCdevkit, a folder that holds one, or one folder in VOC layout.
        train: Splits of a devkit, "VOC2007/trainval". A single folder has its own.
        test: Split of a devkit.

    Raises:
        DataError: neither is there, or may not be read; every missing file.
    """
    try:
        return _find_splits(root, train, test)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _find_splits(root: Path, train: tuple[str, ...], test: str) -> tuple[tuple[Split, ...], Split, bool]:
    if not _is(stat.S_ISDIR, root):
        raise DataError(f"{root}: no such folder; expected a VOCdevkit or one folder in VOC layout")
    if _is(stat.S_ISDIR, root / "ImageSets"):
        return *_splits_of_folder(root), True
    if _is(stat.S_ISDIR, root / "VOCdevkit"):
        root = root / "VOCdevkit"
    if not _is(stat.S_ISDIR, root / test.split("/")[0]):
        raise DataError(
            f"{root}: neither a VOCdevkit (no {test.split('/')[0]} in it) nor one folder in VOC layout "
            "(no ImageSets in it)"
        )
    splits = [Split(root / label.split("/")[0], label.split("/")[1]) for label in (*train, test)]
    missing = [split for split in splits if not _is(stat.S_ISREG, split.file)]
    if missing:
        raise DataError.of(
            [f"{split.file}: missing" for split in missing],
            hint=f"{root}: expected the splits {', '.join((*train, test))}, each in the folder of its year.",
        )
    return tuple(splits[:-1]), splits[-1], False


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    """Whether there is such a thing; pathlib's own question takes one that may not be seen for none."""
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _splits_of_folder(root: Path) -> tuple[tuple[Split, ...], Split]:
    files = map(Path, os.listdir(root / "ImageSets" / "Main"))
    names = {path.stem for path in files if path.suffix == ".txt"}
    for train, test in (("trainval", "test"), ("train", "test"), ("train", "val")):
        if {train, test} <= names:
            return (Split(root, train),), Split(root, test)
    raise DataError(
        f"{root}/ImageSets/Main: has neither (trainval or train) with test, nor train with val; "
        f"found {', '.join(sorted(names)) or 'nothing'}"
    )


def read_split(split: Split) -> tuple[list[str], list[str]]:
    """The ids that can be used, and every problem of the list, a line each."""
    ids, problems, num_lines = read_ids(split.file)
    if num_lines is not None and num_lines < 2:
        # NumPy's loadtxt makes no list of a single line, and Detectron2 stops on what it makes.
        problems.append(f"{split.file}: lists {num_lines} images; expected two or more, one id a line")
    return ids, problems


def read_ids(path: Path) -> tuple[list[str], list[str], int | None]:
    """The ids of a list that can be used, its problems, and its lines; None if it cannot be read."""
    try:
        lines = read_lines(path)
    except DataError as error:
        return [], list(error.problems), None
    ids, problems = [], []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        columns = line.split()
        if len(columns) != 1:
            what = "empty" if not columns else f"{line[:80]!r} has several columns"
            problems.append(f"{where}: {what}; expected one image id a line")
        try:
            ids += [safe_name(name, f"{where}: image id") for name in columns[:1]]
        except BenchError as error:
            problems.append(str(error))
    problems += [f"{path}: {name} is listed twice" for name, count in Counter(ids).items() if count > 1]
    return list(dict.fromkeys(ids)), problems, len(lines)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: it cannot be read, is larger than 64 MiB, or is not UTF-8.
    """
    try:
        return read_bounded(path, MAX_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None
