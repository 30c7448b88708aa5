"""COCO's run lengths, checked before a C library reads them: of a wrong one it would read past the end.

A mask is a list of counts, column by column from the upper left corner: so many pixels outside, so many
inside, and so on. It is written as a list, or packed into text.

Source: cocodataset/cocoapi `common/maskApi.c`, rleToString and rleFrString (the packed form, re-derived).
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.errors import DataError

_FIRST = 48
"""Six bits a character, from "0" on."""
_MAX_DIGITS = 7
"""Five bits each: more than any image has pixels."""


def unpack_counts(text: str, where: str) -> list[int]:
    """The counts of a packed mask.

    Raises:
        DataError: another character, a number that is cut off, too long or negative.
    """
    counts: list[int] = []
    value = shift = 0
    for place, character in enumerate(text):
        digit = ord(character) - _FIRST
        if not 0 <= digit < 64 or shift == _MAX_DIGITS:
            raise DataError(f"{where}: run lengths cannot be read at character {place + 1}")
        value |= (digit & 31) << (5 * shift)
        shift += 1
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << (5 * shift)
        # From the third on, the difference from the last count but one is written.
        count = value + counts[-2] if len(counts) > 2 else value
        if count < 0:
            raise DataError(f"{where}: run lengths have a negative count at character {place + 1}")
        counts.append(count)
        value = shift = 0
    if shift:
        raise DataError(f"{where}: run lengths are cut off at their end")
    return counts


def check_counts(counts: Sequence[int], width: int, height: int, where: str) -> None:
    """Hold the counts of a mask against the size of its image, in pixels.

    Raises:
        DataError: they do not cover the image, or have nothing inside.
    """
    total = sum(counts)
    if total != width * height:
        raise DataError(
            f"{where}: run lengths cover {total:,} pixels; the image has {width} x {height} = "
            f"{width * height:,}"
        )
    if not any(counts[1::2]):
        raise DataError(f"{where}: run lengths have no pixel inside")
