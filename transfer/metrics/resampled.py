"""What a record's kept file says of test images that are drawn anew: the main metric of any choice of them.

A test image drawn twice counts as two images, truth and findings; one not drawn is not there. The number is
the one that the metric's own evaluator gives of such a split, with the copies of an image side by side.
Matching what was found to what is there looks at one image at a time, so it is done once, and a thousand
choices of images are a thousand weighted sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.core.errors import StoreError
from bench.core.records import Record
from transfer.metrics import accuracy, detections, instances, label_result
from transfer.metrics.detections import Float64, Int64
from transfer.metrics.resampled_accuracy import top1
from transfer.metrics.resampled_ap import COCO_METRICS, VOC_METRICS, coco_average, voc_average
from transfer.metrics.resampled_miou import MeanIou

TOLERANCE: Final = 1e-9
"""Percentage points between a record's number and the same from its kept file: far above the rounding of sums
that are taken in another order, far below one detection or one pixel of any test split."""

Statistic = Callable[[Int64], Float64]
"""From how often each image was drawn, [resamples, images], to the metric in percent, [resamples]."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """The main metric of a record as a function of the test images.

    Attributes:
        images: Ids of the test images, in the order of the split.
        metric: Its name.
        value: In percent, each image counted once.
        statistic: Of choices of images.
    """

    images: tuple[str, ...]
    metric: str
    value: float
    statistic: Statistic

    def values(self, counts: Int64) -> Float64:
        """The metric of resamples of the test images.

        Args:
            counts: [resamples, images] how often each image was drawn, 0 or more.

        Returns:
            [resamples] in percent. As the evaluators have it, nan where a metric has no value: `AP` by the
            area rule of a resample that has no object of a class of which something was found, `mask_ap` of
            one without any object, `mIoU` of one in which every pixel is ignored, any metric of no image.

        Raises:
            ValueError: counts do not fit the images.
        """
        if counts.ndim != 2 or counts.shape[1] != len(self.images) or counts.dtype.kind not in "iu":
            raise ValueError(f"counts are not whole numbers of [resamples, {len(self.images)} images]")
        if (counts < 0).any():
            raise ValueError("an image was drawn less than 0 times")
        return self.statistic(counts.astype(np.int64, copy=False))


def evidence_of(record: Record, kept: bytes, sha256: str, where: Path | str) -> Resampled:
    """What a record's kept file says of its main metric; `evidence_of(record, *store.predictions(record))`.

    Args:
        record: Of any task whose main metric is one of top1, mIoU, AP, AP50, AP75, and of box_ap and mask_ap
            and their values at one overlap.
        kept: The content of the file beside it.
        sha256: That it must have, from the record.
        where: The file, for messages.

    Raises:
        StoreError: its metric is another one, it does not say by which rule it was computed, or the file does
            not give its number.
        DataError: the file is damaged, or not the one that the record means.
    """
    metric = record.main_metric
    images, statistic = _read(record, kept, sha256, str(where))
    once = np.ones((1, len(images)), np.int64)
    found = Resampled(images, metric, float(statistic(once)[0]), statistic)
    expected = record.metrics[metric].value
    # Written so that nan, which is near nothing, is refused.
    if not abs(found.value - expected) <= TOLERANCE:
        raise StoreError(
            f"record {record.id}: says {metric} {expected}, its predictions in {where} give {found.value}; "
            "expected the same number. Was it written by another version of the metric?"
        )
    return found


def _read(record: Record, kept: bytes, sha256: str, where: str) -> tuple[tuple[str, ...], Statistic]:
    metric = record.main_metric
    if metric == "top1":
        classes = accuracy.unpack(kept, sha256, where)
        return classes.names, top1(classes)
    if metric == "mIoU":
        labels = label_result.unpack(kept, sha256, where)
        rule = _rule(record, "miou_rule", ("classes_in_truth", "classes_in_union"))
        return tuple(map(str, labels.image_ids)), MeanIou.of(labels, rule)
    if metric in VOC_METRICS:
        boxes, found = detections.unpack(kept, sha256, where)
        rule = _rule(record, "ap_rule", ("voc07_11point", "area"))
        return boxes.image_ids, voc_average(boxes, found, rule, metric)
    if metric in COCO_METRICS:
        _rule(record, "ap_rule", ("coco_101point",))
        objects, found = instances.unpack(kept, sha256, where)
        return tuple(map(str, objects.image_ids)), coco_average(objects, found, metric)
    raise StoreError(f"record {record.id}: its main metric is {metric}, which is not known image by image")


def _rule(record: Record, name: str, known: tuple[str, ...]) -> Any:
    """What the record's protocol says of its metric."""
    rules = record.protocol.fields.get("metric")
    rule = rules.get(name) if isinstance(rules, dict) else None
    if rule not in known:
        raise StoreError(
            f"record {record.id}: its protocol says {name} {rule!r}; expected one of {', '.join(known)}"
        )
    return rule
