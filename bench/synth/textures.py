"""Textures: fields of mixing factors 0-256 between two colours, on objects and on backgrounds.

A texture sees phase coordinates, in which 1024 is one period; who calls it has turned and scaled them.
Every edge in it is soft over about a pixel, so that nothing has to be supersampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.synth.integer import (
    FULL,
    Bits,
    IntArray,
    length,
    sine_of,
    soft_step,
    triangle_wave,
)

LATTICE = 16


@dataclass(frozen=True)
class Knobs:
    """What varies within one family of textures.

    Attributes:
        duty: Where the first colour gives way to the second, about -90 to 90; 0 is half and half.
        gain: Steepness of edges, see `soft_step`.
        lattice: [16, 16] int32 in 0-255, random; the mottled texture is made of it.
    """

    duty: int
    gain: int
    lattice: IntArray


Texture = Callable[[IntArray, IntArray, Knobs], IntArray]


def draw_knobs(bits: Bits, gain: int) -> Knobs:
    """Random knobs; `gain` follows from the size of a period in pixels."""
    lattice = bits.bytes(LATTICE * LATTICE).reshape(LATTICE, LATTICE)
    return Knobs(duty=bits.between(-90, 90), gain=gain, lattice=lattice)


def stripes(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Straight parallel bands."""
    return soft_step(triangle_wave(x) - 256 + knobs.duty, knobs.gain)


def checks(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """A chess board."""
    product = (triangle_wave(x) - 256) * (triangle_wave(y) - 256)
    return soft_step(product >> 7, knobs.gain)


def dots(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Round spots in rows, every second row moved by half a period."""
    shifted = x + ((y >> 10) & 1) * 512
    across, down = (shifted & 1023) - 512, (y & 1023) - 512
    limit = 330 + knobs.duty // 2
    return soft_step((limit * limit - across * across - down * down) >> 9, knobs.gain)


def grid(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Thin lines both ways."""
    return soft_step(np.maximum(triangle_wave(x), triangle_wave(y)) - 370 + knobs.duty // 2, knobs.gain)


def targets(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Rings around the centre."""
    return soft_step(triangle_wave(length(x, y)) - 256 + knobs.duty, knobs.gain)


def waves(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Bands that swing like water."""
    swing = sine_of(x // 2) >> 5
    return soft_step(triangle_wave(y + swing) - 256 + knobs.duty, knobs.gain)


def chevrons(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Bands in sharp zigzag."""
    return soft_step(triangle_wave(x + 2 * triangle_wave(y)) - 256 + knobs.duty, knobs.gain)


def bricks(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """A wall: long stones in rows, every second row moved by half a stone."""
    half = x // 2 + ((y >> 10) & 1) * 512
    lines = np.maximum(2 * triangle_wave(half) - 512, triangle_wave(y))
    return soft_step(lines - 390 + knobs.duty // 2, knobs.gain)


def mottled(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """Irregular patches of value noise."""
    field = _lattice_noise(x, y, knobs.lattice)
    return soft_step(field - 128 + knobs.duty // 4, 2 * knobs.gain)


def gradient(x: IntArray, y: IntArray, knobs: Knobs) -> IntArray:
    """No pattern: one colour fades into the other."""
    field: IntArray = np.clip((x >> 4) + 128 + knobs.duty // 2, 0, FULL)
    return field


def _lattice_noise(x: IntArray, y: IntArray, lattice: IntArray) -> IntArray:
    """Value noise 0-255 that repeats after 16 periods, interpolated between random corners."""
    flat = lattice.ravel()
    left, up = (x >> 10) & (LATTICE - 1), ((y >> 10) & (LATTICE - 1)) * LATTICE
    right, down = (left + 1) & (LATTICE - 1), (up + LATTICE) & (LATTICE * LATTICE - 1)
    across, along = _smooth((x & 1023) >> 2), _smooth((y & 1023) >> 2)
    top: IntArray = flat[up + left] * (FULL - across) + flat[up + right] * across
    bottom: IntArray = flat[down + left] * (FULL - across) + flat[down + right] * across
    field: IntArray = top * (FULL - along) + bottom * along
    return field >> 16


def _smooth(t: IntArray) -> IntArray:
    # 3t^2 - 2t^3 in 1/256: without it the lattice shows as creases.
    return (t * t * (3 * FULL - 2 * t)) >> 16


@lru_cache(maxsize=64)
def _steps(size: int, cells: int) -> tuple[IntArray, IntArray]:
    """For each of `size` pixels the lattice cell that holds it and the weight (0-256) of the next."""
    position = (np.arange(size, dtype=np.int64) * cells * FULL) // size
    return (position >> 8).astype(np.int32), _smooth((position & 255).astype(np.int32))


def noise(bits: Bits, size: int, cells: int, octaves: int) -> IntArray:
    """Value noise over a whole picture, [size, size] int32 in 0-256, mean about 128.

    Args:
        bits: Where the lattice comes from.
        size: Side in pixels.
        cells: Lattice cells along a side in the first octave; each further one doubles them.
        octaves: How many; each has half the weight of the one before.
    """
    total = np.zeros((size, size), dtype=np.int32)
    for octave in range(octaves):
        index, weight = _steps(size, cells << octave)
        side = (cells << octave) + 1
        lattice = bits.bytes(side * side).reshape(side, side)
        rows: IntArray = lattice[index] * (FULL - weight)[:, None] + lattice[index + 1] * weight[:, None]
        rows >>= 4
        field: IntArray = rows[:, index] * (FULL - weight) + rows[:, index + 1] * weight
        total += field >> (octave + 5)
    # The octaves add up to 255 * 2**7 * (2 - 2**(1 - octaves)); twice the contrast, since sums crowd in
    # the middle.
    whole = ((1 << octaves) - 1) << (8 - octaves)
    return np.clip((total // whole) * 2 - 128, 0, FULL)
