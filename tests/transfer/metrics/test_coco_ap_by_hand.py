"""COCO AP of boxes and of masks by both evaluators, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.coco_instances import Shape
from tests.helpers.coco_reference import json_dataset, json_results, reference
from transfer.metrics.coco_ap import CocoAP, Evaluator, Kind, coco_ap
from transfer.metrics.detections import Detections, ImageDetections
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks

KINDS: tuple[Kind, ...] = ("bbox", "segm")
EVALUATORS: tuple[Evaluator, ...] = ("hotcoco", "pycocotools")

Box = tuple[float, float, float, float]
A: Box = (0, 0, 100, 50)  # 5,000 pixels: medium
B: Box = (0, 60, 100, 110)
NOWHERE: Box = (110, 60, 190, 110)
SIZE_PX = (120, 200)
"""Height and width."""


def truth_of(*boxes: tuple[int, Box], label: int = 0, crowd: tuple[int, ...] = ()) -> InstanceTruth:
    """Objects of the first of two classes, rectangles on the images that are named."""
    num_images = max(image for image, _ in boxes) + 1
    corners = np.array([box for _, box in boxes], np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    return InstanceTruth(
        image_ids=tuple(range(num_images)),
        sizes=np.array([SIZE_PX] * num_images),
        classes=("thing", "other"),
        image=np.array([image for image, _ in boxes]),
        label=np.full(len(boxes), label),
        boxes=np.concatenate([corners[:, :2], sides], axis=1),
        area=sides.prod(axis=1),
        crowd=np.array([index in crowd for index in range(len(boxes))]),
        masks=Masks.of([Shape(box).packed(*SIZE_PX) for _, box in boxes]),
    )


def found_of(*boxes: tuple[int, float, Box], label: int = 0) -> Detections:
    """(image, score, box), with the box as the mask."""
    return Detections.of_images(
        [
            ImageDetections(
                image,
                np.array([label]),
                np.float32([score]),
                np.float32([box]),
                (Shape(box).packed(*SIZE_PX),),
            )
            for image, score, box in boxes
        ],
        with_masks=True,
    )


Measure = Callable[[InstanceTruth, Detections], CocoAP]


@pytest.fixture(params=[(kind, evaluator) for kind in KINDS for evaluator in EVALUATORS], ids="-".join)
def measured(request: pytest.FixtureRequest) -> Measure:
    kind, evaluator = request.param
    return lambda truth, found: coco_ap(truth, found, kind, evaluator=evaluator)


def test_all_found_is_a_hundred(measured: Measure) -> None:
    ap = measured(truth_of((0, A), (1, B)), found_of((0, 0.9, A), (1, 0.8, B)))
    for threshold in (None, *range(10)):
        assert ap.mean(threshold=threshold) == pytest.approx(100.0)


def test_one_of_two_found(measured: Measure) -> None:
    """Recall 0.5: 51 of the 101 points, 0 to 0.5, are reached."""
    ap = measured(truth_of((0, A), (1, B)), found_of((0, 0.9, A)))
    assert ap.mean() == pytest.approx(5100 / 101)


def test_a_false_one_before_the_true_one_halves_precision(measured: Measure) -> None:
    truth = truth_of((0, A))
    assert measured(truth, found_of((0, 0.9, NOWHERE), (0, 0.8, A))).mean() == pytest.approx(50.0)
    assert measured(truth, found_of((0, 0.7, NOWHERE), (0, 0.8, A))).mean() == pytest.approx(100.0)


def test_an_object_is_found_once(measured: Measure) -> None:
    """Precision 1 up to recall 0.5 and 2/3 up to 1: 51 and 50 points."""
    ap = measured(truth_of((0, A), (0, B)), found_of((0, 0.9, A), (0, 0.8, A), (0, 0.7, B)))
    assert ap.mean() == pytest.approx((5100 + 5000 * 2 / 3) / 101)


def test_detections_on_a_crowd_are_no_fault_and_a_crowd_is_not_missed(measured: Measure) -> None:
    """Of a detection on a crowd the share inside of it counts, and there may be many."""
    truth = truth_of((0, A), (0, B), crowd=(1,))
    assert measured(truth, found_of((0, 0.5, A))).mean() == pytest.approx(100.0)
    left, right = (0, 60, 20, 110), (50, 60, 90, 110)
    found = found_of((0, 0.9, left), (0, 0.8, right), (0, 0.7, B), (0, 0.5, A))
    assert measured(truth, found).mean() == pytest.approx(100.0)
    no_crowd = replace(truth, crowd=np.zeros(2, np.bool_))
    assert measured(no_crowd, found).mean() != pytest.approx(100.0)


def test_an_overlap_of_exactly_a_half_counts(measured: Measure) -> None:
    truth = truth_of((0, A))
    assert measured(truth, found_of((0, 0.9, (0, 0, 50, 50)))).mean(threshold=0) == pytest.approx(100.0)
    assert measured(truth, found_of((0, 0.9, (0, 0, 49, 50)))).mean(threshold=0) == 0.0


def test_ap75_and_the_mean_over_thresholds(measured: Measure) -> None:
    """An overlap of 0.79 counts at 0.50 to 0.75: six of the ten thresholds."""
    ap = measured(truth_of((0, A)), found_of((0, 0.9, (0, 0, 79, 50))))
    assert (ap.mean(), ap.mean(threshold=5), ap.mean(threshold=6)) == pytest.approx((60.0, 100.0, 0.0))


def test_a_size_without_objects_is_no_number_and_in_no_mean(measured: Measure) -> None:
    ap = measured(truth_of((0, A)), found_of((0, 0.9, A), (0, 0.95, (110, 60, 120, 70))))
    assert ap.mean(size="small") is None and ap.mean(size="large") is None
    assert ap.mean(size="medium") == pytest.approx(100.0), "a small false one is no fault among medium ones"
    assert ap.mean() == pytest.approx(50.0)


def test_an_area_on_a_limit_belongs_to_both_sizes(measured: Measure) -> None:
    box: Box = (0, 0, 32, 32)
    ap = measured(truth_of((0, box)), found_of((0, 0.9, box)))
    assert (ap.mean(size="small"), ap.mean(size="medium")) == pytest.approx((100.0, 100.0))
    assert ap.mean(size="large") is None


def test_the_size_of_an_object_is_what_the_file_says(measured: Measure) -> None:
    """Not that of its box or of its mask; what is found keeps its own."""
    ap = measured(replace(truth_of((0, A)), area=np.array([500.0])), found_of((0, 0.9, A)))
    assert (ap.mean(size="small"), ap.mean(size="medium")) == (pytest.approx(100.0), None)


def test_the_size_of_a_detection_is_that_of_its_mask() -> None:
    """With a medium box but a small mask, a false one is a fault among the small objects."""
    small: Box = (0, 0, 20, 20)
    truth, found = truth_of((0, small)), found_of((0, 0.9, NOWHERE), (0, 0.8, small))
    assert coco_ap(truth, found, "segm").mean(size="small") == pytest.approx(100.0)
    found = replace(
        found, masks=Masks.of([Shape(box).packed(*SIZE_PX) for box in ((150, 80, 160, 90), small)])
    )
    for evaluator in EVALUATORS:
        assert coco_ap(truth, found, "segm", evaluator=evaluator).mean(size="small") == pytest.approx(50.0)
        assert coco_ap(truth, found, "bbox", evaluator=evaluator).mean(size="small") == pytest.approx(100.0)


def test_a_class_without_objects_is_in_no_mean(measured: Measure) -> None:
    truth, found = truth_of((0, A)), found_of((0, 0.9, A))
    ap = measured(truth, found)
    assert (ap.mean(label=0), ap.mean(label=1), ap.mean()) == (pytest.approx(100.0), None, ap.mean(label=0))
    as_other = replace(found, label=np.ones(1, np.int64))
    ap = measured(truth, as_other)
    assert (ap.mean(label=0), ap.mean(label=1), ap.mean()) == (0.0, None, 0.0)


def test_what_is_on_another_image_does_not_count(measured: Measure) -> None:
    assert measured(truth_of((0, A), (1, B)), found_of((1, 0.9, A))).mean() == 0.0


def test_nothing_found(measured: Measure) -> None:
    assert measured(truth_of((0, A)), found_of()).mean() == 0.0


def test_an_object_of_id_0_is_found(measured: Measure) -> None:
    """The reference takes the id of the object for whether there is one, and so misses it: 0 for 100."""
    truth, found = truth_of((0, A)), found_of((0, 0.9, A))
    dataset = json_dataset(truth)
    assert reference(dataset, json_results(truth, found, "bbox"), "bbox").stats[0] == pytest.approx(1.0)
    dataset["annotations"][0]["id"] = 0
    assert reference(dataset, json_results(truth, found, "bbox"), "bbox").stats[0] == 0.0
    assert measured(truth, found).mean() == pytest.approx(100.0)


def test_masks_are_asked_for() -> None:
    truth, found = truth_of((0, A)), replace(found_of((0, 0.9, A)), masks=None)
    assert coco_ap(truth, found, "bbox").mean() == pytest.approx(100.0)
    for evaluator in EVALUATORS:
        with pytest.raises(ValueError, match="masks"):
            coco_ap(truth, found, "segm", evaluator=evaluator)
