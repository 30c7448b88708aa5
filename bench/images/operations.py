"""The single operations of a view: what is drawn for each, and how it changes the pixels.

Drawing and applying are apart, so that the same draw can be applied again, or elsewhere. All take and give
Pillow images in RGB; every number comes from the NumPy generator that is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from bench.images.view_config import Blur, Jitter

JitterName = Literal["brightness", "contrast", "saturation", "hue"]
JITTER_NAMES: tuple[JitterName, ...] = ("brightness", "contrast", "saturation", "hue")

SOLARIZE_LEVEL = 128
"""Values from here on are inverted. Source: Grill et al. 2020, BYOL, appendix B; Pillow's default."""

_CROP_TRIES = 10
"""torchvision's number, `transforms.py`, `RandomResizedCrop.get_params`."""


@dataclass(frozen=True)
class Crop:
    """A window of an image, in its pixels."""

    top_px: int
    left_px: int
    height_px: int
    width_px: int


def draw_crop(
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> Crop:
    """A window of random area, shape and place, wholly inside the image.

    Up to ten times, a share of the area and the logarithm of the ratio are drawn evenly; the first window
    that fits is put at an even random place. If none fits, the largest central one with a ratio in range.

    Args:
        size: Width and height of the image in pixels.
        area: Lowest and highest share of the image's area.
        ratio: Lowest and highest ratio of width to height.
        generator: Where the numbers come from.

    Source:
        torchvision, `torchvision/transforms/transforms.py`, `RandomResizedCrop.get_params`.
        Differs: logarithms in 64 bits, not 32; a central window is never thinner than one pixel.
    """
    width, height = size
    for _ in range(_CROP_TRIES):
        target = width * height * generator.uniform(*area)
        shape = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_width, crop_height = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(0, height - crop_height + 1))
            left = int(generator.integers(0, width - crop_width + 1))
            return Crop(top, left, crop_height, crop_width)
    return _central_crop(width, height, ratio)


def _central_crop(width: int, height: int, ratio: tuple[float, float]) -> Crop:
    crop_width, crop_height = width, height
    if width / height < ratio[0]:
        crop_height = max(round(width / ratio[0]), 1)
    elif width / height > ratio[1]:
        crop_width = max(round(height * ratio[1]), 1)
    return Crop((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def apply_crop(
    picture: Image.Image, crop: Crop, side_px: int, resample: Literal["bilinear", "bicubic"] = "bilinear"
) -> Image.Image:
    """The window of `picture`, resized to a square of `side_px` with antialiasing."""
    # Pillow always antialiases; the argument only says so.
    cut: Image.Image = F.resized_crop(
        picture,
        crop.top_px,
        crop.left_px,
        crop.height_px,
        crop.width_px,
        [side_px, side_px],
        InterpolationMode(resample),
        antialias=True,
    )
    return cut


def apply_flip(picture: Image.Image) -> Image.Image:
    """`picture` with left and right changed."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def draw_jitter(jitter: Jitter, generator: np.random.Generator) -> tuple[tuple[JitterName, float], ...]:
    """The changes of colour in the order to apply them, each with its factor; of strength 0 there is none.

    Source:
        torchvision, `torchvision/transforms/transforms.py`, `ColorJitter`.
        Differs: none but the random stream.
    """
    factors = {name: _draw_factor(name, getattr(jitter, name), generator) for name in JITTER_NAMES}
    order = [JITTER_NAMES[index] for index in generator.permutation(len(JITTER_NAMES))]
    return tuple((name, factors[name]) for name in order if getattr(jitter, name) > 0)


def _draw_factor(name: JitterName, strength: float, generator: np.random.Generator) -> float:
    if name == "hue":
        return float(generator.uniform(-strength, strength))
    return float(generator.uniform(max(0.0, 1.0 - strength), 1.0 + strength))


_ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def apply_jitter(picture: Image.Image, changes: tuple[tuple[JitterName, float], ...]) -> Image.Image:
    """`picture` after each change of `draw_jitter`, with the pixels of torchvision on Pillow images."""
    for name, factor in changes:
        picture = _ADJUST[name](picture, factor)
    return picture


def apply_gray(picture: Image.Image) -> Image.Image:
    """`picture` with three equal channels: luma of ITU-R 601-2, as Pillow and torchvision compute it."""
    gray: Image.Image = F.to_grayscale(picture, num_output_channels=3)
    return gray


def apply_solarize(picture: Image.Image) -> Image.Image:
    """`picture` with every value of `SOLARIZE_LEVEL` or more inverted."""
    return ImageOps.solarize(picture, SOLARIZE_LEVEL)


def apply_blur(picture: Image.Image, blur: Blur, sigma_px: float) -> Image.Image:
    """`picture` blurred by the kind that `blur` names; see there.

    Source:
        MoCo, `moco/loader.py`, `GaussianBlur` (kind `pillow`).
        PyContrast, `pycontrast/datasets/util.py`, `GaussianBlur` (kind `gaussian`).
        Differs: see `gaussian_blur`.
    """
    if blur.taps is None:
        return picture.filter(ImageFilter.GaussianBlur(radius=sigma_px))
    return Image.fromarray(gaussian_blur(np.asarray(picture), sigma_px, blur.taps))


def gaussian_blur(pixels: npt.NDArray[np.uint8], sigma_px: float, taps: int) -> npt.NDArray[np.uint8]:
    """A Gaussian filter along the height, then along the width, over reflected borders.

    Computed in 32 bits on values in [0, 1]. Coming back to 8 bits, the fraction is cut off, not rounded, so
    that the picture gets darker by half a level on average, as in the reference.

    Args:
        pixels: [height, width, 3]; both sides longer than `taps // 2`, by which the border is reflected.
        sigma_px: Standard deviation of the Gaussian.
        taps: Odd length of the filter.

    Returns:
        [height, width, 3], a new array.

    Source:
        PyContrast, `pycontrast/datasets/util.py`, `GaussianBlur`; torchvision, `to_pil_image` (cutting).
        Differs: terms are added from the first tap to the last on every machine, where a convolution of
        torch chooses its own order; a value may land on the other side of a whole level.
    """
    reach = taps // 2
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma_px * sigma_px))
    # Normalised in 64 bits, then rounded once, as the reference copies them into its filter.
    weights = (weights / weights.sum()).astype(np.float32)
    values = pixels.astype(np.float32) / np.float32(255)
    values = _filter_rows(values, weights, reach)
    values = _filter_rows(values.swapaxes(0, 1), weights, reach).swapaxes(0, 1)
    return np.ascontiguousarray(values * np.float32(255)).astype(np.uint8)


def _filter_rows(
    values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], reach: int
) -> npt.NDArray[np.float32]:
    """`values` filtered along their first axis."""
    length = values.shape[0]
    padded = np.pad(values, ((reach, reach), (0, 0), (0, 0)), mode="reflect")
    total = np.zeros_like(padded[:length])
    term = np.empty_like(total)
    for shift, weight in enumerate(weights):
        np.multiply(padded[shift : shift + length], weight, out=term)
        total += term
    return total
