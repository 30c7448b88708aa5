"""What a network sees of an image: RGB, or lightness and colour apart, normalised.

Where lightness and colour are apart, one network sees the first channel and another the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Modality = Literal["rgb", "y_dbdr", "l_ab"]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet in RGB on the 0-255 scale, as a card's default input spec says."""

# Source: ITU-R BT.601 luma and SECAM's colour differences, as scikit-image's `rgb2ydbdr` has them.
_YDBDR = ((0.299, 0.587, 0.114), (-0.45, -0.883, 1.333), (-1.333, 1.116, 0.217))
# Source: IEC 61966-2-1 (sRGB, D65), as scikit-image's `rgb2xyz` and `rgb2lab` have it, observer of 2 degrees.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


@dataclass(frozen=True)
class _Space:
    """How values from 0 to 1 become another space, and its mean and deviation there."""

    convert: Callable[[Tensor], Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def num_branches(modality: Modality) -> int:
    """Networks that share the channels: one for RGB, else one for lightness and one for colour."""
    return 1 if modality == "rgb" else 2


def feed(images: Tensor, modality: Modality, dtype: torch.dtype) -> Tensor:
    """uint8 RGB to what networks are fed, in `dtype`.

    In float32 on a CPU, RGB is equal to torchvision's ToTensor and Normalize, bit for bit.

    Args:
        images: [..., 3, height, width] uint8.
        modality: Which channels.
        dtype: float32 or float64.

    Returns:
        [..., 3, height, width]: R, G, B; or lightness and two channels of colour.

    Source:
        HobbitLong/PyContrast `pycontrast/datasets/util.py` (YDbDr and its mean and deviation); HobbitLong/CMC
        `train_CMC.py` (Lab and half of the range of each channel).
        Differs: converted in `dtype`, where they convert in float64 and round once.
    """
    space = _SPACES[modality]
    values = space.convert(images.to(dtype).div(255.0))
    mean, std = (
        torch.tensor(numbers, dtype=torch.float64).to(dtype).to(images.device).view(3, 1, 1)
        for numbers in (space.mean, space.std)
    )
    return values.sub_(mean).div_(std)


def _mixed(values: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    # Not as a product of matrices, which autocast would round to half precision.
    red, green, blue = values.unbind(dim=-3)
    return torch.stack([a * red + b * green + c * blue for a, b, c in rows], dim=-3)


def _to_ydbdr(values: Tensor) -> Tensor:
    return _mixed(values, _YDBDR)


def _to_lab(values: Tensor) -> Tensor:
    linear = torch.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    white = torch.tensor(_WHITE, dtype=values.dtype, device=values.device).view(3, 1, 1)
    ratios = _mixed(linear, _XYZ) / white
    x, y, z = torch.where(
        ratios > 0.008856, ratios.clamp_min(1e-9) ** (1 / 3), 7.787 * ratios + 16 / 116
    ).unbind(dim=-3)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], dim=-3)


def _same(values: Tensor) -> Tensor:
    return values


_SPACES: dict[Modality, _Space] = {
    # Mean and deviation are divided in float64, then rounded once.
    "rgb": _Space(
        _same,
        (MEAN[0] / 255.0, MEAN[1] / 255.0, MEAN[2] / 255.0),
        (STD[0] / 255.0, STD[1] / 255.0, STD[2] / 255.0),
    ),
    "y_dbdr": _Space(_to_ydbdr, (0.457, -0.082, -0.052), (0.500, 1.331, 1.333)),
    "l_ab": _Space(
        _to_lab,
        (50.0, (-86.183 + 98.233) / 2, (-107.857 + 94.478) / 2),
        (50.0, (86.183 + 98.233) / 2, (107.857 + 94.478) / 2),
    ),
}
