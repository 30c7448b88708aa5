"""A view drawn and rendered in one go."""

from __future__ import annotations

import numpy as np

from bench.images.view_config import ViewConfig
from bench.images.views import Pixels, draw_view, render_view


def make_view(config: ViewConfig, image: Pixels, generator: np.random.Generator) -> Pixels:
    """[crop_px, crop_px, 3], by the reference renderer."""
    size = (image.shape[1], image.shape[0])
    return render_view(config, draw_view(config, size, generator), image)
