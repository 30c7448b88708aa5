"""From an image to what a method is fed: its views, and the patches beside them.

Three ways with the same draws. `pillow` is the reference. `batched` cuts with Pillow and does the rest with
the operations of `pretrain.views`; `crops` only cuts, and leaves the rest to the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from bench.core import rng
from bench.images.operations import apply_crop
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.views import DrawnView, draw_patches, draw_view, render_patches, render_view
from pretrain.config import PretrainConfig
from pretrain.data.buffers import Shapes
from pretrain.data.loader import Sample
from pretrain.views.batched import render_crops

Way = Literal["pillow", "batched", "crops"]
Pixels = npt.NDArray[np.uint8]


def make_views(config: PretrainConfig[Any], seed: int, device: torch.device) -> Views:
    """As `loop.views` says; on a GPU, all but cutting is left to it."""
    way: Way = "pillow" if config.loop.views == "pillow" else "batched"
    if way == "batched" and device.type == "cuda":
        way = "crops"
    return Views(config.views, config.jigsaw, seed, way)


@dataclass(frozen=True)
class Views:
    """Makes the views of an image: a function of (seed, epoch, index).

    Attributes:
        views: How each view of an image is made, in their order.
        jigsaw: How patches are, or None for none.
        seed: Of the run.
        way: By what.
    """

    views: tuple[ViewConfig, ...]
    jigsaw: JigsawConfig | None
    seed: int
    way: Way = "batched"

    @property
    def shapes(self) -> Shapes:
        """Sizes of what is made of each image."""
        patches = None
        if self.jigsaw:
            patches = (self.jigsaw.grid**2, self.jigsaw.patch_px, self.jigsaw.patch_px)
        return Shapes(tuple((view.crop_px, view.crop_px) for view in self.views), patches)

    def draw(self, size: tuple[int, int], index: int, epoch: int) -> tuple[DrawnView, ...]:
        """The draws of the views of one image of that width and height."""
        generator = self._generator(index, epoch)
        return tuple(draw_view(view, size, generator) for view in self.views)

    def _generator(self, index: int, epoch: int) -> np.random.Generator:
        return rng.generator(self.seed, "view", epoch, index)

    def __call__(self, image: Pixels, index: int, epoch: int) -> Sample:
        """Views and patches of [height, width, 3] uint8."""
        generator = self._generator(index, epoch)
        size = (image.shape[1], image.shape[0])
        drawn = tuple(draw_view(view, size, generator) for view in self.views)
        patches = None
        if self.jigsaw:
            patches = render_patches(self.jigsaw, draw_patches(self.jigsaw, size, generator), image)
        if self.way == "pillow":
            views = (render_view(view, one, image) for view, one in zip(self.views, drawn, strict=True))
            return Sample(tuple(views), patches)
        picture = Image.fromarray(image)
        crops = tuple(_crop(view, one, picture) for view, one in zip(self.views, drawn, strict=True))
        if self.way == "crops":
            return Sample(crops, patches, drawn)
        made = (_render(view, one, crop) for view, one, crop in zip(self.views, drawn, crops, strict=True))
        return Sample(tuple(made), patches)


def _crop(view: ViewConfig, drawn: DrawnView, picture: Image.Image) -> Pixels:
    return np.asarray(apply_crop(picture, drawn.crop, view.crop_px, view.crop_resample))


def _render(view: ViewConfig, drawn: DrawnView, crop: Pixels) -> Pixels:
    # A copy: what Pillow lends may not be written to, of which torch warns.
    crops = torch.from_numpy(crop.copy()).movedim(-1, -3).unsqueeze(0)
    pixels: Pixels = render_crops(view, [drawn], crops)[0].movedim(-3, -1).numpy()
    return pixels
