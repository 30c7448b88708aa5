"""What a view is made of: one table of a pretraining config, read strictly, every field with its range.

`bench.images.views` draws and renders what is said here. Sizes are in pixels of the view, probabilities and
shares between 0 and 1. The config files say which publication each value comes from.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.core.config import Section

ViewOperation = Literal["crop", "flip", "jitter", "gray", "blur", "solarize", "randaugment"]

CROP_RATIO = (3.0 / 4.0, 4.0 / 3.0)
"""Width to height of a crop: torchvision `RandomResizedCrop`, after Szegedy et al. 2015, section 6."""

SidePx = Annotated[int, Field(ge=8, le=4096)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
# An operation that is never applied is left out instead, so that nothing reads as if it were on.
Chance = Annotated[float, Field(gt=0.0, le=1.0)]
AreaShare = Annotated[float, Field(gt=0.0, le=1.0)]
SideRatio = Annotated[float, Field(ge=0.1, le=10.0)]
# Below a hundredth of a pixel nothing is blurred, and its square would leave the range of numbers.
SigmaPx = Annotated[float, Field(ge=0.01, le=64.0)]
JitterStrength = Annotated[float, Field(ge=0.0, le=4.0)]
Colour = Annotated[int, Field(ge=0, le=255)]


class Jitter(Section):
    """Random changes of colour, the four in random order, as torchvision's `ColorJitter`.

    A strength b of brightness, contrast or saturation means a factor drawn evenly from max(0, 1 - b) to
    1 + b, no unit. A strength of 0 leaves that change out.
    """

    brightness: JitterStrength
    contrast: JitterStrength
    saturation: JitterStrength
    # Drawn evenly from -hue to hue, in turns of the colour circle.
    hue: Annotated[float, Field(ge=0.0, le=0.5)]
    # Of the four together.
    probability: Chance

    @model_validator(mode="after")
    def _changes_something(self) -> Jitter:
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ValueError("brightness, contrast, saturation, hue: one at least must be above 0")
        return self


class Blur(Section):
    """A Gaussian blur; its sigma is drawn evenly from `sigma_low_px` to `sigma_high_px`.

    `pillow` is Pillow's `GaussianBlur(radius=sigma)`, an approximation by three box filters (MoCo v2's).
    `gaussian` is a convolution with `taps` samples of a Gaussian in each direction (InfoMin's, 23 taps).
    """

    kind: Literal["pillow", "gaussian"]
    probability: Chance
    sigma_low_px: SigmaPx
    sigma_high_px: SigmaPx
    # Length of the filter in pixels; odd, so that it has a middle.
    taps: Annotated[int, Field(ge=3, le=255)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Blur:
        if self.sigma_low_px > self.sigma_high_px:
            raise ValueError(f"sigma_low_px {self.sigma_low_px} is above sigma_high_px {self.sigma_high_px}")
        if self.kind == "pillow" and self.taps is not None:
            raise ValueError("taps is for kind 'gaussian' alone; leave it out for 'pillow'")
        if self.kind == "gaussian" and (self.taps is None or self.taps % 2 == 0):
            raise ValueError(f"taps must be an odd number for kind 'gaussian', found {self.taps}")
        return self


class RandAugment(Section):
    """A few operations drawn with replacement out of a list, each then applied by chance.

    The lists and the scales are in `bench.images.randaugment`. InfoMin's is `rand-n2-m10-mstd0.5`: 2 out of
    all fifteen, magnitude 10, deviation 0.5, applied with probability 0.5. CMC v2's leaves out what changes
    colours.
    """

    out_of: Literal["all", "colour_free"] = "all"

    operations: Annotated[int, Field(ge=1, le=15)] = 2
    # Mean and standard deviation on the scale from 0 to 10, to which a draw is cut.
    magnitude: Annotated[float, Field(ge=0.0, le=10.0)]
    magnitude_std: Annotated[float, Field(ge=0.0, le=10.0)]
    # Of each operation drawn, by itself.
    operation_probability: Chance
    # Of the side, at magnitude 10.
    translate_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.45
    # RGB of what comes in from outside; the default is ImageNet's mean, 255 (0.485, 0.456, 0.406).
    fill: tuple[Colour, Colour, Colour] = (124, 116, 104)


class ViewConfig(Section):
    """One view of an image: a crop, then what `order` says, in that order.

    An operation stands in `order` if and only if it is given: `jitter`, `blur` and `randaugment` as tables,
    `flip`, `gray` and `solarize` as a probability above 0.
    """

    order: tuple[ViewOperation, ...] = Field(min_length=1)
    # Side of the square view.
    crop_px: SidePx
    # Share of the image's area, drawn evenly between the two.
    crop_area: tuple[AreaShare, AreaShare]
    # Width to height, its logarithm drawn evenly.
    crop_ratio: tuple[SideRatio, SideRatio] = CROP_RATIO
    # How the crop is resized, antialiased in both; BYOL, Barlow Twins, VICReg and DINO take bicubic.
    crop_resample: Literal["bilinear", "bicubic"] = "bilinear"
    flip_probability: Probability = 0.0
    gray_probability: Probability = 0.0
    solarize_probability: Probability = 0.0
    jitter: Jitter | None = None
    blur: Blur | None = None
    randaugment: RandAugment | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ViewConfig:
        _check_rises("crop_area", self.crop_area)
        _check_rises("crop_ratio", self.crop_ratio)
        if self.order[0] != "crop":
            raise ValueError(f"order must start with 'crop', found {self.order[0]!r}")
        if len(set(self.order)) != len(self.order):
            raise ValueError(f"order names an operation twice: {', '.join(self.order)}")
        given = {
            "flip_probability": ("flip", self.flip_probability > 0),
            "jitter": ("jitter", self.jitter is not None),
            "gray_probability": ("gray", self.gray_probability > 0),
            "blur": ("blur", self.blur is not None),
            "solarize_probability": ("solarize", self.solarize_probability > 0),
            "randaugment": ("randaugment", self.randaugment is not None),
        }
        for field, (name, is_given) in given.items():
            if is_given and name not in self.order:
                raise ValueError(
                    f"{field} is given, but {name!r} is not in order; add it or leave out {field}"
                )
            if not is_given and name in self.order:
                raise ValueError(f"order has {name!r}, but {field} is not given or 0")
        reach = self.blur.taps // 2 if self.blur and self.blur.taps else 0
        if self.crop_px <= reach:
            # The border is reflected, and a reflection cannot be longer than what it shows.
            raise ValueError(f"crop_px {self.crop_px} must be above half of blur.taps, {reach}")
        return self


class JigsawConfig(Section):
    """The patches of an image: a crop cut into a grid, of each cell a patch at a random place.

    The defaults are PyContrast's (`pycontrast/datasets/util.py`), as in PIRL and InfoMin.
    """

    # Side of the square crop that is cut.
    crop_px: SidePx = 255
    # Share of the image's area, drawn evenly between the two; width to height as `CROP_RATIO`.
    crop_area: tuple[AreaShare, AreaShare] = (0.6, 1.0)
    # Of the crop as a whole.
    flip_probability: Probability = 0.5
    # Cells along a side.
    grid: Annotated[int, Field(ge=2, le=16)] = 3
    patch_px: SidePx = 64

    @model_validator(mode="after")
    def _fits_together(self) -> JigsawConfig:
        _check_rises("crop_area", self.crop_area)
        if self.cell_px < self.patch_px:
            raise ValueError(
                f"patch_px {self.patch_px} is larger than a cell of {self.cell_px} px "
                f"(crop_px {self.crop_px} in {self.grid} parts)"
            )
        return self

    @property
    def cell_px(self) -> int:
        """Side of a cell; what is left over at the right and at the bottom is unused."""
        return self.crop_px // self.grid


def _check_rises(field: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{field}: {bounds[0]} is above {bounds[1]}; expected the lower bound first")
