"""Colourful Moving Digits: handwritten digits move over textures, and two views share what one chooses.

View 1 is a sequence of frames, view 2 one frame. Both come from three factors (digit, position, background)
that are known, independent and uniform over finite sets, so the information that two views share is known
in closed form, and one can ask which factors a representation keeps when views share more than one.

Source:
    Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, experiment "Colorful
    Moving-MNIST".
    Differs: scikit-learn's 8x8 digits in place of MNIST; generated textures, a small fixed set of them, in
    place of images of STL-10 (so that "which background" is a class); positions and speeds are whole
    pixels; a digit has a random colour in each view, or is white. What the paper draws from which
    distribution, and whether "the same digit" is the same handwritten sample there, is not confirmed: see
    `same_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.core.errors import UsageError, did_you_mean
from bench.synth.background import background
from bench.synth.digit_pictures import NUM_CLASSES, SAMPLES, FrameFactors, contrasting_colour, draw
from bench.synth.integer import Bits, ByteArray, IntArray

GENERATOR_VERSION = 1
"""Rises whenever a pixel or a label of any view changes."""

FACTORS = ("digit", "position", "background")
SPLITS = ("train", "test")

GRID = 4
"""`LabelledFrames.position_cell` counts the cells of a grid of 4 x 4."""

MIN_SIZE_PX, MAX_SIZE_PX = 32, 128
MIN_DIGIT_PX = 8

DigitColour = Literal["contrasting", "white"]
WHITE: IntArray = np.full(3, 255, np.int32)
WHITE.setflags(write=False)

# Kinds of places in the "synth" stream; 0 and 1 are the scenes and portraits of `bench.synth.scene`.
_BACKGROUND, _PAIR, _LABELLED = 2, 3, 4


@dataclass(frozen=True)
class SequenceFactors:
    """What view 1 shows.

    Attributes:
        digit: Class, 0-9.
        sample, background: As in `FrameFactors`.
        positions: x and y of the upper left pixel of the digit's box in each frame.
        velocity: Pixels per frame along x and y, with sign, at the first frame; walls turn the sign.
    """

    digit: int
    sample: int
    background: int
    positions: tuple[tuple[int, int], ...]
    velocity: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two views with what is in them.

    Attributes:
        sequence: [frames, size, size, 3] uint8 RGB, view 1.
        frame: [size, size, 3] uint8 RGB, view 2.
    """

    sequence: ByteArray
    frame: ByteArray
    sequence_factors: SequenceFactors
    frame_factors: FrameFactors


@dataclass(frozen=True)
class LabelledFrames:
    """Single frames with labels, for linear heads.

    Attributes:
        pictures: [frames, size, size, 3] uint8 RGB.
        digit: [frames] int64, class 0-9.
        position: [frames, 2] float32 in 0-1: x and y; 0 touches the left or upper wall, 1 the other.
        position_cell: [frames] int64 in 0-15: row by row, the cell of a 4 x 4 grid over the positions. Cells
            differ by a pixel in width where 4 does not divide the number of places along an axis.
        background: [frames] int64, class below `num_backgrounds`.
    """

    pictures: ByteArray
    digit: npt.NDArray[np.int64]
    position: npt.NDArray[np.float32]
    position_cell: npt.NDArray[np.int64]
    background: npt.NDArray[np.int64]


def bounce(start: int, velocity: int, num_steps: int, num_places: int) -> npt.NDArray[np.int64]:
    """Where something is that moves along a line of whole pixels between two walls.

    The walls lie half a pixel outside the first and the last place, so a reflected path steps on the last
    place twice. So the motion only turns a ring of 2 * num_places states (place and direction): it keeps
    a uniform distribution uniform, and the next place is exactly as random as the first.

    Args:
        start: Place at step 0, from 0 to num_places - 1.
        velocity: Pixels per step, with sign.
        num_steps: How many places to return.
        num_places: Places between the walls.

    Returns:
        [num_steps] int64, places from step 0 on.
    """
    ring = 2 * num_places
    first = start if velocity >= 0 else ring - 1 - start
    state = (first + abs(velocity) * np.arange(num_steps, dtype=np.int64)) % ring
    return np.minimum(state, ring - 1 - state)


class MovingDigits:
    """The generator: every view is a pure function of (seed, split, index) and of what is to be shared.

    Digits of "train" and "test" are different handwritten samples; backgrounds are the same finite set in
    both, since which one it is has to be recognised.

    Args:
        seed: Of everything that is drawn.
        size_px: Side of a frame, 32 to 128 px.
        num_frames: Frames of view 1, 2 to 1,000. From 3 on a sequence shows its velocity also at a wall.
        num_backgrounds: Size of the set of background pictures, 2 to 1,000.
        digit_px: Side of the digit's box, 8 px to `size_px` - 3; 7/16 of `size_px` if left out, as the 28 of
            64 px in Moving MNIST.
        digit_colour: contrasting: random in each view, one that shows before the background; white.
        background_brightness: What pixels of the backgrounds are multiplied by, above 0 to 1. White digits
            of 20 px before pictures at half of their brightness are learnt without labels by small networks
            in a minute or two on a CPU; contrasting ones of 14 px before bright pictures were not, nor with
            labels.
        same_sample: A shared digit is the same handwritten sample in both views; otherwise the same class
            in another random handwriting, which then is all that the digits have in common.

    Attributes:
        backgrounds: [num_backgrounds, size, size, 3] uint8, the set.
        num_places: Places of the digit's box along each axis.
        max_speed: Speeds along an axis are uniform from 1 to this: 1/16 of `size_px`.

    Raises:
        UsageError: a number out of its range.
    """

    def __init__(
        self,
        seed: int,
        *,
        size_px: int = 32,
        num_frames: int = 10,
        num_backgrounds: int = 32,
        digit_px: int | None = None,
        digit_colour: DigitColour = "contrasting",
        background_brightness: float = 1.0,
        same_sample: bool = False,
    ) -> None:
        """Check the numbers and generate the backgrounds."""
        ranges = [
            ("size_px", size_px, MIN_SIZE_PX, MAX_SIZE_PX),
            ("num_frames", num_frames, 2, 1000),
            ("num_backgrounds", num_backgrounds, 2, 1000),
        ]
        if digit_px is None:
            digit_px = size_px * 7 // 16
        else:
            # At least GRID places along an axis, so that no cell of the grid is empty.
            ranges.append(("digit_px", digit_px, MIN_DIGIT_PX, size_px - GRID + 1))
        problems = [
            f"moving digits: {name} is {value}, expected {low} to {high:,}"
            for name, value, low, high in ranges
            if not low <= value <= high
        ]
        if not 0.0 < background_brightness <= 1.0:
            problems.append(
                f"moving digits: background_brightness is {background_brightness}, expected above 0 to 1"
            )
        if problems:
            raise UsageError.of(problems)
        self.digit_colour = digit_colour
        self.seed, self.same_sample = seed, same_sample
        self.size_px, self.num_frames, self.digit_px = size_px, num_frames, digit_px
        self.num_places = size_px - digit_px + 1
        self.max_speed = size_px // 16
        pictures = [background(Bits(seed, _BACKGROUND, one), size_px) for one in range(num_backgrounds)]
        bright = np.stack(pictures).transpose(0, 2, 3, 1).astype(np.int32)
        # in whole numbers, so that pixels are equal everywhere
        self.backgrounds: ByteArray = (bright * round(256 * background_brightness) // 256).astype(np.uint8)
        self.backgrounds.setflags(write=False)

    def pair(self, index: int, shared: Iterable[str], split: str) -> Pair:
        """Two views that have the factors in `shared` in common.

        What "in common" means: *digit*, the same class (and sample, see `same_sample`); *position*, the frame
        shows the place where the sequence's digit would be one frame after its last; *background*, the same
        picture. A factor that is not shared is drawn anew, so that it may coincide by chance. The sequence
        and all that is drawn anew depend on (seed, split, index) alone: pairs of one index with other
        factors shared differ in these factors only (and in the frame's colour, if the background does).

        Args:
            index: Which pair.
            shared: Any of `FACTORS`, also none.
            split: "train" or "test".

        Raises:
            UsageError: an unknown factor or split.
        """
        shared = _known(shared, FACTORS, "factor")
        bits = self._bits(_PAIR, split, index)
        first = self._still(bits, split)
        velocity_x, velocity_y = (bits.between(1, self.max_speed) * (1 - 2 * bits.below(2)) for _ in "xy")
        x = bounce(first.position[0], velocity_x, self.num_frames + 1, self.num_places).tolist()
        y = bounce(first.position[1], velocity_y, self.num_frames + 1, self.num_places).tolist()
        *positions, next_position = zip(x, y, strict=True)
        sequence_colour = self._colour(bits, first.background)

        new = self._still(bits, split)
        keeps_digit = "digit" in shared
        frame = FrameFactors(
            digit=first.digit if keeps_digit else new.digit,
            sample=first.sample if keeps_digit and self.same_sample else new.sample,
            background=first.background if "background" in shared else new.background,
            position=next_position if "position" in shared else new.position,
        )
        frame_colour = self._colour(bits, frame.background)

        stills = [replace(first, position=position) for position in positions]
        colours = [sequence_colour] * len(stills) + [frame_colour]
        pictures = draw(self.backgrounds, [*stills, frame], colours, self.digit_px)
        sequence = SequenceFactors(
            first.digit, first.sample, first.background, tuple(positions), (velocity_x, velocity_y)
        )
        return Pair(pictures[:-1], pictures[-1], sequence, frame)

    def frames(self, indices: Sequence[int], split: str) -> LabelledFrames:
        """Single frames with labels, drawn apart from those of the pairs.

        Args:
            indices: Which frames; each depends on its own index alone.
            split: "train" or "test".

        Raises:
            UsageError: no index, or an unknown split.
        """
        if not len(indices):
            raise UsageError("moving digits: no frame asked for, expected one index or more")
        factors, colours = [], []
        for index in indices:
            bits = self._bits(_LABELLED, split, index)
            factors.append(self._still(bits, split))
            colours.append(self._colour(bits, factors[-1].background))
        position = np.array([one.position for one in factors], dtype=np.int64)
        cells = position * GRID // self.num_places
        return LabelledFrames(
            pictures=draw(self.backgrounds, factors, colours, self.digit_px),
            digit=np.array([one.digit for one in factors], dtype=np.int64),
            position=(position / (self.num_places - 1)).astype(np.float32),
            position_cell=cells[:, 1] * GRID + cells[:, 0],
            background=np.array([one.background for one in factors], dtype=np.int64),
        )

    def true_information(self, shared: Iterable[str], split: str = "train") -> float:
        """Mutual information between the factors of view 1 and those of view 2, in nats.

        Exact for the factors: they are independent and uniform, one that is shared is a function of view 1
        and adds its entropy (log 10 for the digit; log of the number of pictures for the background; log of
        the number of places for the position, which `bounce` keeps uniform), one that is not adds nothing.
        With `same_sample` the digit adds log(10 * samples per class), which differs between splits.

        For the pixels it is an upper bound: given its factors, a view depends on random numbers (its colour)
        that the other view does not see, so pixels cannot share more than factors do. They share less where
        they do not show the factors in full, e.g. a digit in a poor handwriting.

        Args:
            shared: Any of `FACTORS`, also none.
            split: "train" or "test".

        Raises:
            UsageError: an unknown factor or split.
        """
        shared = _known(shared, FACTORS, "factor")
        (split,) = _known([split], SPLITS, "split")
        num_digits = NUM_CLASSES * (len(SAMPLES[split]) if self.same_sample else 1)
        values = {"digit": num_digits, "position": self.num_places**2, "background": len(self.backgrounds)}
        return math.fsum(math.log(values[factor]) for factor in shared)

    def _bits(self, kind: int, split: str, index: int) -> Bits:
        (split,) = _known([split], SPLITS, "split")
        return Bits(self.seed, kind, SPLITS.index(split), index)

    def _colour(self, bits: Bits, picture: int) -> IntArray:
        """Of a digit before one of the backgrounds; draws as many numbers whatever the colour is."""
        contrasting = contrasting_colour(bits, self.backgrounds[picture])
        return WHITE if self.digit_colour == "white" else contrasting

    def _still(self, bits: Bits, split: str) -> FrameFactors:
        """Draw all factors of a frame, each uniform."""
        digit, sample = bits.below(NUM_CLASSES), SAMPLES[split][bits.below(len(SAMPLES[split]))]
        scene = bits.below(len(self.backgrounds))
        return FrameFactors(digit, sample, scene, (bits.below(self.num_places), bits.below(self.num_places)))


def _known(names: Iterable[str], known: Sequence[str], what: str) -> frozenset[str]:
    """The names as a set, or an error for the first that is unknown."""
    names = frozenset(names)
    for name in sorted(names - frozenset(known)):
        choices = ", ".join(f'"{one}"' for one in known)
        raise UsageError(
            f'moving digits: "{name}" is no {what}, expected {choices}.{did_you_mean(name, known)}'
        )
    return names
