"""Backgrounds: two of the objects' own textures, joined along an irregular border, in random colours.

They are made of what objects are made of, so that "there is a pattern" or "there is an edge" does not give
an object away.
"""

from __future__ import annotations

import numpy as np

from bench.synth import textures
from bench.synth.integer import TURN, Bits, IntArray, colour, cosine, mix, sine, soft_step
from bench.synth.layout import CLASSES, SIDE


def background(bits: Bits, size: int) -> IntArray:
    """A picture with no object: [3, size, size] int32 in 0-255."""
    picture = _surface(bits, size)
    if bits.chance(2, 3):
        border = soft_step(textures.noise(bits, size, 2, 3) - bits.between(90, 160), 6)
        picture = mix(picture, _surface(bits, size), border)
    return picture


def _surface(bits: Bits, size: int) -> IntArray:
    """One textured surface; nearly half of them plain value noise, the rest a pattern over it."""
    first, second, third = (colour(bits) for _ in range(3))
    cells = bits.between(2, 5)
    cloud = textures.noise(bits, size, cells, 4)
    picture = mix(first, second, cloud)
    if bits.chance(4, 7):
        pattern = _pattern(bits, size)
        # Rarely at full strength: real backgrounds are quieter than the things before them.
        picture = mix(picture, third, (pattern * bits.between(80, 230)) >> 8)
    return picture


def _pattern(bits: Bits, size: int) -> IntArray:
    texture = CLASSES[bits.below(len(CLASSES))].texture
    angle, periods = bits.below(TURN), bits.between(4, 14)
    axis = (np.arange(size, dtype=np.int32) * SIDE + SIDE // 2) // size
    x, y = axis[None, :] * (cosine(angle) >> 2), axis[:, None] * (sine(angle) >> 2)
    u = ((x + y) >> 12) * periods >> 2
    x, y = axis[None, :] * (sine(angle) >> 2), axis[:, None] * (cosine(angle) >> 2)
    v = ((y - x) >> 12) * periods >> 2
    gain = max(1, min(size // (periods * 4), 6))
    phase_u, phase_v = bits.below(TURN), bits.below(TURN)
    return texture(u + phase_u, v + phase_v, textures.draw_knobs(bits, gain))
