"""Seeds as people write them, on the command line and in the file of a sweep."""

from __future__ import annotations

import re

MAX_RANGE = 1000


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `0`, `0,1,2` or `0-4`, in order, each once.

    Raises:
        ValueError: it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if not match:
            raise ValueError(f"{text!r}: expected whole numbers, as in 0 or 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MAX_RANGE:
            raise ValueError(f"{part!r}: expected a rising range of at most {MAX_RANGE:,} seeds")
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))
