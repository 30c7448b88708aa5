"""IoU, accuracy and their means: worked out by hand, MMSegmentation's own, and exact."""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import EngineError
from tests.transfer.metrics.test_confusion import random_maps
from transfer.metrics.confusion import MAX_PIXELS, confusion
from transfer.metrics.miou import label_scores


def of_mmseg(pairs: list[tuple[np.ndarray, np.ndarray]], num_classes: int) -> tuple[Any, Any]:
    """What MMSegmentation prints of pairs of truth and found, and the numbers before they are rounded."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmseg.evaluation.metrics import IoUMetric

    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": [f"class{label}" for label in range(num_classes)]}
    for truth, found in pairs:
        sample = {
            "pred_sem_seg": {"data": torch.from_numpy(found.astype(np.int64))[None]},
            "gt_sem_seg": {"data": torch.from_numpy(truth)[None]},
        }
        metric.process({}, [sample])
    areas = [sum(parts) for parts in zip(*metric.results, strict=True)]
    return metric.compute_metrics(metric.results), IoUMetric.total_area_to_metrics(*areas)


def test_by_hand() -> None:
    """Class 0: 6 right, 2 taken for 1, 0 more found; class 1: 3 right, 1 taken for 0, 2 more found.

    IoU 6 / (6 + 2 + 1) and 3 / (3 + 1 + 2); accuracy 6 / 8 and 3 / 4; 9 of 12 pixels.
    """
    scores = label_scores(np.array([[6, 2], [1, 3]]))
    assert scores.iou.tolist() == [600 / 9, 50.0]
    assert scores.accuracy.tolist() == [75.0, 75.0]
    assert scores.in_truth.tolist() == [True, True]
    assert (scores.pixel_accuracy, scores.mean_accuracy) == (75.0, 75.0)
    assert scores.miou("classes_in_truth") == scores.miou("classes_in_union") == 350 / 6


def test_the_rules_differ_where_a_class_is_absent() -> None:
    """Of four classes, 2 is not in the truth but found in one pixel, and 3 is nowhere.

    IoU: 0: 4 / 5, 1: 5 / 5, 2: 0 / 1. Ours is the mean of two, 90; MMSegmentation's of three, 60.
    """
    matrix = np.array([[4, 0, 1, 0], [0, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = label_scores(matrix)
    assert scores.iou[:3].tolist() == [80.0, 100.0, 0.0]
    assert np.isnan(scores.iou[3])
    assert scores.accuracy[:2].tolist() == [80.0, 100.0]
    assert np.isnan(scores.accuracy[2:]).all()
    assert scores.in_truth.tolist() == [True, True, False, False]
    assert scores.miou("classes_in_truth") == 90.0
    assert scores.miou("classes_in_union") == 60.0
    assert scores.mean_accuracy == 90.0
    assert scores.pixel_accuracy == 90.0


def test_a_class_that_is_only_ignored_is_absent() -> None:
    truth, found = np.uint8([[0, 0, 255, 255]]), np.uint8([[0, 0, 1, 1]])
    scores = label_scores(confusion(truth, found, 2))
    assert scores.in_truth.tolist() == [True, False]
    assert scores.miou("classes_in_truth") == scores.miou("classes_in_union") == 100.0


def test_nothing_in_the_truth_gives_no_number() -> None:
    with pytest.raises(EngineError, match="ignored"):
        label_scores(np.zeros((3, 3), np.int64))
    truth, found = np.full((2, 2), 255, np.uint8), np.ones((2, 2), np.uint8)
    with pytest.raises(EngineError, match="ignored"):
        label_scores(confusion(truth, found, 3))


@pytest.mark.parametrize(
    "matrix",
    [[[1, -1], [0, 1]], [[1, 0]], [1], [[1.0]], [[[1]]], [[MAX_PIXELS + 1]], [[MAX_PIXELS, 1], [0, 0]]],
)
def test_what_is_no_confusion_matrix(matrix: Any) -> None:
    with pytest.raises(ValueError):
        label_scores(np.array(matrix))


def test_another_rule_gives_no_number() -> None:
    with pytest.raises(KeyError):
        label_scores(np.array([[1]])).miou("classes_in_found")  # type: ignore[arg-type]


CASES = list(itertools.product((1, 2, 21, 150), ("all", "absent", "ignored", "good")))


@pytest.mark.parametrize(("num_classes", "case"), CASES)
def test_equal_to_mmsegmentation(num_classes: int, case: str) -> None:
    """All classes; some not in the truth, or nowhere; half of the pixels ignored; most of them right."""
    random = np.random.default_rng(num_classes)
    pairs = [random_maps(seed, num_classes, (96 + seed, 130)) for seed in range(4)]
    for truth, found in pairs:
        if case == "absent":
            truth[(truth % 4 == 1) & (truth != 255)] = 0
            found[found % 8 == 5] = 0
        elif case == "ignored":
            truth[random.random(truth.shape) < 0.5] = 255
        elif case == "good":
            right = (random.random(truth.shape) < 0.95) & (truth != 255)
            found[right] = truth[right]
    printed, exact = of_mmseg(pairs, num_classes)
    scores = label_scores(sum(confusion(*pair, num_classes) for pair in pairs))
    assert scores.iou == pytest.approx(exact["IoU"] * 100, abs=1e-4, nan_ok=True)
    assert scores.accuracy == pytest.approx(exact["Acc"] * 100, abs=1e-4, nan_ok=True)
    for name, mine, theirs in (
        ("mIoU", scores.miou("classes_in_union"), np.nanmean(exact["IoU"])),
        ("mAcc", scores.mean_accuracy, np.nanmean(exact["Acc"])),
        ("aAcc", scores.pixel_accuracy, exact["aAcc"]),
    ):
        assert mine == pytest.approx(float(theirs) * 100, abs=1e-4)
        assert round(mine, 2) == pytest.approx(float(printed[name]), abs=1e-5)
    if case == "absent" and num_classes > 1:
        assert scores.miou("classes_in_truth") > scores.miou("classes_in_union")
        assert (scores.iou == 0).any()
        assert np.isnan(scores.iou).any() == (num_classes > 5)
    else:
        assert scores.in_truth.all()
        assert scores.miou("classes_in_truth") == scores.miou("classes_in_union")


def test_the_counts_beyond_single_precision_are_exact() -> None:
    """2**24 pixels right and 1 wrong, where MMSegmentation's sum rounds to 2**24 and accuracy to 100."""
    scores = label_scores(np.array([[2**24, 1], [0, 2**24]]))
    assert np.float32(2**24) + np.float32(1) == 2**24
    assert scores.accuracy[0] == float(Fraction(100 * 2**24, 2**24 + 1)) < 100.0
    assert scores.iou[1] == float(Fraction(100 * 2**24, 2**24 + 1))


cells = st.integers(0, 9) | st.integers(0, 2**24 + 9) | st.integers(2**31 - 9, 2**40)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    side = draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(cells, min_size=side, max_size=side), min_size=side, max_size=side))
    matrix = np.array(rows, np.int64)
    for label in draw(st.sets(st.integers(0, side - 1))):
        matrix[label] = 0
    if not matrix.any():
        matrix[0, 0] = 1
    return matrix


@settings(max_examples=200, deadline=None, derandomize=True)
@given(matrices())
def test_each_percentage_is_the_nearest_double(matrix: np.ndarray) -> None:
    scores = label_scores(matrix)
    rows = [[int(value) for value in row] for row in matrix]
    for label, row in enumerate(rows):
        there, found = sum(row), sum(other[label] for other in rows)
        union = there + found - row[label]
        assert scores.in_truth[label] == (there > 0)
        for value, whole in ((scores.iou[label], union), (scores.accuracy[label], there)):
            if whole == 0:
                assert np.isnan(value)
            else:
                assert value == float(Fraction(100 * row[label], whole))
                assert 0.0 <= value <= 100.0
    right, pixels = sum(rows[label][label] for label in range(len(rows))), sum(map(sum, rows))
    assert scores.pixel_accuracy == float(Fraction(100 * right, pixels))
    assert 0.0 <= scores.miou("classes_in_union") <= scores.miou("classes_in_truth") <= 100.0
    assert scores.miou("classes_in_truth") <= scores.mean_accuracy <= 100.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices(), st.randoms(use_true_random=False))
def test_other_labels_for_the_classes_change_no_number(matrix: np.ndarray, random: Any) -> None:
    order = list(range(len(matrix)))
    random.shuffle(order)
    scores, other = label_scores(matrix), label_scores(matrix[np.ix_(order, order)])
    assert np.array_equal(other.iou, scores.iou[order], equal_nan=True)
    assert np.array_equal(other.accuracy, scores.accuracy[order], equal_nan=True)
    assert other.miou("classes_in_truth") == scores.miou("classes_in_truth")
    assert other.miou("classes_in_union") == scores.miou("classes_in_union")
    assert other.mean_accuracy == scores.mean_accuracy
    assert other.pixel_accuracy == scores.pixel_accuracy


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_perfect_is_100_and_all_wrong_is_0(matrix: np.ndarray) -> None:
    perfect = label_scores(np.diag(matrix.sum(axis=1)))
    for value in (perfect.miou("classes_in_truth"), perfect.miou("classes_in_union"), perfect.mean_accuracy):
        assert value == 100.0
    assert perfect.pixel_accuracy == 100.0
    wrong = matrix - np.diag(np.diagonal(matrix))
    if wrong.any():
        scores = label_scores(wrong)
        assert scores.miou("classes_in_truth") == scores.miou("classes_in_union") == 0.0
        assert scores.pixel_accuracy == scores.mean_accuracy == 0.0
