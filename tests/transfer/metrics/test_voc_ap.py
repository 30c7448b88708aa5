"""VOC AP against Detectron2's evaluator, bit for bit, and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.voc_boxes import detectron2_evaluator, hand_over, make_boxes, write_folder
from transfer.metrics.detections import Detections, ImageDetections, Truth
from transfer.metrics.voc_ap import THRESHOLDS, Rule, voc_ap

RULES: dict[Rule, int] = {"voc07_11point": 2007, "area": 2012}


def detectron2_per_class(
    evaluator: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], np.ndarray]:
    """What Detectron2 prints, and the AP of each class and threshold behind it."""
    from detectron2.evaluation import pascal_voc_evaluation as theirs

    values: list[float] = []
    real = theirs.voc_eval

    def kept(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        values.append(result[2] * 100)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(theirs, "voc_eval", kept)
        metrics = {name: float(value) for name, value in evaluator.evaluate()["bbox"].items()}
    return metrics, np.array(values).reshape(-1, len(THRESHOLDS))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("seed", "digits"), [(0, 7), (1, 2), (2, 1)])
def test_equal_to_detectron2_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule, seed: int, digits: int
) -> None:
    truth, found = make_boxes(
        seed, num_images=60, num_classes=4, num_objects=260, num_detections=3000, num_score_digits=digits
    )
    write_folder(tmp_path, truth)
    evaluator = detectron2_evaluator(tmp_path, truth.classes, RULES[rule])
    hand_over(evaluator, truth, found)
    metrics, per_class = detectron2_per_class(evaluator, monkeypatch)
    ours = voc_ap(truth, found, rule=rule, order="detectron2")
    assert 5.0 < metrics["AP50"] < 95.0, "the case should be neither empty nor perfect"
    assert np.array_equal(ours.per_class, per_class)
    assert ours.metrics == metrics


@pytest.mark.parametrize("rule", RULES)
def test_the_orders_differ_in_ties_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """With NumPy's stable sort in it, Detectron2's evaluator gives our stable number to the last bit."""
    from detectron2.evaluation import pascal_voc_evaluation as theirs

    truth, found = make_boxes(
        3, num_images=60, num_classes=4, num_objects=260, num_detections=3000, num_score_digits=1
    )
    stable, as_theirs = (voc_ap(truth, found, rule=rule, order=order) for order in ("stable", "detectron2"))
    assert not np.array_equal(stable.per_class, as_theirs.per_class), "no tie was decided otherwise"
    write_folder(tmp_path, truth)
    evaluator = detectron2_evaluator(tmp_path, truth.classes, RULES[rule])
    hand_over(evaluator, truth, found)

    class Stable:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name, bool)

        def argsort(self, values: np.ndarray) -> np.ndarray:
            return np.argsort(values, kind="stable")

    with monkeypatch.context() as patch:
        patch.setattr(theirs, "np", Stable())
        _, per_class = detectron2_per_class(evaluator, monkeypatch)
    assert np.array_equal(stable.per_class, per_class)


def test_without_ties_there_is_one_order() -> None:
    truth, found = make_boxes(4, num_images=40, num_classes=3, num_objects=150, num_detections=900)
    scores = (np.random.default_rng(0).permutation(900) / 1000).astype(np.float32)
    found = replace(found, scores=scores)
    first, second = (
        voc_ap(truth, found, rule="area", order=order).per_class for order in ("stable", "detectron2")
    )
    assert np.array_equal(first, second)


def truth_of(*boxes: tuple[int, int, int, int, int], difficult: tuple[int, ...] = ()) -> Truth:
    """Objects of one class on as many images as are named: (image, xmin, ymin, xmax, ymax)."""
    num_images = max(box[0] for box in boxes) + 1
    return Truth(
        image_ids=tuple(str(index) for index in range(num_images)),
        classes=("thing",),
        image=np.array([box[0] for box in boxes]),
        label=np.zeros(len(boxes), np.int64),
        boxes=np.array([box[1:] for box in boxes], np.float64),
        difficult=np.array([index in difficult for index in range(len(boxes))]),
    )


def found_of(*boxes: tuple[int, float, float, float, float, float]) -> Detections:
    """(image, score, 1-based box as in the XML)."""
    rows = [
        ImageDetections(
            image, np.zeros(1, np.int64), np.float32([score]), np.float32([[x0 - 1, y0 - 1, x1, y1]])
        )
        for image, score, x0, y0, x1, y1 in boxes
    ]
    return Detections.of_images(rows)


A, B, NOWHERE = (1, 1, 100, 100), (201, 201, 300, 300), (401, 401, 450, 450)


def eleven(truth: Truth, found: Detections) -> dict[str, float]:
    return voc_ap(truth, found, rule="voc07_11point").metrics


def area(truth: Truth, found: Detections) -> dict[str, float]:
    return voc_ap(truth, found, rule="area").metrics


def test_all_found_is_a_hundred() -> None:
    truth, found = truth_of((0, *A), (1, *B)), found_of((0, 0.9, *A), (1, 0.8, *B))
    for metrics in (eleven(truth, found), area(truth, found)):
        assert metrics == pytest.approx({"AP": 100.0, "AP50": 100.0, "AP75": 100.0})


def test_one_of_two_found() -> None:
    """Recall 0.5: six of the eleven points (0 to 0.5) are reached, half of the area."""
    truth, found = truth_of((0, *A), (1, *B)), found_of((0, 0.9, *A))
    assert eleven(truth, found)["AP50"] == pytest.approx(600 / 11)
    assert area(truth, found)["AP50"] == pytest.approx(50.0)


def test_a_false_one_before_the_true_one_halves_precision() -> None:
    truth, found = truth_of((0, *A)), found_of((0, 0.9, *NOWHERE), (0, 0.8, *A))
    assert eleven(truth, found)["AP50"] == pytest.approx(50.0)
    assert area(truth, found)["AP50"] == pytest.approx(50.0)


def test_an_object_is_found_once() -> None:
    truth = truth_of((0, *A), (0, *B))
    found = found_of((0, 0.9, *A), (0, 0.8, *A), (0, 0.7, *B))
    # Precision 1 up to recall 0.5 and 2/3 up to 1.
    assert area(truth, found)["AP50"] == pytest.approx(50 + 100 / 3)


def test_difficult_objects_are_neither_missed_nor_false() -> None:
    truth = truth_of((0, *A), (0, *B), difficult=(1,))
    without, with_it = found_of((0, 0.8, *A)), found_of((0, 0.9, *B), (0, 0.8, *A))
    assert area(truth, without)["AP50"] == area(truth, with_it)["AP50"] == pytest.approx(100.0)


def test_pixels_are_counted_inclusively_and_the_threshold_is_strict() -> None:
    """Half of a box of 100 x 100 inclusive pixels is an overlap of exactly 0.5, which is not above 0.5."""
    truth = truth_of((0, *A))
    assert area(truth, found_of((0, 0.9, 1, 1, 50, 100)))["AP50"] == 0.0
    assert area(truth, found_of((0, 0.9, 1, 1, 51, 100)))["AP50"] == pytest.approx(100.0)


def test_ap75_and_the_mean_over_thresholds() -> None:
    """An overlap of 0.79 counts at 0.50 to 0.75: six of the ten thresholds."""
    metrics = area(truth_of((0, *A)), found_of((0, 0.9, 1, 1, 79, 100)))
    assert metrics == pytest.approx({"AP": 60.0, "AP50": 100.0, "AP75": 100.0})


def test_boxes_of_another_image_or_class_do_not_count() -> None:
    truth, found = truth_of((0, *A), (1, *B)), found_of((1, 0.9, *A))
    assert area(truth, found)["AP50"] == 0.0
    two = replace(truth, classes=("thing", "other"))
    as_other = replace(found_of((0, 0.9, *A)), label=np.ones(1, np.int64))
    assert eleven(two, as_other)["AP50"] == 0.0


def test_a_recall_of_exactly_three_tenths_misses_its_point() -> None:
    """As the reference does: numpy.arange gives 0.30000000000000004. Points 0, 0.1 and 0.2 are reached."""
    truth = truth_of(*((image, *A) for image in range(10)))
    found = found_of(*((image, 0.9, *A) for image in range(3)))
    assert eleven(truth, found)["AP50"] == pytest.approx(300 / 11)


def test_a_class_without_objects() -> None:
    truth = replace(truth_of((0, *A)), classes=("thing", "absent"))
    found = found_of((0, 0.9, *A))
    assert eleven(truth, found)["AP50"] == pytest.approx(50.0)
    on_it = replace(found, label=np.ones(1, np.int64))
    assert np.isnan(voc_ap(truth, on_it, rule="area").per_class[1]).all()


def test_nothing_found() -> None:
    truth = truth_of((0, *A))
    assert eleven(truth, found_of()) == area(truth, found_of()) == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


def test_of_class() -> None:
    truth, found = truth_of((0, *A)), found_of((0, 0.9, 1, 1, 79, 100))
    result = voc_ap(truth, found, rule="area")
    assert result.of_class(0) == result.metrics


def test_single_precision_is_rounded_as_text_would_be() -> None:
    """Detectron2 prints numbers before it compares them; half-way cases and negative ones are the same."""
    from transfer.metrics.voc_ap import _rounded

    random = np.random.default_rng(5)
    values = np.concatenate([random.random(20_000) * 600 - 50, np.arange(-40, 40) / 8]).astype(np.float32)
    assert np.array_equal(_rounded(values, 10), [float(f"{value:.1f}") for value in values])
    scores = np.concatenate([random.random(20_000), np.arange(0, 16) / 16 + 1 / 32]).astype(np.float32)
    assert np.array_equal(_rounded(scores, 1000), [float(f"{value:.3f}") for value in scores.tolist()])
