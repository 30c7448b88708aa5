"""Single operations: draws against torchvision's, pixels against torchvision, Pillow and a plain sum."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as T

from bench.images.operations import (
    JITTER_NAMES,
    Crop,
    apply_blur,
    apply_crop,
    apply_flip,
    apply_gray,
    apply_jitter,
    draw_crop,
    draw_jitter,
    gaussian_blur,
)
from bench.images.view_config import CROP_RATIO, Blur, Jitter

SIZES = [(500, 375), (375, 500), (90, 400), (700, 60), (1, 1), (1, 50)]


def picture(width: int = 61, height: int = 47, seed: int = 0) -> Image.Image:
    """Smooth shapes with noise on them: what only noise or only slopes would hide shows in one of the two."""
    numbers = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    slopes = np.stack([x, y, (x + y) / 2], axis=2) * 200
    return Image.fromarray((slopes + numbers.uniform(0, 55, slopes.shape)).astype(np.uint8))


def distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Kolmogorov-Smirnov: the largest gap between two samples' shares below a value."""
    a, b = np.sort(first), np.sort(second)
    both = np.concatenate([a, b])
    shares = (np.searchsorted(sample, both, side="right") / len(sample) for sample in (a, b))
    return float(np.abs(np.subtract(*shares)).max())


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.2, 1.0), (0.6, 1.0)])
@pytest.mark.parametrize("size", [(500, 375), (90, 400), (700, 60)])
def test_crops_are_distributed_as_torchvisions(size: tuple[int, int], area: tuple[float, float]) -> None:
    count = 2500
    generator = np.random.default_rng(3)
    drawn = [draw_crop(size, area, CROP_RATIO, generator) for _ in range(count)]
    ours = np.array([[crop.top_px, crop.left_px, crop.height_px, crop.width_px] for crop in drawn])
    image = torch.empty(1).expand(3, size[1], size[0])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = np.array(
            [T.RandomResizedCrop.get_params(image, list(area), list(CROP_RATIO)) for _ in range(count)]
        )
    bound = 1.95 * (2 / count) ** 0.5  # passed by one sample in a thousand
    for column, name in enumerate(("top", "left", "height", "width")):
        assert distance(ours[:, column], theirs[:, column]) < bound, name
    for name, function in (("area", np.multiply), ("ratio", np.divide)):
        mine, other = (function(sample[:, 3], sample[:, 2]) for sample in (ours, theirs))
        assert distance(mine, other) < bound, name
        for share in (0.01, 0.1, 0.5, 0.9, 0.99):
            low, value, high = np.quantile(other, [max(share - 0.04, 0), share, min(share + 0.04, 1)])
            assert low <= np.quantile(mine, share) <= high, (name, share, value)


@pytest.mark.parametrize("size", SIZES)
def test_crops_lie_inside(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    for area, ratio in (((0.01, 1.0), CROP_RATIO), ((0.9, 1.0), (3.0, 4.0)), ((0.5, 1.0), (0.1, 0.2))):
        for _ in range(50):
            crop = draw_crop(size, area, ratio, generator)
            assert crop.width_px >= 1 and crop.height_px >= 1
            assert 0 <= crop.left_px <= size[0] - crop.width_px
            assert 0 <= crop.top_px <= size[1] - crop.height_px


def test_every_place_is_reached() -> None:
    # Ten per cent of 10 x 10 as a square is 3 x 3, so that the corner goes from 0 to 7 along both sides.
    generator = np.random.default_rng(2)
    crops = [draw_crop((10, 10), (0.1, 0.1), (1.0, 1.0), generator) for _ in range(2000)]
    assert {(crop.height_px, crop.width_px) for crop in crops} == {(3, 3)}
    places = Counter((crop.top_px, crop.left_px) for crop in crops)
    assert places.keys() == set(itertools.product(range(8), range(8)))
    assert max(places.values()) < 2000 / 64 + 5 * (2000 / 64) ** 0.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 1000), Crop(433, 0, 133, 100)),
        ((1000, 100), Crop(0, 433, 100, 133)),
        ((1, 1), Crop(0, 0, 1, 1)),
    ],
)
def test_what_cannot_fit_falls_back_to_the_centre(size: tuple[int, int], expected: Crop) -> None:
    # The whole area in a shape within the range fits neither; the third is the whole image anyway.
    assert draw_crop(size, (1.0, 1.0), CROP_RATIO, np.random.default_rng(0)) == expected


@pytest.mark.parametrize("side_px", [12, 47, 96])
def test_a_crop_has_the_pixels_of_torchvision(monkeypatch: pytest.MonkeyPatch, side_px: int) -> None:
    for crop in (Crop(3, 5, 40, 31), Crop(0, 0, 47, 61), Crop(10, 20, 1, 1), Crop(0, 14, 47, 47)):
        window = (crop.top_px, crop.left_px, crop.height_px, crop.width_px)
        monkeypatch.setattr(T.RandomResizedCrop, "get_params", staticmethod(lambda *_, w=window: w))
        expected = T.RandomResizedCrop(side_px)(picture())
        assert np.array_equal(apply_crop(picture(), crop, side_px), expected)


def test_flip_and_gray_have_the_pixels_of_torchvision() -> None:
    assert np.array_equal(apply_flip(picture()), T.RandomHorizontalFlip(p=1.0)(picture()))
    assert np.array_equal(apply_flip(picture()), np.asarray(picture())[:, ::-1])
    gray = np.asarray(apply_gray(picture()))
    assert np.array_equal(gray, T.RandomGrayscale(p=1.0)(picture()))
    assert np.ptp(gray, axis=2).max() == 0


def test_jitter_has_the_pixels_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = {"brightness": 1.3, "contrast": 0.45, "saturation": 1.7, "hue": -0.13}
    reference = T.ColorJitter(0.8, 0.8, 0.8, 0.2)
    results = set()
    for order in itertools.permutations(range(4)):
        given = (torch.tensor(order), *(factors[name] for name in JITTER_NAMES))
        monkeypatch.setattr(T.ColorJitter, "get_params", staticmethod(lambda *_, given=given: given))
        changes = tuple((JITTER_NAMES[index], factors[JITTER_NAMES[index]]) for index in order)
        ours = np.asarray(apply_jitter(picture(), changes))
        assert np.array_equal(ours, reference(picture()))
        results.add(ours.tobytes())
    assert len(results) > 12, "the order must matter"


def test_a_strength_of_zero_is_no_change() -> None:
    jitter = Jitter(brightness=0.0, contrast=0.4, saturation=0.0, hue=0.0, probability=1.0)
    for seed in range(5):
        ((name, factor),) = draw_jitter(jitter, np.random.default_rng(seed))
        assert name == "contrast" and 0.6 <= factor <= 1.4


def test_a_strength_above_one_does_not_go_below_zero() -> None:
    jitter = Jitter(brightness=1.5, contrast=0.0, saturation=0.0, hue=0.0, probability=1.0)
    generator = np.random.default_rng(0)
    factors = [draw_jitter(jitter, generator)[0][1] for _ in range(2000)]
    assert 0 <= min(factors) < 0.01 and 2.49 < max(factors) <= 2.5


@pytest.mark.parametrize("sigma_px", [0.1, 0.7, 2.0])
def test_the_blur_of_moco_is_pillows(sigma_px: float) -> None:
    blur = Blur(kind="pillow", probability=1.0, sigma_low_px=0.1, sigma_high_px=2.0)
    expected = picture().filter(ImageFilter.GaussianBlur(radius=sigma_px))
    assert np.array_equal(apply_blur(picture(), blur, sigma_px), expected)


def plain_blur(pixels: npt.NDArray[np.uint8], sigma_px: float, taps: int) -> npt.NDArray[np.float64]:
    """Levels from 0 to 255 by the definition in two dimensions, one weight at a time, in 64 bits."""
    reach = taps // 2
    height, width = pixels.shape[:2]
    span = range(-reach, reach + 1)
    weights = {(i, j): np.exp(-(i * i + j * j) / (2 * sigma_px**2)) for i in span for j in span}
    rows, columns = np.arange(height), np.arange(width)

    def reflected(places: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        places = np.abs(places)
        return np.where(places < length, places, 2 * (length - 1) - places)

    total = np.zeros(pixels.shape)
    for (i, j), weight in weights.items():
        total += weight * pixels[reflected(rows + i, height)][:, reflected(columns + j, width)]
    return total / sum(weights.values())


@pytest.mark.parametrize("sigma_px", [0.1, 0.5, 1.2, 2.0, 9.0])
@pytest.mark.parametrize(("width", "height", "taps"), [(40, 33, 23), (12, 12, 23), (9, 30, 5)])
def test_the_blur_of_infomin_is_a_cut_gaussian(sigma_px: float, width: int, height: int, taps: int) -> None:
    pixels = np.asarray(picture(width, height))
    exact = plain_blur(pixels, sigma_px, taps)
    ours = gaussian_blur(pixels, sigma_px, taps)
    assert ours.dtype == np.uint8 and ours.shape == pixels.shape
    assert np.abs(ours - np.floor(exact)).max() <= 1
    # Rounding would be nearer than a level, and half a level brighter on average.
    assert np.abs(ours - exact).max() <= 1 + 1e-3
    if sigma_px >= 0.5:
        assert np.mean(ours == np.floor(exact)) > 0.99
        assert -0.6 < np.mean(ours - exact) < -0.4


def test_the_blur_of_infomin_is_that_of_a_convolution() -> None:
    pixels, taps, sigma_px = np.array(picture(64, 64)), 23, 1.3
    x = np.exp(-(np.arange(-11, 12) ** 2) / (2 * sigma_px**2))
    kernel = torch.from_numpy(x / x.sum()).float().repeat(3, 1)
    values = T.functional.to_tensor(pixels).unsqueeze(0)
    values = torch.nn.functional.pad(values, (11, 11, 11, 11), mode="reflect")
    values = torch.nn.functional.conv2d(values, kernel.view(3, 1, taps, 1), groups=3)
    values = torch.nn.functional.conv2d(values, kernel.view(3, 1, 1, taps), groups=3)
    theirs = np.asarray(T.functional.to_pil_image(values[0])).astype(int)
    ours = gaussian_blur(pixels, sigma_px, taps)
    assert np.abs(ours - theirs).max() <= 1
    assert np.mean(ours == theirs) > 0.999


def test_the_kind_chooses_the_blur() -> None:
    blur = Blur(kind="gaussian", probability=1.0, sigma_low_px=0.1, sigma_high_px=2.0, taps=5)
    ours = np.asarray(apply_blur(picture(), blur, 1.5))
    assert np.array_equal(ours, gaussian_blur(np.asarray(picture()), 1.5, 5))
    assert not np.array_equal(ours, gaussian_blur(np.asarray(picture()), 1.5, 7))
