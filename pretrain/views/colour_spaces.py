"""Colour spaces for views made of channels: eight of them, each there and back, each on one scale.

Images are [..., 3, height, width], sRGB from 0 to 1, in float32 or float64. A space gives three channels of
the same shape, which `split` deals out to two views. Every space holds all of the image: what differs is how
much one part of the channels tells about the other.

After `ColourSpace.normalise`, YUV and YCbCr are the same numbers, and so to 0.001 is YDbDr, but for the sign
of its third channel: all three are luma of BT.601, B - Y and R - Y, each by a factor of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import ConfigError

Three = tuple[float, float, float]
Matrix = tuple[Three, Three, Three]
Conversion = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ColourSpace:
    """One space. `to` and `back` are each other's inverse, and neither cuts anything off.

    Both take and give [..., 3, height, width]. There and back is within 1e-12 of the image in float64 and
    within 2e-5 in float32.

    Attributes:
        name: Key in `SPACES`.
        to: sRGB from 0 to 1 to this space, in its own units.
        back: This space to sRGB.
        low: The least that each channel can be for an image, in its own units.
        high: The most.
        channels: Their names.
        source: Where the numbers come from, and how they depart.
    """

    name: str
    to: Conversion
    back: Conversion
    low: Three
    high: Three
    channels: tuple[str, str, str]
    source: str

    def normalise(self, channels: Tensor) -> Tensor:
        """What `to` gives, each channel from [low, high] to [-1, 1]."""
        middle, half = self._scale(channels)
        return (channels - middle) / half

    def denormalise(self, channels: Tensor) -> Tensor:
        """What `normalise` gives, in the channels' own units again."""
        middle, half = self._scale(channels)
        return channels * half + middle

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = np.array(self.low), np.array(self.high)
        middle, half = (
            torch.tensor(numbers, dtype=like.dtype, device=like.device).view(3, 1, 1)
            for numbers in ((low + high) / 2, (high - low) / 2)
        )
        return middle, half


def split(channels: Tensor, first: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Channels dealt out to two views.

    Args:
        channels: [..., channels, height, width].
        first: Numbers of the channels of the first view, from 0, in the order that it gets them.

    Returns:
        [..., len(first), height, width], and the other channels in their own order.

    Raises:
        ConfigError: a view would be empty, a channel comes twice or does not exist.
    """
    num_channels = channels.shape[-3]
    rest = [channel for channel in range(num_channels) if channel not in first]
    if not first or not rest or len(first) + len(rest) != num_channels:
        raise ConfigError(
            f"channels of the first view: {list(first)} does not split {num_channels} channels; give some "
            f"numbers from 0 to {num_channels - 1}, each once, and not all of them"
        )
    return channels[..., list(first), :, :], channels[..., rest, :, :]


def _mixed(values: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    """Each row's weighted sum of the three channels, [..., 3, height, width]."""
    # Not as a product of matrices, which autocast would round to half precision.
    red, green, blue = values.unbind(dim=-3)
    return torch.stack([a * red + b * green + c * blue for a, b, c in rows], dim=-3)


def _inverse(rows: Matrix) -> Matrix:
    first, second, third = np.linalg.inv(np.array(rows, dtype=np.float64)).tolist()
    return tuple(first), tuple(second), tuple(third)


def _colour_differences(luma: Three, second: tuple[float, float], third: tuple[float, float]) -> Matrix:
    """Luma, and two channels of so many times R - Y and so many times B - Y."""
    red, green, blue = luma

    def row(of_red: float, of_blue: float) -> Three:
        both = of_red + of_blue
        return of_red - both * red, -both * green, of_blue - both * blue

    return luma, row(*second), row(*third)


# Source: ITU-R BT.601.
_LUMA: Three = (0.299, 0.587, 0.114)
_YUV = _colour_differences(_LUMA, (0.0, 0.492), (0.877, 0.0))
# The factors that bring B - Y and R - Y to -0.5 to 0.5.
_YCBCR = _colour_differences(_LUMA, (0.0, 0.5 / (1.0 - _LUMA[2])), (0.5 / (1.0 - _LUMA[0]), 0.0))
# Source: CPython `Lib/colorsys.py`, which has them from the FCC's version of NTSC.
_YIQ = _colour_differences((0.30, 0.59, 0.11), (0.74, -0.27), (0.48, 0.41))
# Source: BT.601 luma and SECAM's colour differences, as scikit-image's `rgb2ydbdr` has them.
_YDBDR: Matrix = ((0.299, 0.587, 0.114), (-0.45, -0.883, 1.333), (-1.333, 1.116, 0.217))
# Source: primaries and white (D65) of IEC 61966-2-1 (sRGB), as scikit-image's `rgb2xyz` has them.
_XYZ: Matrix = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_RGB_OF_XYZ = _inverse(_XYZ)

# Source: IEC 61966-2-1, the curve of sRGB.
_STRAIGHT_UP_TO, _SLOPE, _OFFSET, _EXPONENT = 0.04045, 12.92, 0.055, 2.4
# Its two parts miss each other by 2e-9. On the way back they part in the middle of that gap: at its edge,
# rounding would take the end of one for the beginning of the other.
_GAP = (_STRAIGHT_UP_TO / _SLOPE, ((_STRAIGHT_UP_TO + _OFFSET) / (1.0 + _OFFSET)) ** _EXPONENT)
_STRAIGHT_LIGHT_UP_TO = sum(_GAP) / 2


def _linear_light(values: Tensor) -> Tensor:
    curved = ((values + _OFFSET) / (1.0 + _OFFSET)) ** _EXPONENT
    return torch.where(values > _STRAIGHT_UP_TO, curved, values / _SLOPE)


def _of_linear_light(linear: Tensor) -> Tensor:
    # No root of what is below 0, as outside of the cube of sRGB.
    curved = linear.clamp_min(_STRAIGHT_LIGHT_UP_TO) ** (1.0 / _EXPONENT) * (1.0 + _OFFSET) - _OFFSET
    return torch.where(linear > _STRAIGHT_LIGHT_UP_TO, curved, linear * _SLOPE)


def _to_xyz(values: Tensor) -> Tensor:
    return _mixed(_linear_light(values), _XYZ)


def _from_xyz(channels: Tensor) -> Tensor:
    return _of_linear_light(_mixed(channels, _RGB_OF_XYZ))


# Source: CIE 1976 L*a*b*: below delta cubed a straight line goes on with the cube root's value and slope.
_DELTA = 6.0 / 29.0
# What the matrix makes of white, so that no grey has a colour.
_WHITE: Three = (sum(_XYZ[0]), sum(_XYZ[1]), sum(_XYZ[2]))


def _to_lab(values: Tensor) -> Tensor:
    ratios = _to_xyz(values) / values.new_tensor(_WHITE).view(3, 1, 1)
    root = ratios.clamp_min(_DELTA**3) ** (1.0 / 3.0)
    return _lab_of_roots(torch.where(ratios > _DELTA**3, root, ratios / (3.0 * _DELTA**2) + 4.0 / 29.0))


def _lab_of_roots(roots: Tensor) -> Tensor:
    x, y, z = roots.unbind(dim=-3)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], dim=-3)


def _from_lab(channels: Tensor) -> Tensor:
    lightness, a, b = channels.unbind(dim=-3)
    y = (lightness + 16.0) / 116.0
    roots = torch.stack([y + a / 500.0, y, y - b / 200.0], dim=-3)
    ratios = torch.where(roots > _DELTA, roots**3, 3.0 * _DELTA**2 * (roots - 4.0 / 29.0))
    return _from_xyz(ratios * channels.new_tensor(_WHITE).view(3, 1, 1))


def to_rounded_lab(values: Tensor) -> Tensor:
    """Lab of published Lab networks: with scikit-image's constants, for `pretrain.modality`.

    Args:
        values: [..., 3, height, width], sRGB from 0 to 1.

    Source:
        scikit-image `rgb2xyz` and `rgb2lab` (D65, observer of 2 degrees).
        Differs: none; from `SPACES["lab"]` in that the straight part has the rounded constants 0.008856 and
        7.787, by which lightness jumps a little where the two parts meet, and in that white is rounded on its
        own, by which greys have a colour. The two are within 0.005 of each other.
    """
    ratios = _to_xyz(values) / values.new_tensor((0.95047, 1.0, 1.08883)).view(3, 1, 1)
    root = ratios.clamp_min(1e-9) ** (1 / 3)
    return _lab_of_roots(torch.where(ratios > 0.008856, root, 7.787 * ratios + 16 / 116))


def _to_hsv(values: Tensor) -> Tensor:
    red, green, blue = values.unbind(dim=-3)
    value, least = values.amax(dim=-3), values.amin(dim=-3)
    span = value - least
    # Of greys hue is 0, and of black saturation too.
    part = torch.where(span > 0, span, 1.0)
    of_others = torch.where(value == green, 2.0 + (blue - red) / part, 4.0 + (red - green) / part)
    sixths = torch.where(value == red, (green - blue) / part, of_others)
    return torch.stack([(sixths / 6.0) % 1.0, span / torch.where(value > 0, value, 1.0), value], dim=-3)


def _from_hsv(channels: Tensor) -> Tensor:
    hue, saturation, value = channels.unbind(dim=-3)
    # In sixths of the circle from where red, green and blue begin to fall: each falls for one, is least for
    # two, rises for one, and is the value for two.
    places = [(start + 6.0 * hue) % 6.0 for start in (5.0, 3.0, 1.0)]
    falls = [torch.minimum(place, 4.0 - place).clamp(0.0, 1.0) for place in places]
    return torch.stack([value - value * saturation * fall for fall in falls], dim=-3)


def _same(values: Tensor) -> Tensor:
    return values


def _range_of(to: Conversion) -> tuple[Three, Three]:
    """The least and the most of each channel over the cube of sRGB, both at corners of it.

    So it is for sums of channels and for what only grows with each; for a and b of Lab a grid was looked at,
    as the tests do.
    """
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    channels = to(corners.T.reshape(3, 8, 1)).flatten(1)
    (a, b, c), (d, e, f) = channels.amin(dim=1).tolist(), channels.amax(dim=1).tolist()
    return (a, b, c), (d, e, f)


def _space(name: str, to: Conversion, back: Conversion, channels: str, source: str) -> ColourSpace:
    # Hue alone has no corner at its end: it goes once around.
    low, high = ((0.0,) * 3, (1.0,) * 3) if name == "hsv" else _range_of(to)
    first, second, third = channels.split()
    return ColourSpace(name, to, back, low, high, (first, second, third), source)


def _matrix_space(name: str, rows: Matrix, channels: str, source: str) -> ColourSpace:
    back = partial(_mixed, rows=_inverse(rows))
    return _space(name, partial(_mixed, rows=rows), back, channels, source)


_ALL = (
    _space("rgb", _same, _same, "R G B", "IEC 61966-2-1, with its curve."),
    _space(
        "hsv",
        _to_hsv,
        _from_hsv,
        "hue saturation value",
        "Smith 1978; CPython `Lib/colorsys.py`. Hue in turns of the circle, 0 for greys.",
    ),
    _space(
        "lab",
        _to_lab,
        _from_lab,
        "L a b",
        "CIE 1976 with exact constants; white is that of the matrix of XYZ. Not scikit-image's rounded ones.",
    ),
    _matrix_space("yuv", _YUV, "Y U V", "BT.601 luma, 0.492 (B - Y) and 0.877 (R - Y), as OpenCV has them."),
    _matrix_space(
        "yiq", _YIQ, "Y I Q", "The FCC's NTSC, as in CPython `Lib/colorsys.py`; luma is not BT.601's."
    ),
    _matrix_space(
        "ycbcr", _YCBCR, "Y Cb Cr", "ITU-R BT.601, full range, colour around 0, as in JPEG less 128."
    ),
    _matrix_space(
        "ydbdr", _YDBDR, "Y Db Dr", "BT.601 luma and SECAM's differences, as scikit-image has them."
    ),
    _space("xyz", _to_xyz, _from_xyz, "X Y Z", "CIE 1931 of linear light, matrix of sRGB to six decimals."),
)
SPACES: dict[str, ColourSpace] = {space.name: space for space in _ALL}
"""All spaces by name. Hue is circular, but a network sees it as a number that jumps at red, from 1 to 0."""
