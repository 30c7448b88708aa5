"""Rotations, shears and shifts of batches: each pixel comes from a place between four or sixteen others.

Levels are [batch, 3, height, width] float32, as in `pretrain.views.colour`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.images.randaugment import DrawnOperation, Resample

Sources = tuple[float, float, float, float, float, float]
"""Where the pixel (x, y) comes from: a x + b y + c, d x + e y + f."""


def sources(operation: DrawnOperation, width: int, height: int) -> Sources:
    """Where pixels come from, as `bench.images.randaugment.apply_operation` tells Pillow.

    Source:
        Pillow `src/PIL/Image.py`, `rotate` about the middle; the others as there.
    """
    name, argument = operation.name, operation.argument
    if name == "Rotate":
        angle = -math.radians(argument % 360.0)
        # Pillow rounds to 15 decimals.
        cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
        middle_x, middle_y = width / 2.0, height / 2.0
        from_x, from_y = cos * -middle_x + sin * -middle_y, -sin * -middle_x + cos * -middle_y
        return cos, sin, from_x + middle_x, -sin, cos, from_y + middle_y
    if name == "ShearX":
        return 1.0, argument, 0.0, 0.0, 1.0, 0.0
    if name == "ShearY":
        return 1.0, 0.0, 0.0, argument, 1.0, 0.0
    if name == "TranslateXRel":
        return 1.0, 0.0, argument * width, 0.0, 1.0, 0.0
    if name == "TranslateYRel":
        return 1.0, 0.0, 0.0, 0.0, 1.0, argument * height
    raise KeyError(name)


def move(levels: Tensor, where_from: list[Sources], resample: Resample, fill: tuple[int, int, int]) -> Tensor:
    """Each image with its pixels fetched from elsewhere.

    Args:
        levels: The images.
        where_from: One for each image.
        resample: Between four pixels, or sixteen.
        fill: RGB of what comes from outside.

    Source:
        Pillow `src/libImaging/Geometry.c`, `affine_transform`, `bilinear_filter32RGB`, `bicubic_filter32RGB`.
        Differs: none on a CPU. On a GPU nothing is known to differ; what is tolerated is in
        `tests/gpu/test_views.py`.
    """
    height, width = levels.shape[-2:]
    a, b, c, d, e, f = levels.new_tensor(where_from, dtype=torch.float64).view(-1, 6, 1, 1).unbind(dim=1)
    x = torch.arange(width, dtype=torch.float64, device=levels.device).add_(0.5).view(1, 1, -1)
    y = torch.arange(height, dtype=torch.float64, device=levels.device).add_(0.5).view(1, -1, 1)
    from_x, from_y = a * x + b * y + c, d * x + e * y + f
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    # Along a direction in which nothing moves, one pixel is all that counts.
    reach = range(2) if resample == "bilinear" else range(-1, 3)
    reach_x = reach if any(one[:3] != (1.0, 0.0, 0.0) for one in where_from) else range(1)
    reach_y = reach if any(one[3:] != (0.0, 1.0, 0.0) for one in where_from) else range(1)
    left, top = from_x.sub_(0.5).floor(), from_y.sub_(0.5).floor()
    part_x, part_y = (from_x - left).unsqueeze(1), (from_y - top).unsqueeze(1)
    columns = [(left + step).clamp_(0, width - 1) for step in reach_x]
    rows = [(top + step).clamp_(0, height - 1).mul_(width) for step in reach_y]
    flat = levels.flatten(2)

    def pixels(place: Tensor) -> Tensor:
        index = place.long().flatten(1).unsqueeze(1).expand(-1, 3, -1)
        return flat.gather(2, index).view(-1, 3, height, width)

    found = _mix([_mix([pixels(row + column) for column in columns], part_x) for row in rows], part_y)
    outside = levels.new_tensor(fill).view(1, 3, 1, 1)
    return torch.where(inside.unsqueeze(1), found.clamp(0, 255).floor_().float(), outside)


def _mix(values: list[Tensor], part: Tensor) -> Tensor:
    """Between the middle one or two of one, two or four neighbours; sums of levels are exact in float32."""
    if len(values) == 1:
        return values[0]
    if len(values) == 2:
        return ((values[1] - values[0]) * part).add_(values[0])
    first, second, third, fourth = values
    # Pillow's coefficients, in its order: a cubic convolution of parameter -1.
    squared = (first - second).mul_(2.0).add_(third).sub_(fourth)
    cubed = (second - first).sub_(third).add_(fourth)
    return (cubed * part).add_(squared).mul_(part).add_(third - first).mul_(part).add_(second)
