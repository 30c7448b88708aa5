"""Drawn views of a whole batch, from crops: on a GPU all of an operation's images together.

The draws are those of `bench.images.views`, whose Pillow renderer is the reference. The pixels are equal, as
each operation takes Pillow's steps in its order and types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.images.operations import JITTER_NAMES, SOLARIZE_LEVEL, JitterName
from bench.images.view_config import ViewConfig, ViewOperation
from bench.images.views import DrawnView
from pretrain.views import colour
from pretrain.views.blur import box_blur, tap_blur
from pretrain.views.randaugment import apply_randaugment

Drawn = Sequence[DrawnView]
Step = Callable[[ViewConfig, Drawn, Tensor], Tensor]


@torch.no_grad()
def render_crops(config: ViewConfig, drawn: Drawn, crops: Tensor) -> Tensor:
    """What is left to do to the crops of drawn views, in the order of `config.order`.

    Args:
        config: What the views were drawn from.
        drawn: One for each crop.
        crops: [batch, 3, crop_px, crop_px] uint8, on any device.

    Returns:
        [batch, 3, crop_px, crop_px] uint8, channels last in memory, on the same device.

    Source:
        `bench.images.views.render_view`.
        Differs: none in the pixels on a CPU; on a GPU as `pretrain.views.moves.move`.
    """
    out = torch.empty_like(crops, memory_format=torch.channels_last)
    # On a CPU one after another: an image stays in the cache through all of its operations.
    size = 1 if crops.device.type == "cpu" else len(crops)
    for start in range(0, len(crops), size):
        rows = slice(start, start + size)
        out[rows].copy_(render_levels(config, drawn[rows], crops[rows]).to(torch.uint8))
    return out


def render_levels(config: ViewConfig, drawn: Drawn, crops: Tensor) -> Tensor:
    """As `render_crops`, all images together on any device: [batch, 3, height, width] float32."""
    levels = crops.to(torch.float32, memory_format=torch.contiguous_format)
    for name in config.order:
        levels = _STEPS[name](config, drawn, levels)
    return levels


def _change(levels: Tensor, rows: list[int], change: Callable[[Tensor], Tensor]) -> Tensor:
    """`levels`, of which the images `rows` are changed."""
    if not rows:
        return levels
    if len(rows) == len(levels):
        return change(levels)
    index = torch.tensor(rows, device=levels.device)
    return levels.index_copy(0, index, change(levels[index]))


def _crop(_config: ViewConfig, _drawn: Drawn, levels: Tensor) -> Tensor:
    return levels  # whoever read the image has cut it


def _flip(_config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    rows = [row for row, view in enumerate(drawn) if view.is_flipped]
    return _change(levels, rows, lambda some: some.flip(-1))


def _gray(_config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    rows = [row for row, view in enumerate(drawn) if view.is_gray]
    return _change(levels, rows, colour.gray)


def _solarize(_config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    rows = [row for row, view in enumerate(drawn) if view.is_solarized]

    def change(some: Tensor) -> Tensor:
        return colour.solarize(some, some.new_full((len(some),), SOLARIZE_LEVEL))

    return _change(levels, rows, change)


def _jitter(_config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    # Every image has its own order: what comes first for any, then what comes second.
    for place in range(len(JITTER_NAMES)):
        now = {row: view.jitter[place] for row, view in enumerate(drawn) if len(view.jitter) > place}
        for name in JITTER_NAMES:
            rows = [row for row, change in now.items() if change[0] == name]
            levels = _change(levels, rows, partial(_jitter_one, name, [now[row][1] for row in rows]))
    return levels


def _jitter_one(name: JitterName, factors: list[float], levels: Tensor) -> Tensor:
    if name == "hue":
        return colour.turn_hue(levels, levels.new_tensor([colour.hue_shift(factor) for factor in factors]))
    return _BLENDS[name](levels, levels.new_tensor(factors))


_BLENDS: dict[JitterName, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "saturation": colour.saturation,
}


def _blur(config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    if config.blur is None:
        return levels
    taps = config.blur.taps
    sigmas = {row: view.blur_sigma_px for row, view in enumerate(drawn) if view.blur_sigma_px is not None}
    values = np.array(list(sigmas.values()))

    def change(some: Tensor) -> Tensor:
        return box_blur(some, values) if taps is None else tap_blur(some, values, taps)

    return _change(levels, list(sigmas), change)


def _randaugment(config: ViewConfig, drawn: Drawn, levels: Tensor) -> Tensor:
    if config.randaugment is None:
        return levels
    return apply_randaugment(levels, [view.randaugment for view in drawn], config.randaugment.fill)


_STEPS: dict[ViewOperation, Step] = {
    "crop": _crop,
    "flip": _flip,
    "jitter": _jitter,
    "gray": _gray,
    "blur": _blur,
    "solarize": _solarize,
    "randaugment": _randaugment,
}
