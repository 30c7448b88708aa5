"""Sheets of views: what the network will see of each image, to look at before a pretraining run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.core.errors import UsageError
from bench.core.rng import generator
from bench.images.randaugment import DrawnOperation
from bench.images.sheet import Tile, sheet_png
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.views import DrawnView, draw_view, make_patches, render_view

_GAP_PX = 6
_PAPER = 255


def view_sheet(
    images: list[npt.NDArray[np.uint8]],
    views: Sequence[ViewConfig],
    jigsaw: JigsawConfig | None,
    *,
    seed: int,
) -> bytes:
    """The PNG of a sheet: one row an image, with the image, its views and its patches.

    The caption of a view names what was applied to it. Patches stand in their random order, by rows.

    Args:
        images: [height, width, 3] uint8 RGB each; at least one.
        views: What each view of an image is made of, at least one.
        jigsaw: What the patches are made of; None for no patches.
        seed: As of a run. Image i is drawn as the image of index i is in epoch 0: its views one after
            another, then its patches.

    Raises:
        UsageError: no image, or no view.
    """
    if not images or not views:
        raise UsageError(f"{len(images)} images, {len(views)} views of each: expected 1 at least of both")
    tiles = []
    for index, image in enumerate(images):
        size = (image.shape[1], image.shape[0])
        tiles.append(Tile(image, f"image {index}: {size[0]} x {size[1]}"))
        numbers = generator(seed, "view", 0, index)
        for view in views:
            drawn = draw_view(view, size, numbers)
            tiles.append(Tile(render_view(view, drawn, image), caption_of(view, drawn)))
        if jigsaw is not None:
            patches = make_patches(jigsaw, image, numbers)
            tiles.append(Tile(_grid(patches, jigsaw.grid), f"{len(patches)} patches of {jigsaw.patch_px}"))
    return sheet_png(tiles, columns=1 + len(views) + (jigsaw is not None))


def caption_of(view: ViewConfig, drawn: DrawnView) -> str:
    """What was applied in a view besides the crop, in its order, as "flip gray"; "crop" for nothing else."""
    words: list[str] = []
    for name in view.order:
        if name == "randaugment":
            words += [_short_name(operation) for operation in drawn.randaugment]
        elif (
            (name == "flip" and drawn.is_flipped)
            or (name == "gray" and drawn.is_gray)
            or (name == "solarize" and drawn.is_solarized)
            or (name == "jitter" and drawn.jitter)
            or (name == "blur" and drawn.blur_sigma_px is not None)
        ):
            words.append(name)
    return " ".join(words) or "crop"


def _short_name(operation: DrawnOperation) -> str:
    # As long as the longest of these still fits below a picture.
    return operation.name.removesuffix("Rel").removesuffix("Tpu")


def _grid(patches: npt.NDArray[np.uint8], grid: int) -> npt.NDArray[np.uint8]:
    """Patches by rows with gaps between them, one square picture."""
    side_px = patches.shape[1]
    step_px = side_px + _GAP_PX
    page = np.full((grid * step_px - _GAP_PX, grid * step_px - _GAP_PX, 3), _PAPER, dtype=np.uint8)
    for place, patch in enumerate(patches):
        top, left = (step_px * part for part in divmod(place, grid))
        page[top : top + side_px, left : left + side_px] = patch
    return page
