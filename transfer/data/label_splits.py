"""Which images a set with label maps has, and which map belongs to which: by lists, or by folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from transfer.data.label_names import Colours
from transfer.data.segmentation import Pairs

_DROPPED = frozenset({"Thumbs.db", "desktop.ini"})
"""What Windows leaves in folders of pictures."""


@dataclass(frozen=True)
class LabelSplit:
    """Images by where they lie and their ids; `label` is `Cityscapes/train`."""

    label: str
    images: tuple[tuple[Pairs, str], ...]


@dataclass(frozen=True)
class FoundSet:
    """A set whose images are known but not read.

    Attributes:
        layout, name, classes, zero_is_ignored: See `SegmentationDataset`.
        train, test: The splits.
        problems: What is wrong so far, a line each.
        colours: What palettes must show; without them, those of one set must agree.
        out_of_range: Why a label may be above the classes, added to the fault.
    """

    layout: str
    name: str
    classes: tuple[str, ...]
    zero_is_ignored: bool
    train: LabelSplit
    test: LabelSplit
    problems: tuple[str, ...]
    colours: Colours | None = None
    out_of_range: str = ""


@dataclass(frozen=True)
class LabelLayout:
    """What is known of a layout.

    Attributes:
        name: For records.
        classes: Those of the published set; empty where every set has its own.
        train, test: Labels of the published splits.
        zero_is_ignored: See `SegmentationDataset`.
        image_suffixes, label_suffix: What follows the id in the names of files.
        find: The set in a folder; None if there is none of this layout.
        expected: What `find` looks for, in words.
    """

    name: str
    classes: tuple[str, ...]
    train: str
    test: str
    zero_is_ignored: bool
    image_suffixes: tuple[str, ...]
    label_suffix: str
    find: Callable[[Path], FoundSet | None]
    expected: str


@dataclass(frozen=True)
class SplitFolders:
    """The images of one split and their label maps, `images/train` and `labels/train`."""

    label: str
    image_dir: Path
    label_dir: Path


def is_folder(path: Path) -> bool:
    """Whether there is such a folder.

    Raises:
        OSError: it may not be seen, which pathlib's own question takes for none.
    """
    return _is(stat.S_ISDIR, path)


def is_file(path: Path) -> bool:
    """Whether there is such a file; as `is_folder`."""
    return _is(stat.S_ISREG, path)


def has_files(folders: SplitFolders, number: int) -> bool:
    """Whether so many visible files lie among the images of a split."""
    return sum(not name.startswith(".") for name in os.listdir(folders.image_dir)) == number


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def pair_up(
    folders: SplitFolders,
    image_suffixes: Sequence[str],
    label_suffix: str,
    *,
    others_among_maps: bool = False,
) -> tuple[LabelSplit, list[str]]:
    """Every image below a folder with its label map, and every problem, a line each.

    Args:
        folders: Where they lie; ids may have folders of their own.
        image_suffixes: Small or capital letters, as cameras write both.
        label_suffix: As it is.
        others_among_maps: Other files may lie among the maps.
    """
    image_names, problems = _names(folders.image_dir)
    label_names, wrong = _names(folders.label_dir)
    problems += wrong
    images: dict[str, str] = {}
    for name in image_names:
        image_id = _without(name, image_suffixes)
        if image_id is None:
            expected = ", ".join(image_suffixes)
            problems.append(f"{folders.image_dir / name}: no image by its name; expected {expected}")
        elif image_id in images:
            problems.append(
                f"{folders.image_dir / name}: the id {image_id} is there twice, see {images[image_id]}"
            )
        else:
            images[image_id] = name
    maps = set()
    for name in label_names:
        label_id = _without(name, (label_suffix,)) if name.endswith(label_suffix) else None
        if label_id is not None:
            maps.add(label_id)
        elif not others_among_maps:
            problems.append(f"{folders.label_dir / name}: no label map by its name; expected {label_suffix}")
    problems += [
        f"{folders.label_dir / image_id}{label_suffix}: missing; expected the label map of image {name}"
        for image_id, name in images.items()
        if image_id not in maps
    ]
    problems += [
        f"{folders.label_dir / label_id}{label_suffix}: a label map without an image; expected "
        f"{folders.image_dir / label_id}{image_suffixes[0]}"
        for label_id in sorted(maps - images.keys())
    ]
    if not images:
        problems.append(f"{folders.image_dir}: no image in it; expected one or more")
    found = []
    for image_id, name in images.items():
        if image_id in maps:
            pairs = Pairs(folders.image_dir, folders.label_dir, name[len(image_id) :], label_suffix)
            found.append((pairs, image_id))
    return LabelSplit(folders.label, tuple(found)), problems


def _without(name: str, suffixes: Sequence[str]) -> str | None:
    """The id in a file's name; None if it has none of the suffixes or nothing in front of it."""
    for suffix in suffixes:
        image_id = name[: -len(suffix)]
        if name.lower().endswith(suffix.lower()) and PurePosixPath(name).name.lower() != suffix.lower():
            return image_id
    return None


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """The files below a folder by their relative names, hidden ones left out, and problems."""
    names: list[str] = []
    problems: list[str] = []

    def cannot_be_read(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=cannot_be_read):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                problems.append(f"{os.path.join(place, name)}: a link; expected a folder or a file")
        for name in files:
            path = Path(place, name).relative_to(folder).as_posix()
            if name.startswith(".") or name in _DROPPED:
                continue
            if _is_plain(path):
                names.append(path)
            else:
                expected = "printable letters, no backslash, no space at an end"
                problems.append(f"{folder}: the name {path!r}; expected {expected}")
    return sorted(names), problems


def _is_plain(path: str) -> bool:
    parts = (*PurePosixPath(path).parts, PurePosixPath(path).stem)
    return path.isprintable() and "\\" not in path and all(part == part.strip() for part in parts)


def find_by_folders(
    layout: str,
    known: LabelLayout,
    train: SplitFolders,
    test: SplitFolders,
) -> FoundSet:
    """A published set whose splits are folders; as `pair_up`."""
    splits, problems = [], []
    for folders in (train, test):
        split, wrong = pair_up(folders, known.image_suffixes, known.label_suffix)
        splits.append(split)
        problems += wrong
    return FoundSet(
        layout=layout,
        name=known.name,
        classes=known.classes,
        zero_is_ignored=known.zero_is_ignored,
        train=splits[0],
        test=splits[1],
        problems=tuple(problems),
    )
