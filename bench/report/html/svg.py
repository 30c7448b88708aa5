"""What a chart is made of, as SVG text: tags, scales with round ticks, axes, markers.

A plotting library writes 80 kB for a scatter and fixes its colours; these few functions write 5 kB, and
colours come from the page's style by class, so that a chart holds in light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NewType

Svg = NewType("Svg", str)
"""Text that is SVG already: whatever came from a record went through `words` or an attribute of `tag`."""

WIDTH: Final = 440.0
HEIGHT: Final = 320.0
LEFT: Final = 62.0
RIGHT: Final = 14.0
TOP: Final = 12.0
BOTTOM: Final = 48.0
"""Pixels of a chart and of its margins; on a phone of 360 px, its text of 13.5 px is 10 px high."""

SHAPES: Final = ("circle", "square", "triangle", "diamond", "down", "cross", "star")
"""One for each colour of the page's style, `c0` to `c6`: who cannot tell the colours tells the shapes."""

DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2", "1 2")
"""The same for lines."""

_OUTLINES: Final[dict[str, Sequence[tuple[float, float]]]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "down": ((0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    "cross": (
        (-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4),
        (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4),
    ),
    "star": tuple(
        (radius * math.sin(math.pi * place / 5), -radius * math.cos(math.pi * place / 5))
        for place, radius in enumerate((1.3, 0.55) * 5)
    ),
}  # fmt: skip
"""Corners in units of a marker's radius, y down."""


def words(text: str) -> Svg:
    """Text that is not ours, harmless inside a tag."""
    return Svg(escape(text))


def tag(name: str, *children: Svg, **attributes: str | float) -> Svg:
    """`<name a-b="...">children</name>`; an attribute is written `a_b`, and `class_` for "class".

    Numbers are rounded to a tenth of a pixel. No attribute may be `style`: the page's policy forbids it.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    return Svg(f"<{name}{shown}>{''.join(children)}</{name}>" if children else f"<{name}{shown}/>")


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 1) + 0.0:g}"


def label(text: str, x: float, y: float, *, class_: str = "", anchor: str = "start") -> Svg:
    """Text that begins, ends ("end") or is centred ("middle") at a place."""
    return tag("text", words(text), x=x, y=y, text_anchor=anchor, class_=class_)


def marker(shape: str, x: float, y: float, *, class_: str, title: str = "", radius: float = 5.0) -> Svg:
    """One of `SHAPES` around a place; `title` is shown on hover."""
    told = (tag("title", words(title)),) if title else ()
    if shape == "circle":
        return tag("circle", *told, cx=x, cy=y, r=radius, class_=class_)
    corners = " ".join(f"{_short(x + radius * dx)},{_short(y + radius * dy)}" for dx, dy in _OUTLINES[shape])
    return tag("polygon", *told, points=corners, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str, dash: str = "") -> Svg:
    """A straight line."""
    more = {"stroke_dasharray": dash} if dash else {}
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **more)


@dataclass(frozen=True)
class Scale:
    """From values `low` to `high` to pixels `start` to `end`, evenly or by the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, in pixels."""
        low, high, value = (
            (math.log(number) if self.log else number) for number in (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers that lie on it; of a logarithmic one powers of ten, and 2 and 5 times few."""
        if not self.log:
            return ticks(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1.0, 2.0, 5.0) if self.high < 1000.0 * self.low else (1.0,)
        numbers = [factor * 10.0**power for power in powers for factor in factors]
        return [number for number in numbers if self.low <= number <= self.high]


def across(values: Sequence[float], *, log: bool = False) -> Scale:
    """The x axis of a chart, with room around what is drawn."""
    return _scale(values, LEFT, WIDTH - RIGHT, log)


def upright(values: Sequence[float], *, log: bool = False) -> Scale:
    """The y axis of a chart, with room around what is drawn."""
    return _scale(values, HEIGHT - BOTTOM, TOP, log)


def _scale(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    low, high = min(values), max(values)
    if log:
        room = max((high / low) ** 0.08, 1.25)
        return Scale(low / room, high * room, start, end, log=True)
    room = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten.

    Returns:
        For 0 to 10: 0, 2, 4, 6, 8, 10.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def tick_text(value: float) -> str:
    """As "0.25", "30", "24k" or "1.5M"."""
    value = round(value, 10) + 0.0
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e6 if letter == 'M' else 1e3):g}{letter}"
    return f"{value:g}"


def axes(x: Scale, y: Scale, x_label: str, y_label: str, x_ticks: Sequence[float] | None = None) -> Svg:
    """Grid lines, the numbers beside them, and what the axes are."""
    parts: list[Svg] = []
    for value in y.ticks():
        at = y.at(value)
        parts.append(line(x.start, at, x.end, at, class_="grid"))
        parts.append(label(tick_text(value), x.start - 6, at + 4, class_="tick", anchor="end"))
    for value in x.ticks() if x_ticks is None else x_ticks:
        at = x.at(value)
        parts.append(line(at, y.start, at, y.start + 4, class_="axis"))
        parts.append(label(tick_text(value), at, y.start + 18, class_="tick", anchor="middle"))
    parts.append(line(x.start, y.start, x.end, y.start, class_="axis"))
    middle_x, middle_y = (x.start + x.end) / 2, (y.start + y.end) / 2
    parts.append(label(x_label, middle_x, y.start + 39, class_="name", anchor="middle"))
    turned = f"rotate(-90 15 {middle_y:g})"
    parts.append(
        tag("text", words(y_label), x=15, y=middle_y, transform=turned, text_anchor="middle", class_="name")
    )
    return Svg("".join(parts))


def figure(about: str, *children: Svg, height: float = HEIGHT, class_: str = "chart") -> Svg:
    """The whole drawing; `about` is what a screen reader says in its place."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=about,
        class_=class_,
        xmlns="http://www.w3.org/2000/svg",
    )
