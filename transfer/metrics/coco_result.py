"""What a record says of a COCO test: AP of boxes and of masks, by overlap, by size and by class."""

from __future__ import annotations

from bench.core.errors import EngineError
from transfer.metrics.coco_ap import CocoAP, Evaluator, Kind, coco_ap
from transfer.metrics.detections import Detections
from transfer.metrics.instances import InstanceTruth, pack
from transfer.metrics.result import Result

KINDS: dict[str, Kind] = {"box": "bbox", "mask": "segm"}

_THRESHOLDS = {"ap": None, "ap50": 0, "ap75": 5}


def measure(truth: InstanceTruth, found: Detections, *, evaluator: Evaluator) -> Result:
    """`box_ap`, `mask_ap` and their kin of a whole test split.

    A mean over nothing is no number, where the reference prints -1: an AP by size is left out if no object of
    that size is there.

    Raises:
        EngineError: an AP is no percentage, or the split has no object at all.
    """
    aps = {name: coco_ap(truth, found, kind, evaluator=evaluator) for name, kind in KINDS.items()}
    metrics: dict[str, float] = {}
    for kind, ap in aps.items():
        for name, value in _values(ap).items():
            if value is not None:
                metrics[f"{kind}_{name}"] = value
        if f"{kind}_ap" not in metrics:
            raise EngineError(f"{kind}_ap: no object to find in the test split. Nothing was recorded.")
    for name, value in metrics.items():
        if not 0.0 <= value <= 100.0:
            raise EngineError(f"{name} came out as {value}; expected a percentage. Nothing was recorded.")
    return Result(
        metrics=metrics,
        details={
            "evaluator": evaluator,
            "num_detections": len(found.scores),
            "per_class": {
                name: {
                    f"{kind}_{key}": ap.mean(threshold=threshold, label=label)
                    for kind, ap in aps.items()
                    for key, threshold in _THRESHOLDS.items()
                }
                for label, name in enumerate(truth.classes)
            },
        },
        predictions=pack(truth, found),
    )


def _values(ap: CocoAP) -> dict[str, float | None]:
    values = {name: ap.mean(threshold=threshold) for name, threshold in _THRESHOLDS.items()}
    return {**values, **{f"ap_{size}": ap.mean(size=size) for size in ("small", "medium", "large")}}
