"""Blurs on batches: Pillow's box filters and our Gaussian of so many taps, to the level."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFilter

from bench.images.operations import gaussian_blur
from pretrain.views.blur import box_blur, tap_blur
from tests.helpers.levels import pictures, to_levels, to_pixels


@pytest.mark.parametrize("sigmas", [(0.01, 2.0), (2.0, 40.0)])
def test_box_blur_is_pillows(sigmas: tuple[float, float]) -> None:
    # A box may be longer than the picture.
    made = pictures(24, width=40, height=23)
    sigma_px = np.random.default_rng(1).uniform(*sigmas, len(made))
    expected = [
        np.asarray(one.filter(ImageFilter.GaussianBlur(sigma)))
        for one, sigma in zip(made, sigma_px.tolist(), strict=True)
    ]
    assert np.array_equal(to_pixels(box_blur(to_levels(*made), sigma_px)), np.stack(expected))


@pytest.mark.parametrize("taps", [3, 7, 23])
def test_tap_blur_adds_its_terms_in_the_same_order(taps: int) -> None:
    made = pictures(24)
    sigma_px = np.random.default_rng(2).uniform(0.01, 2.0, len(made))
    expected = [
        gaussian_blur(np.asarray(one), sigma, taps)
        for one, sigma in zip(made, sigma_px.tolist(), strict=True)
    ]
    assert np.array_equal(to_pixels(tap_blur(to_levels(*made), sigma_px, taps)), np.stack(expected))
