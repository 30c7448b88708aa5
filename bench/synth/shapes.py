"""The ten outlines, as tests on integer coordinates: is this point inside?

Coordinates are in 1/1024 of the object's radius, y down; every outline touches the circle of radius 1024
or stays just inside it, so that one radius means one size for all classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.synth.integer import BoolArray, IntArray, cosine, sine

Shape = Callable[[IntArray, IntArray], BoolArray]


def _along(x: IntArray, y: IntArray, angle: int) -> IntArray:
    """Distance from the centre along the direction `angle` (1/1024 turns)."""
    return (x * (cosine(angle) >> 4) + y * (sine(angle) >> 4)) >> 10


def _in_circle(x: IntArray, y: IntArray, radius: int) -> BoolArray:
    return x * x + y * y <= radius * radius


def disc(x: IntArray, y: IntArray) -> BoolArray:
    """A full circle."""
    return _in_circle(x, y, 960)


def ring(x: IntArray, y: IntArray) -> BoolArray:
    """A circle with a hole of half its radius."""
    square = x * x + y * y
    return (square <= 1000 * 1000) & (square >= 520 * 520)


def square(x: IntArray, y: IntArray) -> BoolArray:
    """Four equal sides."""
    return np.maximum(np.abs(x), np.abs(y)) <= 760


def triangle(x: IntArray, y: IntArray) -> BoolArray:
    """Three equal sides."""
    # Inside all three sides, each half a radius from the centre.
    return (y <= 512) & (_along(x, y, -85) <= 512) & (_along(x, y, -427) <= 512)


def star(x: IntArray, y: IntArray) -> BoolArray:
    """Five points."""
    # A pentagram: each point of it lies inside at least four of the five lines it is drawn with.
    inside = np.zeros(x.shape, dtype=np.int32)
    for arm in range(5):
        inside += _along(x, y, 256 + (arm * 1024) // 5) <= 370
    return (inside >= 4) & _in_circle(x, y, 1100)


def cross(x: IntArray, y: IntArray) -> BoolArray:
    """A plus sign."""
    across, down = np.abs(x), np.abs(y)
    return (np.minimum(across, down) <= 300) & (np.maximum(across, down) <= 980)


def crescent(x: IntArray, y: IntArray) -> BoolArray:
    """A moon: a circle less a smaller one moved aside."""
    return _in_circle(x, y, 1000) & ~_in_circle(x - 470, y, 780)


def hexagon(x: IntArray, y: IntArray) -> BoolArray:
    """Six equal sides."""
    first, second = np.abs(_along(x, y, 171)), np.abs(_along(x, y, 341))
    return (np.abs(x) <= 870) & (first <= 870) & (second <= 870)


def heart(x: IntArray, y: IntArray) -> BoolArray:
    """Two lobes and a tip."""
    # A square on its corner, and a circle on each of its two upper sides.
    across = np.abs(x)
    diamond = across + np.abs(y - 120) <= 860
    lobe = _in_circle(across - 430, y + 310, 608)
    return diamond | lobe


def arrow(x: IntArray, y: IntArray) -> BoolArray:
    """A shaft with a head, pointing along x."""
    down = np.abs(y)
    shaft = (x >= -1000) & (x <= 200) & (down <= 270)
    head = (x >= 40) & (down <= 1000 - x)
    return shaft | (head & (down <= 800))
