"""Names beside the points of a chart, where they hide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.report.html import svg
from bench.report.html.svg import Svg

MAX_LABELS: Final = 12
"""Names written into one chart; the others are shown on hover."""

_LETTER_PX: Final = 7.9
"""Of text of 12.5 px, on average, in DejaVu Sans, which is wider than most."""

_LINE_PX: Final = 14.0

_Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


def labels(points: Sequence[tuple[float, float, str]], others: Sequence[tuple[float, float]] = ()) -> Svg:
    """Each name where it hides no point and no other name; one that has no such place is left to the hover.

    Args:
        points: x, y in pixels and the name, those that matter most first.
        others: Points without a name; of them as few are hidden as may be.
    """
    taken = [_around(x, y) for x, y, _ in points]
    softly = [_around(x, y) for x, y in others]
    parts: list[Svg] = []
    for x, y, text in points[:MAX_LABELS]:
        free = [place for place in _places(x, y, text) if not _hits(place.box, taken)]
        if free:
            best = min(free, key=lambda place: _hits(place.box, softly))
            taken.append(best.box)
            parts.append(svg.label(text, best.x, best.y, class_="point", anchor=best.anchor))
    return Svg("".join(parts))


@dataclass(frozen=True)
class _Place:
    box: _Box
    x: float
    y: float
    anchor: str


def _places(x: float, y: float, text: str) -> Iterator[_Place]:
    """Right of a point, left of it, above, below; as far as it is inside of the axes."""
    width = _LETTER_PX * len(text)
    for left, middle, at, anchor in (
        (x + 9, y, x + 9, "start"),
        (x - 9 - width, y, x - 9, "end"),
        (x - width / 2, y - 15, x, "middle"),
        (x - width / 2, y + 16, x, "middle"),
    ):
        box = (left, middle - _LINE_PX / 2, left + width, middle + _LINE_PX / 2)
        if left >= svg.LEFT and box[1] >= 0 and box[2] <= svg.WIDTH and box[3] <= svg.HEIGHT - svg.BOTTOM:
            yield _Place(box, at, middle + 4, anchor)


def _around(x: float, y: float) -> _Box:
    return (x - 5, y - 5, x + 5, y + 5)


def _hits(box: _Box, others: Iterable[_Box]) -> int:
    """How many of the others a box meets."""
    return sum(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in others
    )
