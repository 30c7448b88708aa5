"""From an image to what a method is fed: its views, and the patches beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core import rng
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.views import make_patches, make_view
from pretrain.data.loader import Sample


@dataclass(frozen=True)
class Views:
    """Makes the views of an image: a function of (seed, epoch, index).

    Attributes:
        views: How each view of an image is made, in their order.
        jigsaw: How patches are, or None for none.
        seed: Of the run.
    """

    views: tuple[ViewConfig, ...]
    jigsaw: JigsawConfig | None
    seed: int

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        """Views and patches of [height, width, 3] uint8."""
        draw = rng.generator(self.seed, "view", epoch, index)
        views = tuple(make_view(view, image, draw) for view in self.views)
        patches = make_patches(self.jigsaw, image, draw) if self.jigsaw else None
        return Sample(views, patches)
