"""Low and high frequencies: SciPy's Gaussian filter, waves whose fate is known, a sum that is the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from bench.core.errors import ConfigError
from pretrain.views.frequency import frequency_split, low_pass


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(2, 3, 17, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


# The last reach over many mirrors.
@pytest.mark.parametrize("sigma_px", [0.1, 0.25, 0.7, 1.0, 2.6, 30.0])
def test_low_pass_is_scipys_filter(sigma_px: float) -> None:
    expected = ndimage.gaussian_filter(
        images().numpy(), sigma_px, mode="mirror", radius=math.ceil(4 * sigma_px), axes=(-2, -1)
    )
    assert np.abs(low_pass(images(), sigma_px).numpy() - expected).max() < 1e-13


@pytest.mark.parametrize("shape", [(3, 1, 9), (3, 9, 1), (3, 2, 2), (1, 1), (5, 3, 8, 8)])
def test_small_images_and_other_batches_are_filtered_too(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = ndimage.gaussian_filter(values.numpy(), 1.5, mode="mirror", radius=6, axes=(-2, -1))
    assert np.abs(low_pass(values, 1.5).numpy() - expected).max() < 1e-13


def test_a_constant_stays_and_a_wave_fades_as_its_frequency_says() -> None:
    assert torch.allclose(
        low_pass(torch.full((3, 9, 9), 0.3, dtype=torch.float64), 2.0), torch.tensor(0.3).double()
    )
    # A cosine that mirrors into itself at both borders; a Gaussian's transform is a Gaussian.
    radians_per_px = math.pi * 8 / 32
    wave = torch.cos(radians_per_px * torch.arange(33, dtype=torch.float64)).expand(33, 33)
    found = low_pass(wave, 1.2)
    assert torch.allclose(found, wave * math.exp(-((1.2 * radians_per_px) ** 2) / 2), atol=2e-4, rtol=0)
    assert torch.allclose(low_pass(wave.T, 1.2), found.T, atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma_px", [0.3, 0.7, 5.0])
def test_both_views_together_are_the_image(dtype: torch.dtype, sigma_px: float) -> None:
    low, residual = frequency_split(images(dtype), sigma_px)
    assert low.dtype == residual.dtype == dtype
    assert torch.equal(low, low_pass(images(dtype), sigma_px))
    assert residual.abs().max() > 1e-3
    assert (low + residual - images(dtype)).abs().max() <= torch.finfo(dtype).eps


def test_without_a_width_the_first_view_is_the_image() -> None:
    low, residual = frequency_split(images(), 0.0)
    assert torch.equal(low, images()) and not residual.any()


def test_a_very_narrow_blur_is_none() -> None:
    assert torch.equal(low_pass(images(), 1e-200), images())


def test_mixed_precision_around_it_changes_nothing() -> None:
    plain = low_pass(images(torch.float32), 0.7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(low_pass(images(torch.float32), 0.7), plain)


@pytest.mark.parametrize("sigma_px", [-0.1, math.inf, math.nan])
def test_what_is_no_width_is_refused(sigma_px: float) -> None:
    with pytest.raises(ConfigError, match="sigma_px"):
        frequency_split(images(), sigma_px)
