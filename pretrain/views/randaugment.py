"""RandAugment on batches: the operations of `bench.images.randaugment`, with Pillow's arithmetic.

Levels are [batch, 3, height, width] float32, as in `pretrain.views.colour`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.images.randaugment import DrawnOperation, apply_operation
from pretrain.views import colour
from pretrain.views.moves import move, sources

_SOLARIZE_ADD_BELOW = 128.0
_POSTERIZE_SIZES = (256.0, 128.0, 64.0, 32.0, 16.0)
"""Levels that become one, for 0 to 4 bits that stay."""
# Source: Pillow `src/PIL/ImageFilter.py`, `SMOOTH`: 1 for each neighbour and 5 for the middle, of 13.
_SMOOTH_MIDDLE, _SMOOTH_ALL = 5.0, 13.0


def apply_randaugment(
    levels: Tensor, operations: Sequence[tuple[DrawnOperation, ...]], fill: tuple[int, int, int]
) -> Tensor:
    """Images after the operations drawn for each.

    On a CPU this is left to Pillow, which is the faster one there.

    Args:
        levels: The images.
        operations: Of each image, in their order; may be none.
        fill: RGB of what comes in from outside.

    Source:
        As `bench.images.randaugment.apply_operation`.
        Differs: none on a CPU; on a GPU as `pretrain.views.moves.move`.
    """
    if levels.device.type == "cpu":
        return _by_pillow(levels, operations, fill)
    return by_kind(levels, operations, fill)


def by_kind(
    levels: Tensor, operations: Sequence[tuple[DrawnOperation, ...]], fill: tuple[int, int, int]
) -> Tensor:
    """As `apply_randaugment`, images with the same operation together, on any device."""
    for place in range(max(map(len, operations), default=0)):
        now = {row: of[place] for row, of in enumerate(operations) if len(of) > place}
        for kind in dict.fromkeys((one.name, one.resample) for one in now.values()):
            same = {row: one for row, one in now.items() if (one.name, one.resample) == kind}
            index = torch.tensor(list(same), device=levels.device)
            levels = levels.index_copy(0, index, _apply(levels[index], list(same.values()), fill))
    return levels


def _apply(levels: Tensor, operations: list[DrawnOperation], fill: tuple[int, int, int]) -> Tensor:
    """One operation on each image; their names and resampling are equal."""
    name, resample = operations[0].name, operations[0].resample
    if resample is not None:
        height, width = levels.shape[-2:]
        return move(levels, [sources(one, width, height) for one in operations], resample, fill)
    return OPERATIONS[name](levels, levels.new_tensor([one.argument for one in operations]))


def _by_pillow(
    levels: Tensor, operations: Sequence[tuple[DrawnOperation, ...]], fill: tuple[int, int, int]
) -> Tensor:
    levels = levels.clone() if any(operations) else levels
    for row, of in enumerate(operations):
        if not of:
            continue
        picture = Image.fromarray(levels[row].to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
        for one in of:
            picture = apply_operation(picture, one, fill)
        # A copy: what Pillow lends may not be written to.
        levels[row] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return levels


def _auto_contrast(levels: Tensor, _argument: Tensor) -> Tensor:
    """Each channel stretched to 0 to 255. Source: Pillow `ImageOps.autocontrast`."""
    low, high = levels.amin(dim=(2, 3), keepdim=True).double(), levels.amax(dim=(2, 3), keepdim=True).double()
    # Not 255.0 / span, which torch rounds twice, as a product with the reciprocal.
    scale = torch.full_like(low, 255.0) / (high - low).clamp_min(1.0)
    stretched = (levels * scale).add_(-low * scale).clamp_(0.0, 255.0).floor_().float()
    return torch.where(high > low, stretched, levels)


def _equalize(levels: Tensor, _argument: Tensor) -> Tensor:
    """Each channel's levels as often as the others. Source: Pillow `ImageOps.equalize`."""
    batch, channels, height, width = levels.shape
    index = levels.long().flatten(2)
    counts = torch.zeros(batch, channels, 256, dtype=torch.int64, device=levels.device)
    counts.scatter_add_(2, index, torch.ones_like(index))
    highest = levels.amax(dim=(2, 3), keepdim=True).long().flatten(2)
    step = (height * width - counts.gather(2, highest)).div(255, rounding_mode="floor")
    before = counts.cumsum(dim=2) - counts
    table = (step.div(2, rounding_mode="floor") + before).div(step.clamp_min(1), rounding_mode="floor")
    table = torch.where(step > 0, table.clamp_(max=255), torch.arange(256, device=levels.device))
    return table.gather(2, index).view_as(levels).float()


def _posterize(levels: Tensor, bits: Tensor) -> Tensor:
    """So many high bits of each level stay."""
    # From a table: a power of two may come out inexact on a GPU.
    size = levels.new_tensor(_POSTERIZE_SIZES)[bits.long()].view(-1, 1, 1, 1)
    return (levels / size).floor_().mul_(size)


def _solarize_add(levels: Tensor, added: Tensor) -> Tensor:
    """Dark levels made brighter."""
    brighter = (levels + added.view(-1, 1, 1, 1)).clamp_(max=255.0)
    return torch.where(levels < _SOLARIZE_ADD_BELOW, brighter, levels)


def _sharpness(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards the smoothed image, or away from it. Source: Pillow `ImageEnhance.Sharpness`."""
    smooth = levels.clone()  # at the border Pillow smooths nothing
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    total += (_SMOOTH_MIDDLE - 1.0) * levels[:, :, 1:-1, 1:-1]
    # A whole number by 13 is never at a half, so that no rounding of a quotient can change the level.
    smooth[:, :, 1:-1, 1:-1] = total.div_(_SMOOTH_ALL).add_(0.5).floor_()
    return colour.blend(smooth, levels, factor)


def _invert(levels: Tensor, _argument: Tensor) -> Tensor:
    return 255.0 - levels


def _same(levels: Tensor, _argument: Tensor) -> Tensor:
    return levels


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "PosterizeTpu": _posterize,
    "Solarize": colour.solarize,
    "SolarizeAdd": _solarize_add,
    "Color": colour.saturation,
    "Contrast": colour.contrast,
    "Brightness": colour.brightness,
    "Sharpness": _sharpness,
    "Identity": _same,
}
"""Those that move no pixel: images and what their magnitudes mean, [batch], to images."""
