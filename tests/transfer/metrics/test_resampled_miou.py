"""Mean IoU of images drawn anew against label maps that are counted as often as their image was drawn."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from tests.transfer.metrics.test_confusion import random_maps
from transfer.metrics.confusion import ImageLabels, LabelTest, confusion
from transfer.metrics.miou import MiouRule, label_scores
from transfer.metrics.resampled_miou import MeanIou

RULES: tuple[MiouRule, ...] = get_args(MiouRule)
NUM_CLASSES = 6

Pairs = list[tuple[np.ndarray, np.ndarray]]


def make_pairs(seed: int) -> Pairs:
    """Of each image, another class is not in the truth; of the first two, all pixels are ignored."""
    pairs = []
    for index in range(8):
        truth, found = random_maps(seed * 100 + index, NUM_CLASSES, (5 + index, 7))
        truth[np.isin(truth, (index % NUM_CLASSES, 5) if index != 4 else ())] = 255
        if index < 2:
            truth[:] = 255
        pairs.append((truth, found))
    return pairs


def test_of(pairs: Pairs) -> LabelTest:
    images = [ImageLabels.of(index, *pair, NUM_CLASSES) for index, pair in enumerate(pairs)]
    return LabelTest.of_images(images, range(len(pairs)), [f"class{label}" for label in range(NUM_CLASSES)])


test_of.__test__ = False  # type: ignore[attr-defined]


def slowly(pairs: Pairs, counts: np.ndarray, rule: MiouRule) -> list[float]:
    """Each pair as often as drawn, counted pixel by pixel."""
    values = []
    for times in counts:
        matrices = [
            confusion(truth, found, NUM_CLASSES)
            for (truth, found), count in zip(pairs, times.tolist(), strict=True)
            for _ in range(count)
        ]
        values.append(label_scores(np.sum(matrices, axis=0)).miou(rule))
    return values


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_as_if_each_image_were_there_as_often_as_drawn(seed: int, rule: MiouRule) -> None:
    pairs = make_pairs(seed)
    random = np.random.default_rng(seed)
    counts = np.stack([np.ones(8, np.int64), *random.multinomial(8, np.full(8, 1 / 8), 20)])
    counts = counts[counts[:, 2:].any(axis=1)]
    values = MeanIou.of(test_of(pairs), rule)(counts)
    assert values.dtype == np.float64
    assert np.allclose(values, slowly(pairs, counts, rule), rtol=0, atol=1e-9)
    assert values.std() > 0.5
    has_five = counts[:, 4] > 0  # the one image with class 5 in the truth
    assert 0 < has_five.sum() < len(counts), "a class should be missing from some resamples"


def test_by_hand() -> None:
    """Image a: 3 of 4 pixels of class 0 right, one taken for 1. Image b: both pixels of class 1 right."""
    pairs = [(np.uint8([[0, 0, 0, 0]]), np.uint8([[0, 0, 0, 1]])), (np.uint8([[1, 1]]), np.uint8([[1, 1]]))]
    test, counts = test_of(pairs), np.array([[1, 1], [1, 0], [0, 1], [2, 1]])
    in_truth = MeanIou.of(test, "classes_in_truth")(counts)
    assert in_truth == pytest.approx([100 * (3 / 4 + 2 / 3) / 2, 75.0, 100.0, 100 * (3 / 4 + 2 / 4) / 2])
    in_union = MeanIou.of(test, "classes_in_union")(counts)
    assert in_union == pytest.approx([100 * (3 / 4 + 2 / 3) / 2, 75 / 2, 100.0, 100 * (3 / 4 + 2 / 4) / 2])


@pytest.mark.parametrize("rule", RULES)
def test_where_all_is_ignored_there_is_no_value(rule: MiouRule) -> None:
    values = MeanIou.of(test_of(make_pairs(0)), rule)(np.array([[8, 0, 0, 0, 0, 0, 0, 0], [0] * 8, [1] * 8]))
    assert np.isnan(values).tolist() == [True, True, False]


def test_large_counts_are_exact() -> None:
    """2**45 pixels and one more."""
    test = LabelTest(
        image_ids=("a", "b"),
        classes=("x", "y"),
        image=np.array([0, 1, 1]),
        truth=np.array([0, 0, 1]),
        found=np.array([0, 1, 1]),
        count=np.array([2**45, 1, 2**20]),
        num_ignored=np.zeros(2, np.int64),
    )
    (value,) = MeanIou.of(test, "classes_in_truth")(np.ones((1, 2), np.int64))
    assert value == label_scores(test.matrix()).miou("classes_in_truth")
