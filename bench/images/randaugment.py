"""RandAugment in the form of InfoMin: its operations, their scales of strength, drawn and applied.

Source of the list and of every scale: PyContrast, `pycontrast/datasets/RandAugment.py` (an early form of
timm's `timm/data/auto_augment.py`), after Cubuk et al. 2019, RandAugment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from bench.images.view_config import RandAugment

Resample = Literal["bilinear", "bicubic"]

OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeTpu",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
COLOUR_FREE = (
    "AutoContrast",
    "Identity",
    "Rotate",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
"""What CMC v2 draws out of, whose views are told apart by colour; one of them changes nothing."""
_LISTS = {"all": OPERATIONS, "colour_free": COLOUR_FREE}

SIGNED = frozenset({"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"})
"""Those that move pixels: their sign is drawn, and so is how they interpolate."""

MAX_MAGNITUDE = 10.0
_MAX_DEGREES = 30.0
_MAX_SHEAR = 0.3
# Solarize-add brightens what is darker than half of 256.
_MAX_ADDED = 110
_SOLARIZE_ADD_BELOW = 128

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ENHANCE = {
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Brightness": ImageEnhance.Brightness,
    "Sharpness": ImageEnhance.Sharpness,
}


@dataclass(frozen=True)
class DrawnOperation:
    """One operation that is applied.

    Attributes:
        name: One of `OPERATIONS` or `COLOUR_FREE`.
        magnitude: The strength drawn, cut to 0 to 10.
        argument: What the magnitude means for this operation, with its sign; see `argument_of`.
        resample: How pixels between pixels are found; None for those that move none.
    """

    name: str
    magnitude: float
    argument: float
    resample: Resample | None


def argument_of(name: str, magnitude: float, *, translate_fraction: float) -> float:
    """What a magnitude means for one operation, before its sign.

    Args:
        name: One of `OPERATIONS` or `COLOUR_FREE`.
        magnitude: From 0 to 10.
        translate_fraction: Of the side, at magnitude 10.

    Returns:
        Rotate: degrees, up to 30. Shear: pixels aside per pixel along, up to 0.3. Translate: share of the
        side. PosterizeTpu: bits that stay, a whole number from 0 to 4. Solarize: the level from which on
        values are inverted, a whole number up to 256, which inverts none. SolarizeAdd: levels added below
        128, a whole number up to 110. Color, Contrast, Brightness, Sharpness: Pillow's factor, 0.1 to 1.9,
        where 1 changes nothing. The others have no strength: 0.
    """
    # The division first: it decides which whole number a magnitude is cut to.
    share = magnitude / MAX_MAGNITUDE
    if name in _ENHANCE:
        return share * 1.8 + 0.1
    if name == "Rotate":
        return share * _MAX_DEGREES
    if name in ("ShearX", "ShearY"):
        return share * _MAX_SHEAR
    if name in ("TranslateXRel", "TranslateYRel"):
        return share * translate_fraction
    if name == "PosterizeTpu":
        return float(int(share * 4))
    if name == "Solarize":
        return float(int(share * 256))
    if name == "SolarizeAdd":
        return float(int(share * _MAX_ADDED))
    return 0.0


def draw_randaugment(config: RandAugment, generator: np.random.Generator) -> tuple[DrawnOperation, ...]:
    """The operations to apply, in order: none up to `config.operations`.

    Each is drawn evenly out of `config.out_of`, may come twice, and is applied by chance. Its magnitude is
    drawn from a normal distribution and cut to 0 to 10: at mean 10, half of them are exactly 10.

    Source:
        PyContrast, `pycontrast/datasets/RandAugment.py`, `RandAugment` and `AutoAugmentOp`.
        Differs: none but the random stream.
    """
    drawn, names = [], _LISTS[config.out_of]
    for index in generator.integers(0, len(names), size=config.operations):
        if generator.random() >= config.operation_probability:
            continue
        name = names[index]
        magnitude = float(np.clip(generator.normal(config.magnitude, config.magnitude_std), 0, MAX_MAGNITUDE))
        argument = argument_of(name, magnitude, translate_fraction=config.translate_fraction)
        resample: Resample | None = None
        if name in SIGNED:
            argument = -argument if generator.random() < 0.5 else argument
            resample = "bilinear" if generator.random() < 0.5 else "bicubic"
        drawn.append(DrawnOperation(name, magnitude, argument, resample))
    return tuple(drawn)


def apply_operation(
    picture: Image.Image, operation: DrawnOperation, fill: tuple[int, int, int]
) -> Image.Image:
    """`picture` after one operation.

    Args:
        picture: RGB.
        operation: What to do.
        fill: RGB of what comes in from outside.

    Source:
        PyContrast, `pycontrast/datasets/RandAugment.py`, on Pillow's operations.
        Differs: to keep 0 bits gives black, as Pillow did then; it refuses that now.
    """
    name, argument = operation.name, operation.argument
    if operation.resample is not None:
        return _move(picture, name, argument, _RESAMPLING[operation.resample], fill)
    if name in _ENHANCE:
        return _ENHANCE[name](picture).enhance(argument)
    if name == "Identity":
        return picture
    if name == "AutoContrast":
        return ImageOps.autocontrast(picture)
    if name == "Equalize":
        return ImageOps.equalize(picture)
    if name == "Invert":
        return ImageOps.invert(picture)
    if name == "Solarize":
        return ImageOps.solarize(picture, int(argument))
    if name == "PosterizeTpu":
        mask = 256 - 2 ** (8 - int(argument))
        return picture.point([level & mask for level in range(256)] * 3)
    if name == "SolarizeAdd":
        added = int(argument)
        table = [min(level + added, 255) if level < _SOLARIZE_ADD_BELOW else level for level in range(256)]
        return picture.point(table * 3)
    raise KeyError(name)


def _move(
    picture: Image.Image, name: str, argument: float, resample: Image.Resampling, fill: tuple[int, int, int]
) -> Image.Image:
    if name == "Rotate":
        return picture.rotate(argument, resample=resample, fillcolor=fill)
    # Where each pixel comes from: x' = a x + b y + c, y' = d x + e y + f.
    width, height = picture.size
    sources = {
        "ShearX": (1, argument, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, argument, 1, 0),
        "TranslateXRel": (1, 0, argument * width, 0, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, argument * height),
    }
    affine = Image.Transform.AFFINE
    return picture.transform(picture.size, affine, sources[name], resample=resample, fillcolor=fill)
