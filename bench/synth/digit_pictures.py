"""Real handwritten digits, small and smooth, and how one is laid over a picture in a colour that shows.

The digits are those that come with scikit-learn (8x8, 17 levels of grey), so nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image

from bench.synth.integer import Bits, ByteArray, IntArray, colour, mix

NUM_CLASSES = 10

SAMPLES = {"train": range(140), "test": range(140, 174)}
"""Handwritten samples of each split, numbered within their class in the order of scikit-learn's file.

Every class has the same number (the rarest, 8, has 174 in all), so that a class and a sample can be uniform
at once. The test split is the end of the file and not a random fifth because neighbours in the file are
alike: a nearest neighbour classifier finds 98.4 % of a random fifth but 95.6 % of the last one.
"""

_NATIVE_PX = 8
_NUM_COLOURS = 8


@dataclass(frozen=True)
class FrameFactors:
    """What one frame shows.

    Attributes:
        digit: Class, 0-9.
        sample: Which handwritten sample of the class, see `SAMPLES`.
        background: Index into the set of backgrounds.
        position: x and y of the upper left pixel of the digit's box.
    """

    digit: int
    sample: int
    background: int
    position: tuple[int, int]


@cache
def handwriting() -> ByteArray:
    """All digits as they ship: [class 10, sample 174, 8, 8] uint8, ink from 0 to 16.

    Source:
        scikit-learn, `sklearn.datasets.load_digits`: the test part of the UCI set "Optical Recognition of
        Handwritten Digits" of E. Alpaydin and C. Kaynak.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    per_class = SAMPLES["test"].stop
    images = [data.images[data.target == digit][:per_class] for digit in range(NUM_CLASSES)]
    ink = np.stack(images).astype(np.uint8)
    ink.setflags(write=False)
    return ink


@lru_cache(maxsize=4)
def covers(digit_px: int) -> ByteArray:
    """How much each digit covers what is behind it.

    Args:
        digit_px: Side of the square box, its margin included.

    Returns:
        [class 10, sample 174, digit_px, digit_px] uint8: 0 leaves the background, 255 hides it. A margin of
        one native pixel lets strokes at the border of the 8x8 picture end softly inside the box.
    """
    ink = handwriting()
    framed = np.pad(ink.astype(np.int32) * 255 // 16, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.uint8)
    flat = framed.reshape(-1, _NATIVE_PX + 2, _NATIVE_PX + 2)
    size = (digit_px, digit_px)
    large = np.stack(
        [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in flat]
    )
    # Grey levels of 8x8 are blurred strokes. Cutting off the faintest quarter and the strongest one makes
    # the body of a stroke solid and leaves a soft edge.
    solid = np.clip((large.astype(np.int32) - 64) * 2, 0, 255).astype(np.uint8)
    solid = solid.reshape(*ink.shape[:2], *size)
    solid.setflags(write=False)
    return solid


def contrasting_colour(bits: Bits, picture: ByteArray) -> IntArray:
    """A random colour that differs from a picture: of eight, the one farthest from its nearest tone.

    Args:
        bits: Where the eight come from; always as many numbers are drawn.
        picture: [size, size, 3] uint8, what the colour will stand before.

    Returns:
        [3] int32 in 0-255.
    """
    step = picture.shape[0] // 8
    tones = picture[step // 2 :: step, step // 2 :: step].reshape(-1, 3).astype(np.int32)
    choices = np.stack([colour(bits).reshape(3) for _ in range(_NUM_COLOURS)])
    distances = np.abs(choices[:, None] - tones[None]).sum(axis=2).min(axis=1)
    best: IntArray = choices[int(np.argmax(distances))]
    return best


def draw(
    backgrounds: ByteArray, frames: Sequence[FrameFactors], colours: Sequence[IntArray], digit_px: int
) -> ByteArray:
    """Lay one digit over one background for each frame.

    Args:
        backgrounds: [backgrounds, size, size, 3] uint8, left as they are.
        frames: What each frame shows; the digit's box lies inside.
        colours: One for each frame, [3] int32 in 0-255.
        digit_px: Side of the digit's box.

    Returns:
        [frames, size, size, 3] uint8.
    """
    pictures = backgrounds[[frame.background for frame in frames]]
    cover = covers(digit_px)[[frame.digit for frame in frames], [frame.sample for frame in frames]]
    corners, box = np.array([frame.position for frame in frames]), np.arange(digit_px)
    rows = corners[:, 1, None, None] + box[:, None]
    columns = corners[:, 0, None, None] + box
    window = np.arange(len(frames))[:, None, None], rows, columns
    factor = cover.astype(np.int32)[..., None]
    factor += factor >> 7  # 255 becomes 256, the 1 of `mix`
    paint = np.stack(colours)[:, None, None, :]
    pictures[window] = mix(pictures[window].astype(np.int32), paint, factor)
    return pictures
