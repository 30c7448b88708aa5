"""Views of low and of high frequency: an image blurred, and what the blur took away."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.core.errors import ConfigError

_SIGMAS_EACH_WAY = 4.0
"""Weights further from the middle are below 0.0004 of the middle one."""


def low_pass(values: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur, along rows and along columns, mirrored at the border pixels.

    Not `pretrain.views.blur`, which rounds down to the 256 levels as Pillow does, so that what it takes away
    would hold the rounding too.

    Args:
        values: [..., height, width], float32 or float64, of any size and scale.
        sigma_px: Standard deviation of the weights, in pixels; 0 changes nothing.

    Returns:
        As `values`; summed in float64 and rounded once.

    Raises:
        ConfigError: `sigma_px` is below 0 or not finite.

    Source:
        SciPy `ndimage.gaussian_filter` with `mode="mirror"` and a radius of 4 sigma, rounded up.
        Differs: none.
    """
    if not (math.isfinite(sigma_px) and sigma_px >= 0):
        raise ConfigError(
            f"sigma_px: {sigma_px} is no width of a blur; give a finite number of pixels, 0 or more"
        )
    if sigma_px == 0:
        return values.clone()
    of_rows, of_columns = (_blur_matrix(length, sigma_px).to(values.device) for length in values.shape[-2:])
    # In float64, which neither autocast nor TF32 rounds.
    return (of_rows @ values.double() @ of_columns.T).to(values.dtype)


def _blur_matrix(length: int, sigma_px: float) -> Tensor:
    """[length, length] float64: row i holds what pixel i takes of each pixel."""
    reach = math.ceil(_SIGMAS_EACH_WAY * sigma_px)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma_px) ** 2)
    # Mirrors at both ends: forth and back is one period, as often as the weights reach.
    period = max(2 * (length - 1), 1)
    place = (torch.arange(length)[:, None] + offsets) % period
    pixels = torch.minimum(place, period - place)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, pixels, (weights / weights.sum()).expand(length, -1))


def frequency_split(values: Tensor, sigma_px: float) -> tuple[Tensor, Tensor]:
    """Two views of an image: its low frequencies, and the others.

    Args:
        values: [..., height, width], float32 or float64.
        sigma_px: As in `low_pass`. With 0 the first view is the image, and the second is 0.

    Returns:
        Low frequencies and residual, both as `values`; their sum is `values`, to the rounding of a sum.

    Source:
        Tian et al. 2020, What Makes for Good Views, splits images so.
        Differs: unconfirmed which blur it is there, and what becomes of borders; both are ours.
    """
    low = low_pass(values, sigma_px)
    return low, values - low
