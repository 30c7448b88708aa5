"""Draws of views: thousands of them held against a table of the presets."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from bench.core.config import check_config
from bench.core.rng import generator as generator_of
from bench.images.operations import JITTER_NAMES
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.views import DrawnView, draw_patches, draw_view

# PyContrast `pycontrast/datasets/util.py`: A and D with its queue, B with MoCo v2's order, which is the same.
# SimCLR: Chen et al. 2020, appendix A, at strength 1 in MMSelfSup's form, `imagenet_simclr.py`.
# What follows the crop: name, probability, then (low, high) of each number that is drawn.
TABLE: dict[str, dict[str, Any]] = {
    "A": {
        "order": ("crop", "flip", "jitter", "gray"),
        "area": (0.2, 1.0),
        "flip": 0.5,
        "jitter": (1.0, {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.4}),
        "gray": 0.2,
    },
    "B": {
        "order": ("crop", "flip", "jitter", "gray", "blur"),
        "area": (0.2, 1.0),
        "flip": 0.5,
        "jitter": (0.8, {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}),
        "gray": 0.2,
        "blur": ("pillow", 0.5, 0.1, 2.0, None),
    },
    "D": {
        "order": ("crop", "flip", "jitter", "blur", "randaugment", "gray"),
        "area": (0.2, 1.0),
        "flip": 0.5,
        "jitter": (0.8, {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}),
        "gray": 0.2,
        "blur": ("gaussian", 0.5, 0.1, 2.0, 23),
        "randaugment": {"magnitude": 10, "magnitude_std": 0.5, "operation_probability": 0.5},
    },
    "SimCLR": {
        "order": ("crop", "flip", "jitter", "gray", "blur"),
        "area": (0.08, 1.0),
        "flip": 0.5,
        "jitter": (0.8, {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}),
        "gray": 0.2,
        "blur": ("pillow", 0.5, 0.1, 2.0, None),
    },
}
COUNT = 6000
SIDE = 4000  # of the image drawn for: large, so that whole pixels do not blunt the distributions


def preset(name: str, crop_px: int = 224) -> ViewConfig:
    row = TABLE[name]
    values: dict[str, Any] = {"order": list(row["order"]), "crop_px": crop_px, "crop_area": list(row["area"])}
    values |= {"flip_probability": row["flip"], "gray_probability": row["gray"]}
    values["jitter"] = {"probability": row["jitter"][0], **row["jitter"][1]}
    if "blur" in row:
        kind, probability, low, high, taps = row["blur"]
        values["blur"] = {"kind": kind, "probability": probability, "sigma_low_px": low}
        values["blur"] |= {"sigma_high_px": high} | ({"taps": taps} if taps else {})
    if "randaugment" in row:
        values["randaugment"] = row["randaugment"]
    return check_config(ViewConfig, values, name)


@cache
def draws(name: str) -> list[DrawnView]:
    config = preset(name)
    return [draw_view(config, (SIDE, SIDE), generator_of(7, "view", 0, index)) for index in range(COUNT)]


def check_share(flags: list[bool], probability: float) -> None:
    """Within four deviations of the binomial; exact where nothing is left to chance."""
    deviation = math.sqrt(probability * (1 - probability) / len(flags))
    assert abs(np.mean(flags) - probability) <= 4 * deviation


def check_even(values: list[float], low: float, high: float) -> None:
    """Kolmogorov-Smirnov against an even distribution, at one in a thousand; the ends are nearly reached."""
    shares = (np.sort(values) - low) / (high - low)
    count = len(shares)
    assert count > 1000
    assert 0 <= shares[0] < 10 / count and 1 - 10 / count < shares[-1] <= 1
    above, below = np.arange(1, count + 1) / count - shares, shares - np.arange(count) / count
    assert max(above.max(), below.max()) < 1.95 / math.sqrt(count)


@pytest.mark.parametrize("name", TABLE)
def test_crops_are_even_in_area_and_log_ratio(name: str) -> None:
    low, high = TABLE[name]["area"]
    crops = [drawn.crop for drawn in draws(name)]
    areas = np.array([crop.height_px * crop.width_px for crop in crops]) / SIDE**2
    ratios = np.array([crop.width_px / crop.height_px for crop in crops])
    assert low - 1e-3 < areas.min() < low + 0.01 and 0.98 < areas.max() <= high
    # Up to 3/4 of the area every shape fits, so that none was drawn again.
    free = areas < 0.74
    assert free.sum() > COUNT / 2
    check_even(np.clip(areas[free], low, 0.74).tolist(), low, 0.74)
    logs = np.clip(np.log(ratios[free]), math.log(3 / 4), math.log(4 / 3))
    check_even(logs.tolist(), math.log(3 / 4), math.log(4 / 3))
    lefts = [crop.left_px / (SIDE - crop.width_px) for crop in crops if crop.width_px < SIDE]
    tops = [crop.top_px / (SIDE - crop.height_px) for crop in crops if crop.height_px < SIDE]
    check_even(lefts, 0.0, 1.0)
    check_even(tops, 0.0, 1.0)


@pytest.mark.parametrize("name", TABLE)
def test_operations_come_as_often_as_the_table_says(name: str) -> None:
    row, drawn = TABLE[name], draws(name)
    check_share([view.is_flipped for view in drawn], row["flip"])
    check_share([bool(view.jitter) for view in drawn], row["jitter"][0])
    check_share([view.is_gray for view in drawn], row["gray"])
    check_share([view.blur_sigma_px is not None for view in drawn], row["blur"][1] if "blur" in row else 0.0)
    # Two operations, each with probability 1/2.
    check_share([bool(view.randaugment) for view in drawn], 0.75 if "randaugment" in row else 0.0)


@pytest.mark.parametrize("name", TABLE)
def test_operations_do_not_depend_on_each_other(name: str) -> None:
    drawn = draws(name)
    flags = {
        "flip": [view.is_flipped for view in drawn],
        "gray": [view.is_gray for view in drawn],
        "jitter": [bool(view.jitter) for view in drawn],
        "blur": [view.blur_sigma_px is not None for view in drawn],
        "randaugment": [bool(view.randaugment) for view in drawn],
        "wide": [view.crop.width_px > view.crop.height_px for view in drawn],
    }
    varied = {key: values for key, values in flags.items() if 0 < sum(values) < len(values)}
    assert len(varied) >= 3
    for first, second in itertools.combinations(varied, 2):
        assert abs(np.corrcoef(varied[first], varied[second])[0, 1]) < 4 / math.sqrt(COUNT), (first, second)


@pytest.mark.parametrize("name", TABLE)
def test_colours_change_by_the_tables_strengths_in_every_order(name: str) -> None:
    changes = [view.jitter for view in draws(name) if view.jitter]
    orders = Counter(tuple(step for step, _ in change) for change in changes)
    assert orders.keys() == set(itertools.permutations(JITTER_NAMES))
    for order, times in orders.items():
        expected = len(changes) / 24
        assert abs(times - expected) < 4 * math.sqrt(expected * 23 / 24), order
    for step, strength in TABLE[name]["jitter"][1].items():
        centre = 0.0 if step == "hue" else 1.0
        check_even([dict(change)[step] for change in changes], centre - strength, centre + strength)


@pytest.mark.parametrize("name", ["B", "D", "SimCLR"])
def test_blurs_are_even_in_sigma(name: str) -> None:
    sigmas = [view.blur_sigma_px for view in draws(name) if view.blur_sigma_px is not None]
    check_even(sigmas, 0.1, 2.0)


def test_patches_are_drawn_as_the_table_says() -> None:
    jigsaw = JigsawConfig()
    drawn = [draw_patches(jigsaw, (SIDE, SIDE), generator_of(7, "view", 0, index)) for index in range(COUNT)]
    check_share([patches.is_flipped for patches in drawn], 0.5)
    areas = np.array([patches.crop.height_px * patches.crop.width_px for patches in drawn]) / SIDE**2
    assert 0.599 < areas.min() < 0.61 and 0.98 < areas.max() <= 1.0
    check_even(np.clip(areas[areas < 0.74], 0.6, 0.74).tolist(), 0.6, 0.74)
    corners = np.array([patches.corners_px for patches in drawn])
    assert corners.shape == (COUNT, 9, 2)
    for cell, side in itertools.product(range(9), range(2)):
        counts = np.bincount(corners[:, cell, side], minlength=22)
        assert len(counts) == 22 and np.abs(counts - COUNT / 22).max() < 4.5 * math.sqrt(COUNT / 22)
    assert abs(np.corrcoef(corners[:, 0, 0], corners[:, 0, 1])[0, 1]) < 4 / math.sqrt(COUNT)
    assert abs(np.corrcoef(corners[:, 0, 0], corners[:, 1, 0])[0, 1]) < 4 / math.sqrt(COUNT)
    orders = np.array([patches.order for patches in drawn])
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    for place in range(9):
        assert np.abs(np.bincount(orders[:, place]) - COUNT / 9).max() < 4 * math.sqrt(COUNT / 9 * 8 / 9)
