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
        view: How a view is made.
        jigsaw: How patches are, or None for none.
        num_views: Views of each image.
        seed: Of the run.
    """

    view: ViewConfig
    jigsaw: JigsawConfig | None
    num_views: int
    seed: int

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        """Views and patches of [height, width, 3] uint8."""
        draw = rng.generator(self.seed, "view", epoch, index)
        views = tuple(make_view(self.view, image, draw) for _ in range(self.num_views))
        patches = make_patches(self.jigsaw, image, draw) if self.jigsaw else None
        return Sample(views, patches)
