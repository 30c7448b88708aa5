"""What a record says of a VOC test: the headline numbers, those of Detectron2's order, and each class's."""

from __future__ import annotations

from bench.core.errors import EngineError
from transfer.metrics.detections import Detections, Truth, pack
from transfer.metrics.result import Result
from transfer.metrics.voc_ap import Rule, voc_ap


def measure(truth: Truth, found: Detections, rule: Rule) -> Result:
    """AP, AP50 and AP75 of a whole test split, detections of equal score by image id.

    What they are by the order in which Detectron2 sorts equal scores on this processor is in `machine`.

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
    return Result(
        metrics=result.metrics,
        details={
            "tie_order": "stable: by the ids of images, then as the detector has them; the same everywhere",
            "num_detections": len(found.scores),
            "per_class": {name: result.of_class(label) for label, name in enumerate(truth.classes)},
        },
        predictions=pack(truth, found),
        machine={"detectron2_tie_order": as_detectron2},
    )
