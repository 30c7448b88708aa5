"""Crops of images and patches: they are windows of their image, and both views are of one window."""

from __future__ import annotations

import numpy as np
import torch

from pretrain.analysis.image_pairs import ImagePairs, centres, crops, to_values
from pretrain.analysis.pictures import Pictures
from pretrain.analysis.studies.patches import PatchPairs
from pretrain.views.colour_spaces import split


def numbered(count: int, side: int) -> Pictures:
    """Red tells the row, green the column, blue the image."""
    rows, columns = np.mgrid[:side, :side]
    pixels = np.zeros((count, side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = rows, columns
    pixels[..., 2] = np.arange(count)[:, None, None]
    return Pictures(pixels)


def levels(values: torch.Tensor) -> np.ndarray:
    return np.rint(values.permute(0, 2, 3, 1).numpy() * 255.0).astype(int)


def test_a_crop_is_a_window_of_its_own_image_at_every_place_and_both_ways_round() -> None:
    pictures, seen, mirrored = numbered(4, 10), set(), set()
    draw = np.random.default_rng(0)
    for _ in range(60):
        found = levels(crops(pictures, np.array([2, 0]), 8, draw))
        assert found[:, :, :, 2].tolist() == np.full((2, 8, 8), [[[2]], [[0]]]).tolist()
        for one in found:
            columns = one[0, :, 1]
            flip = bool(columns[0] > columns[1])
            top, left = int(one[0, 0, 0]), int(columns.min())
            window = pictures.pixels[0, top : top + 8, left : left + 8, :2]
            assert np.array_equal(one[..., :2], window[:, ::-1] if flip else window)
            seen.add((top, left))
            mirrored.add(flip)
    assert seen == {(top, left) for top in range(3) for left in range(3)}
    assert mirrored == {False, True}


def test_both_views_are_of_the_same_crop() -> None:
    pairs = ImagePairs(numbered(4, 10), 8, lambda values: split(values, (0,)), (1, 2))
    rows = np.array([3, 1])
    first, second = pairs.views(rows, np.random.default_rng(5))
    whole = crops(pairs.pictures, rows, 8, np.random.default_rng(5))
    assert torch.equal(torch.cat([first, second], dim=1), whole)


def test_the_middle_is_the_middle() -> None:
    pixels = numbered(2, 10).pixels
    assert np.array_equal(centres(pixels, 6), pixels[:, 2:8, 2:8])
    assert float(to_values(np.full((1, 2, 2, 3), 255, np.uint8)).min()) == 1.0


def test_patches_are_as_far_apart_as_is_said_and_in_either_order() -> None:
    pictures, orders = numbered(3, 40), set()
    for distance in (0, 4, 24):
        pairs = PatchPairs(pictures, 16, distance)
        draw = np.random.default_rng(1)
        places = set()
        for _ in range(40):
            views = pairs.views(np.array([1]), draw)
            one, two = (levels((view + 1.0) / 2.0)[0] for view in views)
            assert one[..., 2].tolist() == two[..., 2].tolist() == np.ones((16, 16)).tolist()
            down, right = (int(two[0, 0, at]) - int(one[0, 0, at]) for at in (0, 1))
            assert down == right
            assert abs(down) == distance
            orders.add(down > 0)
            places.add((min(one[0, 0, 0], two[0, 0, 0]), min(one[0, 0, 1], two[0, 0, 1])))
        room = 40 - 16 - distance
        assert all(0 <= place <= room for pair in places for place in pair)
        assert len(places) > 1 or room == 0
    assert orders == {False, True}
