"""What a network sees of an image: RGB, or lightness and colour apart, normalised.

Where lightness and colour are apart, one network sees the first channel and another the other two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pretrain.views.colour_spaces import SPACES, to_rounded_lab

Modality = Literal["rgb", "y_dbdr", "l_ab", "learned"]
"""What is fed; the channels of "learned" are those of a generator, see `pretrain.views.learned`."""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet in RGB on the 0-255 scale, as a card's default input spec says."""


@dataclass(frozen=True)
class _Space:
    """How values from 0 to 1 become another space, and its mean and deviation there."""

    convert: Callable[[Tensor], Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def num_branches(modality: Modality) -> int:
    """Networks that share the channels: one for RGB, else one for the first and one for the others."""
    return 1 if modality == "rgb" else 2


def feed(images: Tensor, modality: Modality, dtype: torch.dtype) -> Tensor:
    """uint8 RGB to what networks are fed, in `dtype`.

    In float32 on a CPU, RGB is equal to torchvision's ToTensor and Normalize, bit for bit.

    Args:
        images: [..., 3, height, width] uint8.
        modality: Which channels; not "learned", whose generator the method has.
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


def _same(values: Tensor) -> Tensor:
    return values


_SPACES: dict[Modality, _Space] = {
    # Mean and deviation are divided in float64, then rounded once.
    "rgb": _Space(
        _same,
        (MEAN[0] / 255.0, MEAN[1] / 255.0, MEAN[2] / 255.0),
        (STD[0] / 255.0, STD[1] / 255.0, STD[2] / 255.0),
    ),
    "y_dbdr": _Space(SPACES["ydbdr"].to, (0.457, -0.082, -0.052), (0.500, 1.331, 1.333)),
    "l_ab": _Space(
        to_rounded_lab,
        (50.0, (-86.183 + 98.233) / 2, (-107.857 + 94.478) / 2),
        (50.0, (86.183 + 98.233) / 2, (107.857 + 94.478) / 2),
    ),
}
