"""From a record and the file beside it to its number as a function of the test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import DataError, StoreError
from bench.core.records import Record
from bench.core.store import Store
from bench.report.bootstrap import Evidence, draws, paired
from tests.helpers.coco_instances import make_instances
from tests.helpers.records import make_record
from tests.helpers.voc_boxes import make_boxes
from tests.transfer.metrics.test_confusion import make_test
from tests.transfer.metrics.test_resampled_accuracy import CLASSES, make
from transfer.metrics import accuracy, coco_result, label_result, voc_result
from transfer.metrics.resampled import TOLERANCE, Resampled, evidence_of
from transfer.metrics.result import Result

BOXES = make_boxes(0, num_images=20, num_classes=3, num_objects=90, num_detections=300)
INSTANCES = make_instances(0, is_crowded=False)
LABELS = make_test()
ANSWERS = make(0)

CASES: dict[str, tuple[Result, dict[str, str], tuple[str, ...]]] = {
    # The main metric to what a task measured, what the protocol says of the metric, and the images.
    "top1": (accuracy.measure(ANSWERS, CLASSES), {}, ANSWERS.names),
    "mIoU": (
        label_result.measure(LABELS, LABELS.classes, "classes_in_truth"),
        {"miou_rule": "classes_in_truth"},
        tuple(map(str, LABELS.image_ids)),
    ),
    "AP50": (voc_result.measure(*BOXES, "voc07_11point"), {"ap_rule": "voc07_11point"}, BOXES[0].image_ids),
    "AP": (voc_result.measure(*BOXES, "area"), {"ap_rule": "area"}, BOXES[0].image_ids),
    "mask_ap": (
        coco_result.measure(*INSTANCES, evaluator="hotcoco"),
        {"ap_rule": "coco_101point"},
        tuple(map(str, INSTANCES[0].image_ids)),
    ),
}


def record_of(metric: str, *, by: float = 0.0, rule: dict[str, str] | None = None, **more: Any) -> Record:
    """As a task writes it; `by` is added to its main metric."""
    result, rules, _ = CASES[metric]
    kept = {"suffix": result.predictions.suffix, "sha256": result.predictions.sha256}
    return make_record(
        metrics={name: value + by * (name == metric) for name, value in result.metrics.items()},
        main_metric=more.pop("main_metric", metric),
        fields={"metric": rules if rule is None else rule, "seed": 0},
        details={"predictions": kept},
        **more,
    )


def evidence(metric: str, record: Record | None = None) -> Resampled:
    kept = CASES[metric][0].predictions
    return evidence_of(record or record_of(metric), kept.data, kept.sha256, "the file")


@pytest.mark.parametrize("metric", CASES)
def test_each_image_once_is_the_number_of_the_record(tmp_path: Path, metric: str) -> None:
    store, record = Store(tmp_path), record_of(metric)
    store.add(record, CASES[metric][0].predictions)
    found = evidence_of(record, *store.predictions(record))
    assert (found.metric, found.images) == (metric, CASES[metric][2])
    assert abs(found.value - record.metrics[metric].value) <= TOLERANCE == 1e-9
    ones = np.ones((3, len(found.images)), np.int64)
    for counts in (ones, 5 * ones):
        assert found.values(counts) == pytest.approx(found.value, rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("metric", CASES)
def test_a_file_that_gives_another_number_is_refused(metric: str) -> None:
    for by in (5e-10, -5e-10):
        evidence(metric, record_of(metric, by=by))
    for by in (2e-9, -2e-9, 1.0):
        record = record_of(metric, by=by)
        with pytest.raises(
            StoreError, match=f"record {record.id}: says {metric} .* expected the same number"
        ):
            evidence(metric, record)


@pytest.mark.parametrize("metric", CASES)
def test_evidence_can_be_bootstrapped(metric: str) -> None:
    found: Evidence = evidence(metric)
    spread = found.values(draws(len(found.images), 60, 0))
    assert np.isfinite(spread).all() and np.std(spread) > 0.5
    assert paired([found], [evidence(metric)], num_resamples=60).interval == (0.0, 0.0)


def test_the_rule_is_the_records_own() -> None:
    """The same file under the other rule gives another number, which is not the record's."""
    for metric, other in (("AP50", {"ap_rule": "area"}), ("AP", {"ap_rule": "voc07_11point"})):
        with pytest.raises(StoreError, match="expected the same number"):
            evidence(metric, record_of(metric, rule=other))


@pytest.mark.parametrize("metric", ["mIoU", "AP50", "mask_ap"])
@pytest.mark.parametrize("rule", [{}, {"ap_rule": "new", "miou_rule": "new"}])
def test_a_record_without_its_rule_is_refused(metric: str, rule: dict[str, str]) -> None:
    record = record_of(metric, rule=rule)
    with pytest.raises(StoreError, match=f"record {record.id}: its protocol says .*_rule .* expected one of"):
        evidence(metric, record)


def test_a_metric_of_no_single_images_is_refused() -> None:
    record = record_of("top1", main_metric="mean_per_class")
    with pytest.raises(StoreError, match=f"record {record.id}: its main metric is mean_per_class"):
        evidence("top1", record)


def test_another_file_is_refused() -> None:
    kept, other = CASES["top1"][0].predictions, CASES["mIoU"][0].predictions
    with pytest.raises(DataError, match=r"there\.gz: not the predictions of this record"):
        evidence_of(record_of("top1"), other.data, kept.sha256, Path("there.gz"))
    with pytest.raises(DataError, match="not a file of classes"):
        evidence_of(record_of("top1"), other.data, other.sha256, "there.gz")


@pytest.mark.parametrize(
    "counts", [np.ones(9, np.int64), np.ones((1, 8), np.int64), np.ones((1, 9)), np.full((1, 9), -1)]
)
def test_counts_that_do_not_fit_are_our_own_fault(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"counts are not|less than 0"):
        evidence("top1").values(counts)
