"""Integer arithmetic to draw with: raw random bits, sine and square root tables, waves, colours.

No float touches a pixel, and no NumPy distribution either: their streams may change with the version of
NumPy, while the raw output of the Philox counter generator is fixed by its definition.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from bench.core.rng import derive

IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

TURN = 1024
"""Angles count in 1/1024 of a full turn; a wave has the same period, so that `& 1023` wraps both."""

TRIG_ONE = 1 << 14
"""The fixed-point 1 of sine and cosine."""

FULL = 256
"""The fixed-point 1 of mixing factors and of light."""

_ROOT_SHIFT = 11
_ROOT_SIZE = 1 << 15


class Bits:
    """Random integers of one place of the "synth" stream, drawn in order.

    Args:
        seed: The data set's seed.
        place: Which picture: (kind, index).
    """

    def __init__(self, seed: int, *place: int) -> None:
        """Start at the first number of the place."""
        self._philox = np.random.Philox(key=derive(seed, "synth", *place))

    def below(self, limit: int) -> int:
        """An integer in [0, limit), limit at most 2**32; its bias of limit / 2**32 does not matter here."""
        raw = int(self._philox.random_raw())
        return ((raw >> 32) * limit) >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, part: int, whole: int) -> bool:
        """True in `part` of `whole` cases."""
        return self.below(whole) < part

    def bytes(self, count: int) -> IntArray:
        """[count] int32 in 0-255."""
        raw = np.asarray(self._philox.random_raw((count + 7) // 8), dtype="<u8")
        return raw.view(np.uint8)[:count].astype(np.int32)


@cache
def _sine_table() -> tuple[int, ...]:
    # Bhaskara's rational approximation (7th century), exact in integers: off by 0.0016 at most, which no
    # picture shows. sin(pi t) = 16 t (1 - t) / (5 - 4 t (1 - t)).
    half = TURN // 2
    first = [16 * TRIG_ONE * k * (half - k) // (5 * half * half - 4 * k * (half - k)) for k in range(half)]
    return tuple(first + [-value for value in first])


def sine(angle: int) -> int:
    """Sine of `angle` / 1024 turns, times `TRIG_ONE`."""
    return _sine_table()[angle % TURN]


def cosine(angle: int) -> int:
    """Cosine of `angle` / 1024 turns, times `TRIG_ONE`."""
    return _sine_table()[(angle + TURN // 4) % TURN]


@cache
def _sine_array() -> IntArray:
    return np.array(_sine_table(), dtype=np.int32)


def sine_of(angles: IntArray) -> IntArray:
    """Sine of each angle (1/1024 turns), times `TRIG_ONE`."""
    result: IntArray = _sine_array()[angles & (TURN - 1)]
    return result


@cache
def _root_table() -> IntArray:
    middle = 1 << (_ROOT_SHIFT - 1)
    roots = [math.isqrt((k << _ROOT_SHIFT) + middle) for k in range(_ROOT_SIZE)]
    return np.array(roots, dtype=np.int32)


def length(x: IntArray, y: IntArray) -> IntArray:
    """Length of each vector; |x| and |y| up to 5,000, exact to about 30 near zero, better further out."""
    result: IntArray = _root_table()[np.minimum((x * x + y * y) >> _ROOT_SHIFT, _ROOT_SIZE - 1)]
    return result


def triangle_wave(phase: IntArray) -> IntArray:
    """A wave of period 1024 from 512 (at phase 0) down to 0 (at 512) and up again."""
    result: IntArray = np.abs((phase & (TURN - 1)) - TURN // 2)
    return result


def soft_step(distance: IntArray, gain: int) -> IntArray:
    """Mixing factor 0-256: 128 at distance 0, rising by `gain` per unit; a hard edge would flicker."""
    return np.clip(distance * gain + FULL // 2, 0, FULL)


def mix(low: IntArray, high: IntArray, factor: IntArray) -> IntArray:
    """`low` where factor is 0, `high` where it is 256; shapes broadcast."""
    return low + (((high - low) * factor) >> 8)


def colour(bits: Bits) -> IntArray:
    """A random colour, [3, 1, 1] int32 in 0-255: any hue, from pale to full, from half dark to bright."""
    hue, pale, value = bits.below(1536), bits.between(30, 255), bits.between(50, 255)
    channels = []
    for shift in (0, 512, 1024):
        # A channel is full for a third of the colour wheel, absent for a third, and ramps in between.
        away = abs((hue - shift + 768) % 1536 - 768)
        part = min(max(512 - away, 0), 255)
        channels.append(value * (255 - (pale * (255 - part)) // 255) // 255)
    return np.array(channels, dtype=np.int32).reshape(3, 1, 1)


def luminance(rgb: IntArray) -> int:
    """Brightness of one colour, 0-255; weights 77, 150, 29 of 256 (ITU-R BT.601)."""
    red, green, blue = rgb.ravel().tolist()
    return int(77 * red + 150 * green + 29 * blue) >> 8
