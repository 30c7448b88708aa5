"""A list of the images to train on, as google-research/simclr publishes them for 1 % and 10 % of ImageNet.

A line is the name of a file (`n01440764_10026.JPEG`), alone or behind its class folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.paths import read_bounded
from bench.images.source import ImageSource

_MAX_BYTES = 256 * 1024**2


def read_image_list(path: Path, source: ImageSource) -> tuple[npt.NDArray[np.int64], str]:
    """Numbers of the images in a list, rising, and the sha256 of the list's file.

    Args:
        path: Text, a name a line; empty lines are passed over.
        source: Whose images they are.

    Raises:
        DataError: every line that names no image, several, or one that was named before.
    """
    data = read_bounded(path, _MAX_BYTES)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; expected names of images") from None
    named = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    # Of the names that are asked for alone: a million others would take as much memory as the training.
    known: dict[str, list[int]] = {name: [] for _, name in named}
    for index in range(len(source)):
        name = source.name(index)
        for word in {name, name.rpartition("/")[2]} & known.keys():
            known[word].append(index)
    problems: list[str] = []
    first: dict[int, int] = {}
    for number, name in named:
        found = known[name]
        if len(found) != 1:
            what = f"{len(found)} images have this name" if found else f"no such image in {source.root}"
            problems.append(f"{path}, line {number}: {name[:80]!r}: {what}")
        elif found[0] in first:
            problems.append(f"{path}, line {number}: {name!r} was in line {first[found[0]]} already")
        else:
            first[found[0]] = number
    if not problems and not first:
        problems.append(f"{path}: no name of an image in it")
    if problems:
        raise DataError.of(problems, hint=f"{path}: expected one image of {source.root} a line.")
    return np.sort(np.array(list(first), np.int64)), hashlib.sha256(data).hexdigest()
