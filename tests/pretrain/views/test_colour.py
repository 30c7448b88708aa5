"""Changes of colour on batches: Pillow's and torchvision's pixels, to the level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import functional as F

from pretrain.views import colour
from tests.helpers.levels import pictures, to_levels, to_pixels

PICTURES = pictures(24)


def stacked(change: Callable[[Image.Image, float], Image.Image], factors: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(change(*one)) for one in zip(PICTURES, factors.tolist(), strict=True)])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (colour.brightness, F.adjust_brightness),
        (colour.contrast, F.adjust_contrast),
        (colour.saturation, F.adjust_saturation),
    ],
)
def test_blends(ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[..., Image.Image]) -> None:
    factors = np.random.default_rng(1).uniform(0, 2.5, len(PICTURES))
    factors[:4] = 0, 1, 0.2, 1.9
    found = ours(to_levels(*PICTURES), torch.from_numpy(factors).float())
    assert np.array_equal(to_pixels(found), stacked(theirs, factors))


def test_hue() -> None:
    factors = np.random.default_rng(2).uniform(-0.5, 0.5, len(PICTURES))
    factors[:4] = -0.5, 0.5, 0.0, 1 / 255
    shifts = torch.tensor([float(colour.hue_shift(factor)) for factor in factors])
    found = colour.turn_hue(to_levels(*PICTURES), shifts)
    assert np.array_equal(to_pixels(found), stacked(F.adjust_hue, factors))


def cube(red: range) -> np.ndarray:
    """Every colour with such red: [red * 16, 4096, 3]."""
    grid = np.meshgrid(red, range(256), range(256), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 4096, 3).astype(np.uint8)


@pytest.mark.parametrize(
    "reds",
    [
        [range(8), range(124, 132), range(248, 256)],
        pytest.param([range(start, start + 16) for start in range(0, 256, 16)], marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_every_colour_to_hsv_and_back(reds: list[range]) -> None:
    for red in reds:
        pixels = cube(red)
        channels = to_levels(Image.fromarray(pixels)).unbind(dim=1)
        hsv = torch.stack(colour._to_hsv(*channels), dim=1)
        assert np.array_equal(to_pixels(hsv)[0], np.asarray(Image.fromarray(pixels).convert("HSV")))
        rgb = np.asarray(Image.merge("HSV", Image.fromarray(pixels).split()).convert("RGB"))
        assert np.array_equal(to_pixels(colour._from_hsv(*channels))[0], rgb)


def test_gray_and_solarize() -> None:
    found = to_pixels(colour.gray(to_levels(*PICTURES)))
    assert np.array_equal(found, stacked(lambda one, _: F.to_grayscale(one, 3), np.zeros(len(PICTURES))))
    thresholds = np.random.default_rng(3).integers(0, 257, len(PICTURES)).astype(np.float64)
    found = to_pixels(colour.solarize(to_levels(*PICTURES), torch.from_numpy(thresholds).float()))
    assert np.array_equal(found, stacked(lambda one, at: ImageOps.solarize(one, int(at)), thresholds))
