"""Image folders by class: `ROOT/<class>/<image>`, the layout of ImageNet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.paths import inside
from bench.core.safe_image import read_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Names that end so (in any case) are taken for images; what they hold is told by their content."""


class ImageFolder:
    """A list of the images below a folder, by class; nothing is decoded before it is asked for.

    Names that start with a dot, and files beside the class folders, are left out. The order is that of the
    names, whatever the file system's is.

    Attributes:
        root: The folder.
        classes: Class names, sorted.
        files: Paths relative to `root`, sorted by class, then by name.
        labels: [images] int64, the index of the class of each file.

    Args:
        root: A folder with one folder for each class.

    Raises:
        DataError: no such folder, no class, a class with no image, something in a class folder that is no
            image, or a name that leads out of `root`; all problems at once.
    """

    def __init__(self, root: Path) -> None:
        """List the images; see the class."""
        self.root = root
        problems: list[str] = []
        names = [name for name, is_folder in _listing(root, root, problems) if is_folder]
        files: list[str] = []
        labels: list[int] = []
        for index, name in enumerate(names):
            found = list(_images(root, name, problems))
            if not found:
                problems.append(f"{root / name}: no image in it; expected at least one for each class")
            files += found
            labels += [index] * len(found)
        if not names:
            problems.append(f"{root}: no folder in it; expected one for each class")
        if problems:
            raise DataError.of(problems)
        self.classes = tuple(names)
        self.files = tuple(files)
        self.labels: npt.NDArray[np.int64] = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        """How many images."""
        return len(self.files)

    def path(self, index: int) -> Path:
        """The file of one image."""
        return self.root / self.files[index]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The pixels of one image, [height, width, 3] uint8 RGB.

        Raises:
            DataError: see `bench.core.safe_image.read_image`.
        """
        return read_image(self.path(index))


def _images(root: Path, name: str, problems: list[str]) -> Iterator[str]:
    for file, is_folder in _listing(root, root / name, problems):
        if is_folder:
            problems.append(f"{root / name / file}: a folder in a class folder; expected images alone")
        elif os.path.splitext(file)[1].lower() not in SUFFIXES:
            problems.append(f"{root / name / file}: not named like an image ({', '.join(sorted(SUFFIXES))})")
        else:
            yield f"{name}/{file}"


def _listing(root: Path, folder: Path, problems: list[str]) -> list[tuple[str, bool]]:
    """Sorted (name, is a folder) of what is not hidden in `folder`."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                # Only a link or an odd name can lead out; resolving a million plain names takes a minute.
                if entry.is_symlink() or not entry.name.isprintable() or "\\" in entry.name:
                    try:
                        inside(root, (folder / entry.name).relative_to(root).as_posix())
                    except DataError as error:
                        problems.append(str(error))
                        continue
                found.append((entry.name, entry.is_dir()))
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")
    return sorted(found)
