"""How the inputs of a sweep look from outside, so that `--status` can say that one has changed since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_MAX_ENTRIES = 1000
"""Of a folder of data; a change below shows in the folder that it was made in, or when it is checked."""


def stamp(path: Path) -> str:
    """A hash over size and time of a file, of a folder also of what lies in it; "" if it is not there."""
    try:
        info = path.stat()
        words = [f"{info.st_size}:{info.st_mtime_ns}"]
        if path.is_dir():
            with os.scandir(path) as entries:
                names = sorted(entries, key=lambda entry: entry.name)[:_MAX_ENTRIES]
            words += [f"{entry.name}:{entry.stat().st_mtime_ns}" for entry in names]
    except OSError:
        return ""
    return hashlib.sha256(" ".join(words).encode(errors="surrogateescape")).hexdigest()[:16]


def stamps(paths: Iterable[Path]) -> dict[str, str]:
    """The stamp of each path."""
    return {str(path): stamp(path) for path in paths}


def changed(before: dict[str, str]) -> list[str]:
    """The paths that look otherwise now, sorted."""
    return sorted(path for path, then in before.items() if stamp(Path(path)) != then)
