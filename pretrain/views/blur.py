"""The two blurs of views on batches: Pillow's three box filters, and a Gaussian filter of so many taps.

Levels are [batch, 3, height, width] float32, whole numbers from 0 to 255, as in `pretrain.views.colour`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pretrain.views.colour import divide

_PASSES = 3
_ONE, _HALF = 1 << 24, 1 << 23
"""Weights of a box are whole numbers of 24 binary places."""


def box_blur(levels: Tensor, sigma_px: npt.NDArray[np.float64]) -> Tensor:
    """Pillow's `GaussianBlur(radius=sigma)`: a box filter three times along rows, three times along columns.

    A box of radius r + a, r whole, counts the 2 r + 1 middle values fully and the two beside them in part;
    beyond the border, the last value goes on.

    Args:
        levels: The images.
        sigma_px: [batch].

    Source:
        Pillow `src/libImaging/BoxBlur.c`, after Gwosdek et al. 2011.
        Differs: none.
    """
    boxes = [_box(float(sigma)) for sigma in sigma_px]
    values = levels.to(torch.int32)
    for radius in sorted({radius for radius, _, _ in boxes}):
        rows = [row for row, box in enumerate(boxes) if box[0] == radius]
        weights = torch.tensor([boxes[row][1:] for row in rows], dtype=torch.int32).to(levels.device)
        full, part = (weight.view(-1, 1, 1, 1) for weight in weights.unbind(dim=1))
        some = values if len(rows) == len(boxes) else values[rows]
        for dim in (3, 2):
            for _ in range(_PASSES):
                some = _box_pass(some, dim, radius, full, part)
        if len(rows) == len(boxes):
            values = some
        else:
            values[rows] = some
    return values.float()


def _box(sigma_px: float) -> tuple[int, int, int]:
    """Whole radius, weight of a middle value, weight of the two beside, of 2^24; in C's float and double."""
    single = np.float32
    variance = single(single(sigma_px) * single(sigma_px) / single(_PASSES))
    length = single(np.sqrt(12.0 * float(variance) + 1.0))
    whole = single(np.floor((float(length) - 1.0) / 2.0))
    part = (2 * whole + single(1)) * (whole * (whole + single(1)) - single(3) * variance)
    part /= single(6) * (variance - (whole + single(1)) * (whole + single(1)))
    radius = single(whole + part)
    full = int(single(_ONE) / (radius * single(2) + single(1)))
    return int(radius), full, (_ONE - (2 * int(radius) + 1) * full) // 2


def _box_pass(values: Tensor, dim: int, radius: int, full: Tensor, part: Tensor) -> Tensor:
    length, reach = values.shape[dim], radius + 1
    first, last = values.narrow(dim, 0, 1), values.narrow(dim, length - 1, 1)
    padded = torch.cat([first] * reach + [values] + [last] * reach, dim=dim)
    middle = values.clone()
    for shift in range(1, radius + 1):
        middle += padded.narrow(dim, reach - shift, length)
        middle += padded.narrow(dim, reach + shift, length)
    beside = padded.narrow(dim, 0, length) + padded.narrow(dim, 2 * reach, length)
    # Sums of 32 bits without a sign, in a type that has one: the shift drags it in, the mask takes it out.
    total = middle.mul_(full).add_(beside.mul_(part)).add_(_HALF)
    return (total >> 24).bitwise_and_(255)


def tap_blur(levels: Tensor, sigma_px: npt.NDArray[np.float64], taps: int) -> Tensor:
    """`bench.images.operations.gaussian_blur` of each image, term after term in the same order.

    Args:
        levels: The images; both sides longer than `taps // 2`.
        sigma_px: [batch].
        taps: Odd length of the filter.

    Source:
        As there.
        Differs: as there, and from there in nothing.
    """
    reach = taps // 2
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma_px[:, None] * sigma_px[:, None]))
    filters = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    values = divide(levels, 255.0)
    for dim, border in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        values = _filtered(F.pad(values, border, mode="reflect"), filters, dim, values.shape[dim])
    return values.mul_(255.0).floor_()


def _filtered(padded: Tensor, filters: npt.NDArray[np.float32], dim: int, length: int) -> Tensor:
    """Not a convolution of torch: it chooses its own order of terms, and a value may fall below a level."""
    weights = torch.from_numpy(filters).to(padded.device).view(len(filters), -1, 1, 1, 1).unbind(dim=1)
    # A weight that is 0 in float32, as far ones of a narrow filter are, adds nothing.
    taps = np.flatnonzero(filters.any(axis=0)).tolist()
    total = padded.narrow(dim, taps[0], length) * weights[taps[0]]
    term = torch.empty_like(total)
    for tap in taps[1:]:
        torch.mul(padded.narrow(dim, tap, length), weights[tap], out=term)
        total += term
    return total
