"""What a record says of a COCO test, and the file from which it can be made again."""

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import DataError, EngineError
from tests.helpers.coco_instances import make_instances
from tests.helpers.voc_boxes import make_boxes
from transfer.metrics.coco_ap import coco_ap
from transfer.metrics.coco_result import KINDS, measure
from transfer.metrics.detections import pack as pack_boxes
from transfer.metrics.instances import pack, unpack
from transfer.metrics.masks import Masks

TRUTH, FOUND = make_instances(0)
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def test_the_metrics() -> None:
    metrics = measure(TRUTH, FOUND, evaluator="hotcoco").metrics
    assert list(metrics) == [f"{kind}_{name}" for kind in ("box", "mask") for name in NAMES]
    for kind, of_ap in KINDS.items():
        ap = coco_ap(TRUTH, FOUND, of_ap)
        expected = (ap.mean(), ap.mean(threshold=0), ap.mean(threshold=5))
        assert tuple(metrics[f"{kind}_{name}"] for name in NAMES[:3]) == expected
        for size in ("small", "medium", "large"):
            assert metrics[f"{kind}_ap_{size}"] == ap.mean(size=size)
        assert metrics[f"{kind}_ap50"] > metrics[f"{kind}_ap75"] > 0


def test_a_size_that_is_not_there_is_left_out() -> None:
    truth = replace(TRUTH, area=np.clip(TRUTH.area, 32.5**2, 95.5**2))
    metrics = measure(truth, FOUND, evaluator="hotcoco").metrics
    expected = {f"{kind}_{name}" for kind in KINDS for name in ("ap", "ap50", "ap75", "ap_medium")}
    assert set(metrics) == expected


def test_a_split_with_nothing_to_find_gives_no_number() -> None:
    """No object at all, or crowds alone."""
    none = replace(
        TRUTH,
        image=TRUTH.image[:0],
        label=TRUTH.label[:0],
        boxes=TRUTH.boxes[:0],
        area=TRUTH.area[:0],
        crowd=TRUTH.crowd[:0],
        masks=Masks.of([]),
    )
    for truth in (none, replace(TRUTH, crowd=np.ones_like(TRUTH.crowd))):
        for evaluator in ("hotcoco", "pycocotools"):
            with pytest.raises(EngineError):
                measure(truth, FOUND, evaluator=evaluator)


def test_each_class() -> None:
    result = measure(TRUTH, FOUND, evaluator="hotcoco")
    per_class = result.details["per_class"]
    assert list(per_class) == list(TRUTH.classes)
    assert result.details["num_detections"] == len(FOUND.scores)
    absent = per_class.pop(TRUTH.classes[-1])
    assert set(absent.values()) == {None}
    for name in ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"):
        assert name in absent
        mean = np.mean([values[name] for values in per_class.values()])
        assert result.metrics[name] == pytest.approx(mean, rel=1e-12)


def test_both_evaluators_give_equal_results() -> None:
    one, other = (measure(TRUTH, FOUND, evaluator=name) for name in ("hotcoco", "pycocotools"))
    assert one.metrics == other.metrics
    assert one.predictions == other.predictions
    assert (one.details.pop("evaluator"), other.details.pop("evaluator")) == ("hotcoco", "pycocotools")
    assert one.details == other.details
    assert one.machine == other.machine


def test_the_kept_file_gives_everything_again() -> None:
    result = measure(TRUTH, FOUND, evaluator="hotcoco")
    truth, found = unpack(result.predictions.data, result.predictions.sha256, "x")
    assert (truth.image_ids, truth.classes) == (TRUTH.image_ids, TRUTH.classes)
    for mine, same, names in (
        (truth, TRUTH, ("sizes", "image", "label", "boxes", "area", "crowd")),
        (found, FOUND, ("image", "label", "scores", "boxes")),
    ):
        for name in names:
            assert getattr(mine, name).dtype == getattr(same, name).dtype
            assert np.array_equal(getattr(mine, name), getattr(same, name))
        assert mine.masks is not None and same.masks is not None
        assert list(mine.masks) == list(same.masks)
    again = measure(truth, found, evaluator="hotcoco")
    assert again == result


def test_a_damaged_file_is_named() -> None:
    packed = pack(TRUTH, FOUND)
    other = pack(TRUTH, replace(FOUND, scores=FOUND.scores + 1))
    for data, sha256 in (
        (packed.data[:-9], packed.sha256),
        (b"hello", packed.sha256),
        (other.data, packed.sha256),
        (packed.data, other.sha256),
    ):
        with pytest.raises(DataError, match=r"^here:"):
            unpack(data, sha256, "here")


def test_a_file_of_boxes_alone_is_named() -> None:
    boxes = pack_boxes(*make_boxes(0, num_images=3, num_classes=2, num_objects=6, num_detections=9))
    with pytest.raises(DataError, match=r"^here:"):
        unpack(boxes.data, boxes.sha256, "here")


def test_detections_without_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="masks"):
        pack(TRUTH, replace(FOUND, masks=None))
