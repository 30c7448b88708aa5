"""Pictures as the batched views take them, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor


def to_levels(*pictures: Image.Image) -> Tensor:
    """[pictures, 3, height, width] float32; all of one size."""
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).movedim(-1, 1).to(torch.float32, memory_format=torch.contiguous_format)


def to_pixels(levels: Tensor) -> npt.NDArray[np.uint8]:
    """[pictures, height, width, 3]; every value must be a whole level."""
    assert torch.equal(levels, levels.floor().clamp(0, 255))
    pixels: npt.NDArray[np.uint8] = levels.movedim(1, -1).to(torch.uint8).numpy()
    return pixels


def pictures(count: int, width: int = 61, height: int = 47) -> list[Image.Image]:
    """Slopes with noise, few levels, one level, pure noise, in turn."""
    draw, made = np.random.default_rng(0), []
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    slopes = np.stack([x, y, (x + y) / 2], axis=2) * 200
    for number in range(count):
        kinds = (
            slopes + draw.uniform(0, 55, slopes.shape),
            draw.integers(0, 3, slopes.shape) * draw.integers(1, 127),
            np.broadcast_to(draw.integers(0, 256, 3), slopes.shape),
            draw.integers(0, 256, slopes.shape),
        )
        made.append(Image.fromarray(kinds[number % len(kinds)].astype(np.uint8)))
    return made
