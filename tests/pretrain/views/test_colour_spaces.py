"""Colour spaces: there and back for every kind of colour, and equal to colorsys, OpenCV and Pillow."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.core.errors import ConfigError
from pretrain.views.colour_spaces import SPACES, split, to_rounded_lab

OPENCV = {
    # What OpenCV gives for sRGB in float32, in the units of ours.
    "yuv": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV) - np.float32([0, 0.5, 0.5]),
    # Y, Cr, Cb, with factors of three digits.
    "ycbcr": lambda rgb: (cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb) - np.float32([0, 0.5, 0.5]))[..., [0, 2, 1]],
    # Hue in degrees.
    "hsv": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV) / np.float32([360, 1, 1]),
    # Of linear light.
    "xyz": lambda rgb: cv2.cvtColor(linear(rgb).astype(np.float32), cv2.COLOR_RGB2XYZ),
}
ABOVE_ROUNDING = {"yuv": 1e-6, "ycbcr": 5e-4, "hsv": 2e-5, "xyz": 1e-6}


def linear(rgb: np.ndarray) -> np.ndarray:
    rgb = rgb.astype(np.float64)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def colours(dtype: torch.dtype = torch.float64) -> Tensor:
    """[3, 1, colours]: corners, greys, near greys, dark ones, both sides of the bend of sRGB, any others."""
    draw = torch.Generator().manual_seed(0)
    any_ = torch.rand(2000, 3, generator=draw, dtype=torch.float64)
    levels = torch.linspace(0, 1, 256, dtype=torch.float64)
    greys = levels[:, None].expand(-1, 3)
    nearly = (greys + 1e-6 * any_[:256]).clamp_max(1)
    steps = torch.tensor([-1e-3, -1e-9, 0.0, 1e-12, 1e-9, 1e-3], dtype=torch.float64)
    bend = torch.cartesian_prod(*[0.04045 + steps] * 3)
    # Corners, edges and faces, with two or three channels equal.
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 5, dtype=torch.float64)] * 3)
    every = torch.cat([grid, greys, nearly, bend, any_**8, any_])
    return every.to(dtype).T.reshape(3, 1, -1)


def test_all_spaces_are_there_under_their_names() -> None:
    assert set(SPACES) == {"rgb", "hsv", "lab", "yuv", "yiq", "ycbcr", "ydbdr", "xyz"}
    assert all(space.name == name for name, space in SPACES.items())


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", SPACES)
def test_there_and_back_is_the_image(name: str, dtype: torch.dtype, within: float) -> None:
    space, values = SPACES[name], colours(dtype)
    channels = space.to(values)
    assert channels.dtype == dtype and channels.shape == values.shape
    assert (space.back(channels) - values).abs().max() < within
    assert (space.back(space.denormalise(space.normalise(channels))) - values).abs().max() < within


@pytest.mark.parametrize("name", SPACES)
def test_a_batch_is_converted_image_by_image(name: str) -> None:
    images = torch.rand(2, 4, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    channels = SPACES[name].to(images)
    assert torch.equal(channels[1, 2], SPACES[name].to(images[1, 2]))
    assert torch.allclose(SPACES[name].back(channels), images, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", SPACES)
def test_ranges_are_reached_and_never_left(name: str) -> None:
    space = SPACES[name]
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 33, dtype=torch.float64)] * 3).T.reshape(3, 1, -1)
    scaled = space.normalise(space.to(grid)).flatten(1)
    ends = [1.0, 1.0, 1.0]
    if name == "hsv":
        # Hue comes near to the end of its circle, and does not reach it.
        assert 0.95 < scaled[0].max() < 1.0
        ends[0] = scaled[0].max().item()
    assert scaled.amin(dim=1).tolist() == pytest.approx([-1.0] * 3, abs=1e-12)
    assert scaled.amax(dim=1).tolist() == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize(("name", "reference"), [("hsv", colorsys.rgb_to_hsv), ("yiq", colorsys.rgb_to_yiq)])
def test_hsv_and_yiq_are_those_of_colorsys(name: str, reference: Callable[..., tuple[float, ...]]) -> None:
    values = colours()
    expected = torch.tensor([reference(*one) for one in values.flatten(1).T.tolist()], dtype=torch.float64)
    assert (SPACES[name].to(values).flatten(1).T - expected).abs().max() < 1e-12


@pytest.mark.parametrize("name", OPENCV)
def test_others_are_those_of_opencv(name: str) -> None:
    rgb = np.random.default_rng(2).random((40, 50, 3)).astype(np.float32)
    found = SPACES[name].to(torch.from_numpy(rgb).double().permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert np.abs(found - OPENCV[name](rgb)).max() < ABOVE_ROUNDING[name]


def test_opencv_finds_the_light_again_in_lab() -> None:
    # The way back: on the way there OpenCV interpolates, and is up to 0.4 beside the formula.
    values = colours()
    channels = SPACES["lab"].to(values).permute(1, 2, 0).numpy().astype(np.float32)
    found = cv2.cvtColor(channels, cv2.COLOR_Lab2LRGB)
    assert np.abs(found - linear(values.permute(1, 2, 0).numpy())).max() < 5e-6


def test_ycbcr_is_pillows_to_the_level() -> None:
    levels = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(levels).convert("YCbCr")).astype(np.float64)
    found = SPACES["ycbcr"].to(torch.from_numpy(levels / 255.0).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    apart = found * 255.0 + [0, 128, 128] - expected
    # Pillow cuts to the level, with factors of its own rounding.
    assert apart.min() > -0.05 and apart.max() < 1.01


def test_ydbdr_has_secams_factors() -> None:
    values = colours()
    red, _, blue = values.unbind()
    luma, db, dr = SPACES["ydbdr"].to(values).unbind()
    assert (db - 1.505 * (blue - luma)).abs().max() < 1e-3
    assert (dr + 1.902 * (red - luma)).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["lab", "yuv", "yiq", "ycbcr", "ydbdr"])
def test_greys_have_no_colour_and_white_is_the_lightest(name: str) -> None:
    greys = torch.linspace(0, 1, 101, dtype=torch.float64).expand(3, 1, 101)
    light, first, second = SPACES[name].to(greys).unbind()
    assert first.abs().max() < 1e-12 and second.abs().max() < 1e-12
    assert light[0, -1].item() == pytest.approx(SPACES[name].high[0], abs=1e-12)


def lightness(to: Callable[[Tensor], Tensor], light: float) -> float:
    """L of the grey of so much linear light."""
    encoded = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return to(torch.full((3, 1, 1), encoded, dtype=torch.float64))[0].item()


def test_lightness_is_the_cube_root_and_meets_its_straight_part() -> None:
    # Source: CIE, Y = (6/29)^3 is lightness 8 from both sides, where the slope is 24389 / 27 = 903.296.
    to, bend, step = SPACES["lab"].to, (6 / 29) ** 3, 1e-6
    assert lightness(to, bend) == pytest.approx(8.0, abs=1e-9)
    assert lightness(to, bend + step) - 8.0 == pytest.approx(step * 24389 / 27, rel=1e-4)
    assert 8.0 - lightness(to, bend - step) == pytest.approx(step * 24389 / 27, rel=1e-4)
    assert lightness(to, 0.125) == pytest.approx(116 * 0.5 - 16, abs=1e-9)


def test_rounded_lab_jumps_at_its_rounded_bend() -> None:
    below, above = 0.0088559, 0.0088561
    assert lightness(to_rounded_lab, 0.001) == pytest.approx(116 * 7.787 * 0.001, abs=1e-9)
    assert lightness(to_rounded_lab, below) == pytest.approx(116 * 7.787 * below, abs=1e-9)
    assert lightness(to_rounded_lab, above) == pytest.approx(116 * above ** (1 / 3) - 16, abs=1e-9)
    apart = (to_rounded_lab(colours()) - SPACES["lab"].to(colours())).abs().max()
    assert 1e-3 < apart < 5e-3


def test_three_spaces_are_one_on_the_common_scale() -> None:
    yuv, ycbcr, ydbdr = (
        SPACES[name].normalise(SPACES[name].to(colours())) for name in ("yuv", "ycbcr", "ydbdr")
    )
    assert (yuv - ycbcr).abs().max() < 1e-12
    assert (yuv - ydbdr * torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1)).abs().max() < 1e-3


@pytest.mark.parametrize(("first", "rest"), [((0,), [1, 2]), ((1, 2), [0]), ((2, 0), [1])])
def test_channels_are_dealt_out(first: tuple[int, ...], rest: list[int]) -> None:
    channels = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    views = split(channels, first)
    assert [view.shape for view in views] == [(2, len(first), 4, 5), (2, len(rest), 4, 5)]
    assert [view[1, :, 2, 3].tolist() for view in views] == [list(first), rest]


@pytest.mark.parametrize("first", [(), (0, 1, 2), (0, 0), (3,), (-1,)])
def test_what_is_no_split_is_refused(first: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="3 channels"):
        split(torch.zeros(1, 3, 2, 2), first)
