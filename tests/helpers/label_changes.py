"""Ways to change a set with label maps, each a function of its folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.helpers.label_sets import put, put_lines

Change = Callable[[Path], Path]
"""Changes a set and returns the file that a refusal must name."""


def both(*changes: Change) -> Change:
    """One after the other; the file of the last is named."""
    return lambda root: [change(root) for change in changes][-1]


def named(change: Change, path: str) -> Change:
    """The refusal names another file than the one that was changed."""

    def spoil(root: Path) -> Path:
        change(root)
        return root / path

    return spoil


def content(path: str, data: bytes) -> Change:
    return lambda root: put(root / path, data)


def lines(path: str, change: Callable[[list[str]], list[str]]) -> Change:
    return lambda root: put_lines(root / path, change((root / path).read_text().splitlines()))


def gone(path: str) -> Change:
    def spoil(root: Path) -> Path:
        (root / path).unlink()
        return root / path

    return spoil


def folder_gone(path: str) -> Change:
    def spoil(root: Path) -> Path:
        shutil.rmtree(root / path)
        return root / path

    return spoil


def emptied(*paths: str) -> Change:
    """Folders without a file; the first is named."""

    def spoil(root: Path) -> Path:
        for path in paths:
            shutil.rmtree(root / path)
            (root / path).mkdir()
        return root / paths[0]

    return spoil


def link_to_folder(path: str, target: str) -> Change:
    def spoil(root: Path) -> Path:
        (root / path).symlink_to(root / target)
        return root / path

    return spoil


def moved(old: str, new: str, place: str = "") -> Change:
    def spoil(root: Path) -> Path:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)
        return root / (place or new)

    return spoil


def all_maps(place: str, data: bytes) -> Change:
    def spoil(root: Path) -> Path:
        paths = sorted((root / place).glob("*.png"))
        assert paths
        for path in paths:
            path.write_bytes(data)
        return paths[0]

    return spoil


def flipped(path: str, offset_from_end: int) -> Change:
    def spoil(root: Path) -> Path:
        data = bytearray((root / path).read_bytes())
        data[-offset_from_end] ^= 1
        return put(root / path, bytes(data))

    return spoil


def cut(path: str, num_bytes: int) -> Change:
    return lambda root: put(root / path, (root / path).read_bytes()[:-num_bytes])


def linked_out(path: str) -> Change:
    def spoil(root: Path) -> Path:
        outside = root.parent / "outside.png"
        (root / path).rename(outside)
        (root / path).symlink_to(outside)
        return root

    return spoil


def fifo(path: str) -> Change:
    def spoil(root: Path) -> Path:
        (root / path).unlink()
        os.mkfifo(root / path)
        return root / path

    return spoil
