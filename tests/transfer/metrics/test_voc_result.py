"""What a record says of a test: both tie orders, each class, and a file from which it can be made again."""

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import EngineError
from tests.helpers.voc_boxes import make_boxes
from transfer.metrics.detections import unpack
from transfer.metrics.voc_ap import voc_ap
from transfer.metrics.voc_result import measure

TRUTH, FOUND = make_boxes(
    0, num_images=40, num_classes=3, num_objects=150, num_detections=1500, num_score_digits=1
)


def test_the_headline_is_the_stable_order_and_the_other_stands_beside_it() -> None:
    result = measure(TRUTH, FOUND, "voc07_11point")
    assert result.metrics == voc_ap(TRUTH, FOUND, rule="voc07_11point", order="stable").metrics
    other = voc_ap(TRUTH, FOUND, rule="voc07_11point", order="detectron2").metrics
    assert result.machine["detectron2_tie_order"] == other != result.metrics
    assert result.details["tie_order"].startswith("stable")


def test_the_mean_of_the_classes_is_the_metric() -> None:
    result = measure(TRUTH, FOUND, "area")
    assert list(result.details["per_class"]) == list(TRUTH.classes)
    for name, value in result.metrics.items():
        mean = np.mean([values[name] for values in result.details["per_class"].values()])
        assert value == pytest.approx(mean, rel=1e-12)


def test_the_kept_file_gives_the_number_again() -> None:
    result = measure(TRUTH, FOUND, "area")
    truth, found = unpack(result.predictions.data, result.predictions.sha256, "x")
    assert voc_ap(truth, found, rule="area").metrics == result.metrics


def test_the_rule_is_the_one_that_was_asked_for() -> None:
    eleven, area = (measure(TRUTH, FOUND, rule).metrics for rule in ("voc07_11point", "area"))
    assert eleven != area


def test_what_is_no_percentage_is_not_recorded() -> None:
    """The area rule has no value for a class without objects on which something was found."""
    absent = replace(TRUTH, label=np.minimum(TRUTH.label, 1))
    with pytest.raises(EngineError, match="percentage"):
        measure(absent, FOUND, "area")
