"""Top-1 of images drawn anew against the accuracy of a test that has each image as often."""

from __future__ import annotations

import numpy as np
import pytest

from transfer.metrics.accuracy import ClassTest, measure
from transfer.metrics.resampled_accuracy import top1

CLASSES = tuple("abcdefg")


def make(seed: int, num_images: int = 9) -> ClassTest:
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(CLASSES), num_images)
    ranked = np.stack([random.permutation(len(CLASSES))[:5] for _ in truth])
    is_right = random.random(num_images) < 0.5
    ranked[is_right, 0] = truth[is_right]
    return ClassTest(truth, ranked, tuple(map(str, range(num_images))), CLASSES, {})


def copied(test: ClassTest, times: np.ndarray) -> ClassTest:
    rows = np.repeat(np.arange(len(times)), times)
    return ClassTest(test.truth[rows], test.ranked[rows], tuple(map(str, range(len(rows)))), CLASSES, {})


@pytest.mark.parametrize("seed", range(5))
def test_as_if_each_image_were_there_as_often_as_drawn(seed: int) -> None:
    test = make(seed)
    counts = np.random.default_rng(seed).integers(0, 4, (20, 9))
    values = top1(test)(counts)
    expected = [measure(copied(test, times), CLASSES).metrics["top1"] for times in counts]
    assert np.allclose(values, expected, rtol=0, atol=1e-9)
    assert values.std() > 1.0


def test_by_hand() -> None:
    """Of three images the first is right; where none is drawn there is no value."""
    ranked = np.array([[0, 1], [0, 1], [0, 1]])
    test = ClassTest(np.array([0, 1, 1]), ranked, tuple("xyz"), ("a", "b"), {})
    values = top1(test)(np.array([[1, 1, 1], [3, 0, 0], [2, 1, 1], [0, 2, 1], [0, 0, 0]]))
    assert values[:4] == pytest.approx([100 / 3, 100.0, 50.0, 0.0])
    assert np.isnan(values[4])
