"""Views of an image for pretraining, exactly: drawn from one generator, rendered on the CPU.

A draw holds every parameter, so that it can be rendered again or by another backend; the rendering here is
the reference. With `bench.core.rng.generator(seed, "view", epoch, index)` the views of an image are a
function of their place in the run. No other source of random numbers is read or changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from bench.core.errors import ConfigError
from bench.images.operations import (
    Crop,
    JitterName,
    apply_blur,
    apply_crop,
    apply_flip,
    apply_gray,
    apply_jitter,
    apply_solarize,
    draw_crop,
    draw_jitter,
)
from bench.images.randaugment import DrawnOperation, apply_operation, draw_randaugment
from bench.images.view_config import CROP_RATIO, JigsawConfig, ViewConfig

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnView:
    """Every parameter of one view of one image.

    Attributes:
        size: Width and height of the image it was drawn for, in pixels.
        crop: The window that is resized to the view.
        is_flipped: Whether left and right are changed.
        jitter: Changes of colour in the order to apply them, with their factors; empty for none.
        is_gray: Whether the colours are taken out.
        blur_sigma_px: Standard deviation of the blur in pixels of the view; None for no blur.
        randaugment: Operations in the order to apply them; empty for none.
        is_solarized: Whether bright values are inverted.
    """

    size: tuple[int, int]
    crop: Crop
    is_flipped: bool = False
    jitter: tuple[tuple[JitterName, float], ...] = ()
    is_gray: bool = False
    blur_sigma_px: float | None = None
    randaugment: tuple[DrawnOperation, ...] = ()
    is_solarized: bool = False


@dataclass(frozen=True)
class DrawnPatches:
    """Every parameter of the patches of one image.

    Attributes:
        size: Width and height of the image they were drawn for, in pixels.
        crop: The window that is resized and cut into cells.
        is_flipped: Whether left and right of the window are changed, before it is cut.
        corners_px: Top and left of each patch in its cell; cells by rows.
        order: Which cell comes first, second, ...
    """

    size: tuple[int, int]
    crop: Crop
    is_flipped: bool
    corners_px: tuple[tuple[int, int], ...]
    order: tuple[int, ...]


def draw_view(config: ViewConfig, size: tuple[int, int], generator: np.random.Generator) -> DrawnView:
    """The parameters of one view; how many numbers are taken from `generator` depends on them.

    Args:
        config: What a view is made of.
        size: Width and height of the image in pixels.
        generator: The only source of random numbers.

    Source:
        PyContrast, `pycontrast/datasets/util.py`, `build_transforms`; He et al. 2020, Momentum Contrast,
        section 3.3; Tian et al. 2020, What Makes for Good Views, section 5.
        Differs: numbers come from one NumPy generator, not from the global ones of torch, NumPy and Python,
        so that draws agree in distribution and not one by one. Whether a flip, a blur or any other
        operation is applied has the same probability. In PyContrast, NumPy's global generator (blur,
        choice of RandAugment operations) had the same state in every worker under PyTorch before 1.9; here
        no two images share numbers.
    """
    crop = draw_crop(size, config.crop_area, config.crop_ratio, generator)
    is_flipped = is_gray = is_solarized = False
    jitter: tuple[tuple[JitterName, float], ...] = ()
    blur_sigma_px: float | None = None
    operations: tuple[DrawnOperation, ...] = ()
    for name in config.order:
        if name == "flip":
            is_flipped = generator.random() < config.flip_probability
        elif name == "gray":
            is_gray = generator.random() < config.gray_probability
        elif name == "solarize":
            is_solarized = generator.random() < config.solarize_probability
        elif name == "jitter" and config.jitter and generator.random() < config.jitter.probability:
            jitter = draw_jitter(config.jitter, generator)
        elif name == "blur" and config.blur and generator.random() < config.blur.probability:
            blur_sigma_px = float(generator.uniform(config.blur.sigma_low_px, config.blur.sigma_high_px))
        elif name == "randaugment" and config.randaugment:
            operations = draw_randaugment(config.randaugment, generator)
    return DrawnView(size, crop, is_flipped, jitter, is_gray, blur_sigma_px, operations, is_solarized)


def render_view(config: ViewConfig, drawn: DrawnView, image: Pixels) -> Pixels:
    """The pixels of a drawn view: [crop_px, crop_px, 3], in the order of `config.order`.

    Args:
        config: What the view was drawn from.
        drawn: Its parameters.
        image: [height, width, 3], RGB, of the size that it was drawn for.

    Raises:
        ValueError: no RGB image in 8 bits, or one of another size, which is our own fault.

    Source:
        As `draw_view`; the pixels are those of torchvision's transforms on Pillow images.
        Differs: see `bench.images.operations.gaussian_blur` and `bench.images.randaugment.apply_operation`.
        Pillow's own resizing and filters are those of the version installed, not of 2020.
    """
    picture = apply_crop(_picture(image, drawn.size), drawn.crop, config.crop_px, config.crop_resample)
    for name in config.order:
        if name == "flip" and drawn.is_flipped:
            picture = apply_flip(picture)
        elif name == "gray" and drawn.is_gray:
            picture = apply_gray(picture)
        elif name == "solarize" and drawn.is_solarized:
            picture = apply_solarize(picture)
        elif name == "jitter":
            picture = apply_jitter(picture, drawn.jitter)
        elif name == "blur" and config.blur and drawn.blur_sigma_px is not None:
            picture = apply_blur(picture, config.blur, drawn.blur_sigma_px)
        elif name == "randaugment" and config.randaugment:
            for operation in drawn.randaugment:
                picture = apply_operation(picture, operation, config.randaugment.fill)
    # A copy: what Pillow lends may not be written to.
    return np.array(picture)


def draw_patches(config: JigsawConfig, size: tuple[int, int], generator: np.random.Generator) -> DrawnPatches:
    """The parameters of the patches of one image of `size` (width and height in pixels).

    Source:
        PyContrast, `pycontrast/datasets/util.py`, `JigsawCrop`; Misra and van der Maaten 2020, PIRL.
        Differs: the random stream, as `draw_view`. The order of the patches is drawn here; PyContrast draws
        one for each image, too, but on the projections in the head (`pycontrast/networks/util.py`), where a
        remark says that it may as well be done to the data.
    """
    crop = draw_crop(size, config.crop_area, CROP_RATIO, generator)
    is_flipped = generator.random() < config.flip_probability
    count, slack_px = config.grid**2, config.cell_px - config.patch_px
    corners = generator.integers(0, slack_px + 1, size=(count, 2)).tolist()
    order = generator.permutation(count).tolist()
    return DrawnPatches(size, crop, is_flipped, tuple((top, left) for top, left in corners), tuple(order))


def render_patches(config: JigsawConfig, drawn: DrawnPatches, image: Pixels) -> Pixels:
    """The pixels of drawn patches: [grid * grid, patch_px, patch_px, 3], in the order drawn.

    Raises:
        ValueError: as `render_view`.
    """
    picture = apply_crop(_picture(image, drawn.size), drawn.crop, config.crop_px)
    pixels = np.asarray(apply_flip(picture) if drawn.is_flipped else picture)
    patches = []
    for cell in drawn.order:
        row, column = divmod(cell, config.grid)
        top, left = drawn.corners_px[cell]
        top, left = top + row * config.cell_px, left + column * config.cell_px
        patches.append(pixels[top : top + config.patch_px, left : left + config.patch_px])
    return np.stack(patches)


def make_patches(config: JigsawConfig, image: Pixels, generator: np.random.Generator) -> Pixels:
    """Patches of `image`, already in random order: [grid * grid, patch_px, patch_px, 3].

    Raises:
        ValueError: as `render_view`.
    """
    return render_patches(config, draw_patches(config, _size(image), generator), image)


def center_view(
    image: Pixels,
    *,
    resize_px: int,
    crop_px: int,
    resample: Literal["bilinear", "bicubic"] = "bilinear",
) -> Pixels:
    """The middle of an image, for evaluation: nothing in it is random.

    Args:
        image: [height, width, 3], RGB.
        resize_px: What the short side is resized to, with antialiasing; the usual one is 256.
        crop_px: Side of the square that is cut from the middle, at most `resize_px`; the usual one is 224.
        resample: How it is resized.

    Returns:
        [crop_px, crop_px, 3].

    Raises:
        ConfigError: `crop_px` is below 1 or above `resize_px`.
        ValueError: no RGB image in 8 bits, which is our own fault.

    Source:
        torchvision, `Resize` and `CenterCrop` on Pillow images.
        Differs: a crop larger than the resized image is refused; torchvision would add a black border.
    """
    if not 1 <= crop_px <= resize_px:
        raise ConfigError(
            f"a crop of {crop_px} px does not fit an image with a short side of {resize_px} px; "
            "expected a crop from 1 px up to that side"
        )
    picture = _picture(image, _size(image))
    resized = F.resize(picture, [resize_px], InterpolationMode(resample), antialias=True)
    return np.array(F.center_crop(resized, [crop_px, crop_px]))


def _size(image: Pixels) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected [height, width, 3] uint8, found {image.shape} {image.dtype}")
    return image.shape[1], image.shape[0]


def _picture(image: Pixels, size: tuple[int, int]) -> Image.Image:
    if _size(image) != size:
        raise ValueError(f"drawn for an image of {size[0]} x {size[1]} px, found {image.shape}")
    return Image.fromarray(image)
