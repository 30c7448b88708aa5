"""Polygons and run lengths give back the mask, by the reference implementation of COCO."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from bench.synth.outline import polygons, run_lengths


def _painted(mask: np.ndarray) -> np.ndarray:
    shapes = polygons(mask)
    if not shapes:
        return np.zeros_like(mask)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(shapes, *mask.shape))).astype(bool)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    bits=st.integers(0, 2**144 - 1),
)
def test_any_mask_comes_back(height: int, width: int, bits: int) -> None:
    flat = [(bits >> place) & 1 for place in range(height * width)]
    mask = np.array(flat, dtype=bool).reshape(height, width)
    assert np.array_equal(_painted(mask), mask)
    runs = run_lengths(mask)
    assert sum(runs) == mask.size
    assert np.array_equal(
        coco_mask.decode(coco_mask.frPyObjects({"counts": runs, "size": mask.shape}, *mask.shape)), mask
    )


def test_a_square_is_one_polygon_of_four_corners() -> None:
    mask = np.zeros((8, 9), dtype=bool)
    mask[2:5, 3:7] = True
    (polygon,) = polygons(mask)
    corners = {tuple(polygon[place : place + 2]) for place in range(0, len(polygon), 2)}
    assert len(polygon) == 8
    assert corners == {(3, 2), (7, 2), (7, 5), (3, 5)}


def test_a_hole_is_cut_open() -> None:
    mask = np.ones((9, 9), dtype=bool)
    mask[3:6, 3:6] = False
    assert len(polygons(mask)) == 2


@pytest.mark.parametrize(
    ("mask", "runs"), [([[0, 1], [0, 1]], [2, 2]), ([[1, 0], [1, 0]], [0, 2, 2]), ([[0]], [1])]
)
def test_run_lengths_by_hand(mask: list[list[int]], runs: list[int]) -> None:
    assert run_lengths(np.array(mask, dtype=bool)) == runs
