"""Sheets of views: every picture in its place, the same as the run's, told what was done to it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import UsageError
from bench.core.rng import generator
from bench.images.operations import Crop
from bench.images.randaugment import DrawnOperation
from bench.images.sheet import TILE_PX
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.view_sheet import caption_of, view_sheet
from bench.images.views import DrawnView, make_patches
from tests.helpers.views import make_view
from tests.images.test_operations import picture

# Tiles are shown as they are at this size, so that pixels can be compared.
VIEW = ViewConfig(order=("crop", "flip"), crop_px=TILE_PX, crop_area=(0.2, 1.0), flip_probability=0.5)
JIGSAW = JigsawConfig(crop_px=255, patch_px=76)
STEP_X, STEP_Y, GAP = TILE_PX + 6, TILE_PX + 18 + 6, 6


def _tile(page: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = GAP + row * STEP_Y, GAP + column * STEP_X
    return page[top : top + TILE_PX, left : left + TILE_PX]


def _page(jigsaw: JigsawConfig | None, *, num_views: int, seed: int = 0) -> np.ndarray:
    images = [np.asarray(picture(TILE_PX, TILE_PX, seed=index)) for index in range(2)]
    return np.array(Image.open(io.BytesIO(view_sheet(images, [VIEW] * num_views, jigsaw, seed=seed))))


def test_a_row_is_the_image_its_views_and_its_patches() -> None:
    page = _page(JIGSAW, num_views=2, seed=4)
    assert page.shape == (GAP + 2 * STEP_Y, GAP + 4 * STEP_X, 3)
    for row in range(2):
        image, numbers = np.asarray(picture(TILE_PX, TILE_PX, seed=row)), generator(4, "view", 0, row)
        assert np.array_equal(_tile(page, row, 0), image)
        assert np.array_equal(_tile(page, row, 1), make_view(VIEW, image, numbers))
        assert np.array_equal(_tile(page, row, 2), make_view(VIEW, image, numbers))
        patches = make_patches(JIGSAW, image, numbers)
        shown = _tile(page, row, 3)
        # 3 patches of 76 and 2 gaps of 6 are 240.
        assert np.array_equal(shown[:76, :76], patches[0])
        assert np.array_equal(shown[:76, 82:158], patches[1])
        assert np.array_equal(shown[164:, 164:], patches[8])
        assert (shown[76:82] == 255).all() and (shown[:, 158:164] == 255).all()


def test_without_a_jigsaw_there_are_no_patches() -> None:
    assert _page(None, num_views=3).shape == (GAP + 2 * STEP_Y, GAP + 4 * STEP_X, 3)


def test_another_seed_is_another_sheet() -> None:
    assert np.array_equal(_page(None, num_views=1, seed=1), _page(None, num_views=1, seed=1))
    assert not np.array_equal(_page(None, num_views=1, seed=1), _page(None, num_views=1, seed=2))


def test_small_views_and_images_are_enlarged() -> None:
    view = ViewConfig(order=("crop",), crop_px=8, crop_area=(0.2, 1.0))
    sheet = view_sheet([np.asarray(picture(3, 200))], [view], JigsawConfig(), seed=0)
    assert Image.open(io.BytesIO(sheet)).size == (GAP + 3 * STEP_X, GAP + STEP_Y)


def test_a_caption_names_what_was_applied_in_order() -> None:
    order = ("crop", "flip", "jitter", "blur", "randaugment", "gray")
    view = VIEW.model_copy(update={"order": order})
    drawn = DrawnView((9, 9), Crop(0, 0, 9, 9))
    assert caption_of(view, drawn) == "crop"
    operations = (
        DrawnOperation("TranslateXRel", 9.5, 0.4, "bilinear"),
        DrawnOperation("PosterizeTpu", 9.5, 3.0, None),
    )
    drawn = DrawnView((9, 9), Crop(0, 0, 9, 9), True, (("hue", 0.1),), True, 1.2, operations)
    assert caption_of(view, drawn) == "flip jitter blur TranslateX Posterize gray"
    drawn = DrawnView((9, 9), Crop(0, 0, 9, 9), False, (), True)
    assert caption_of(view, drawn) == "gray"


@pytest.mark.parametrize(("count", "num_views"), [(0, 1), (1, 0)])
def test_nothing_to_show_is_refused(count: int, num_views: int) -> None:
    images = [np.asarray(picture())] * count
    with pytest.raises(UsageError, match=f"{count} images, {num_views} views"):
        view_sheet(images, [VIEW] * num_views, None, seed=0)
