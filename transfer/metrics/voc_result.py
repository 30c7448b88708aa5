"""What a record says of a VOC test: the headline numbers, those of Detectron2's order, and each class's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.core.errors import EngineError
from bench.core.store import Attachment
from transfer.metrics.detections import Detections, Truth, pack
from transfer.metrics.voc_ap import Rule, voc_ap


@dataclass(frozen=True)
class VocResult:
    """For the record.

    Attributes:
        metrics: AP, AP50 and AP75 in percent, detections of equal score by image id.
        detectron2_tie_order: The same by the order in which Detectron2 sorts them on this processor.
        details: Of each class, and what else is the same on every machine.
        predictions: Detections and truth, to be kept.
    """

    metrics: dict[str, float]
    detectron2_tie_order: dict[str, float]
    details: dict[str, Any]
    predictions: Attachment


def measure(truth: Truth, found: Detections, rule: Rule) -> VocResult:
    """AP of a whole test split.

    A class that has no object in the split counts as AP 0 under the 11-point rule; the area rule is nan there
    if anything was found, so the task refuses such a split before the training.

    Raises:
        EngineError: an AP is no percentage.
    """
    result = voc_ap(truth, found, rule=rule, order="stable")
    as_detectron2 = voc_ap(truth, found, rule=rule, order="detectron2").metrics
    for name, value in (*result.metrics.items(), *as_detectron2.items()):
        if not 0.0 <= value <= 100.0:
            raise EngineError(
                f"{name} came out as {value} by the rule {rule}; expected a percentage. Nothing was recorded."
            )
    return VocResult(
        metrics=result.metrics,
        detectron2_tie_order=as_detectron2,
        details={
            "tie_order": "stable: by the ids of images, then as the detector has them; the same everywhere",
            "num_detections": len(found.scores),
            "per_class": {name: result.of_class(label) for label, name in enumerate(truth.classes)},
        },
        predictions=pack(truth, found),
    )
