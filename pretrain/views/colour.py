"""Changes of colour on batches, in Pillow's integer and 32-bit arithmetic.

All take and give levels: [batch, 3, height, width] float32, whole numbers from 0 to 255. Float32 holds every
step of that arithmetic, so that a result is Pillow's own and not near to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Source: Pillow `src/libImaging/Convert.c`, `L24`: luma of ITU-R 601-2 in 16 binary places.
_LUMA = (19595.0, 38470.0, 7471.0)
_LUMA_HALF, _LUMA_ONE = 32768.0, 65536.0


def divide(values: Tensor, number: float) -> Tensor:
    """Quotients, rounded once.

    By a plain number, torch multiplies with the reciprocal on a GPU: rounded twice, a value that is cut to a
    level may come out one below.
    """
    return values / values.new_tensor(number)


def luma(levels: Tensor) -> Tensor:
    """[batch, 1, height, width]: Pillow's conversion to grayscale."""
    red, green, blue = levels.unbind(dim=1)
    # At most 65,536 times 255, which float32 holds exactly.
    total = (red * _LUMA[0]).add_(green * _LUMA[1]).add_(blue * _LUMA[2]).add_(_LUMA_HALF)
    return total.div_(_LUMA_ONE).floor_().unsqueeze(1)


def blend(degenerate: Tensor | float, levels: Tensor, factor: Tensor) -> Tensor:
    """From `degenerate` (factor 0) through `levels` (factor 1) and beyond, cut to 0 to 255.

    Args:
        degenerate: Levels that broadcast to those of the images.
        levels: The images.
        factor: [batch], float32.

    Source:
        Pillow `src/libImaging/Blend.c`.
        Differs: none.
    """
    mixed = (levels - degenerate).mul_(factor.view(-1, 1, 1, 1)).add_(degenerate)
    return mixed.clamp_(0.0, 255.0).floor_()


def brightness(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards black, or away from it. Source: Pillow `ImageEnhance.Brightness`."""
    return blend(0.0, levels, factor)


def contrast(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards the mean of the image's luma, or away from it. Source: Pillow `ImageEnhance.Contrast`."""
    total = luma(levels).sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    mean = divide(total, levels[0, 0].numel()).add_(0.5).floor_().float()
    return blend(mean, levels, factor)


def saturation(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards gray, or away from it. Source: Pillow `ImageEnhance.Color`."""
    return blend(luma(levels), levels, factor)


def gray(levels: Tensor) -> Tensor:
    """Three equal channels: the luma."""
    return luma(levels).expand_as(levels)


def solarize(levels: Tensor, threshold: Tensor) -> Tensor:
    """Values of `threshold` [batch] or more are inverted. Source: Pillow `ImageOps.solarize`."""
    return torch.where(levels < threshold.view(-1, 1, 1, 1), levels, 255.0 - levels)


def hue_shift(factor: float) -> int:
    """The levels by which `turn_hue` turns for a factor in turns of the circle.

    Source: torchvision `transforms/_functional_pil.py`, `adjust_hue`: cut to a whole number, modulo 256.
    """
    return int(factor * 255) % 256


def turn_hue(levels: Tensor, shift: Tensor) -> Tensor:
    """The hue turned by `shift` [batch], whole numbers of 256 parts of a turn, in the 8-bit HSV of Pillow.

    Choices are products with 0 and 1, which are exact; `torch.where` is 30 times slower on a CPU.

    Source:
        Pillow `src/libImaging/Convert.c`, `rgb2hsv_row` and `hsv2rgb`; torchvision `adjust_hue`.
        Differs: none; all 16.7 million colours were compared both ways.
    """
    hue, saturation_, value = _to_hsv(*levels.unbind(dim=1))
    hue = hue.add_(shift.view(-1, 1, 1))
    hue -= (hue - 255.0).clamp_(0.0, 1.0).mul_(256.0)
    return _from_hsv(hue, saturation_, value)


def _to_hsv(red: Tensor, green: Tensor, blue: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels of hue, saturation and value; each [batch, height, width]."""
    value = torch.maximum(torch.maximum(red, green), blue)
    span = value - torch.minimum(torch.minimum(red, green), blue)
    saturation_ = (span / value.clamp_min(1.0)).mul_(255.0).floor_()
    span.clamp_min_(1.0)
    # 1 where it is the largest channel, else 0; the first of equal ones counts.
    is_red = (red - value).add_(1.0).clamp_min_(0.0)
    is_green = (green - value).add_(1.0).clamp_min_(0.0).mul_(1.0 - is_red)
    is_blue = 1.0 - is_red - is_green
    # How far each channel is below the largest, in parts of the span: divided in float32, as in C.
    below_red, below_green, below_blue = ((value - channel).div_(span) for channel in (red, green, blue))
    ahead = (is_red * below_blue).add_(is_green * below_red).add_(is_blue * below_green)
    behind = (is_red * below_green).add_(is_green * below_blue).add_(is_blue * below_red)
    sector = is_green.mul_(2.0).add_(is_blue.mul_(4.0))
    # In float64 and rounded once, as in C: in float32, one colour in 200 comes out a level beside.
    turns = divide(sector.double().add_(ahead).sub_(behind).float().double(), 6.0).add_(1.0)
    hue = turns.sub_(turns.floor()).float().double().mul_(255.0).floor_().float()
    return hue, saturation_, value


# A channel is `value` where its weight is 0 and the lowest where it is 1: |place - centre| - 1, cut to 0 to
# 1, for green and blue, and 2 - |place - centre| for red, on a circle of six sectors.
_CENTRES, _SIGNS, _OFFSETS = (3.0, 2.0, 4.0), (-1.0, 1.0, 1.0), (2.0, -1.0, -1.0)


def _from_hsv(hue: Tensor, saturation_: Tensor, value: Tensor) -> Tensor:
    """[batch, 3, height, width] from levels of hue, saturation and value."""
    place = divide(hue * 6.0, 255.0).unsqueeze(1)
    centres, signs, offsets = (
        torch.tensor(numbers, device=hue.device).view(1, 3, 1, 1) for numbers in (_CENTRES, _SIGNS, _OFFSETS)
    )
    weight = (place - centres).abs_().mul_(signs).add_(offsets).clamp_(0.0, 1.0)
    share = divide(saturation_, 255.0).unsqueeze(1)
    # Halves are rounded up: no level is below 0.
    return weight.mul_(share).neg_().add_(1.0).mul_(value.unsqueeze(1)).add_(0.5).floor_()
