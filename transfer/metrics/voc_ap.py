"""VOC's average precision over ten overlap thresholds, for all of them in one pass over a class.

Source:
    Everingham et al. 2010, The PASCAL VOC Challenge, section 4.2; the devkit's VOCevaldet.m.
    Detectron2's reading of it, to the last bit: facebookresearch/detectron2
    `detectron2/evaluation/pascal_voc_evaluation.py` writes scores with three decimals and boxes with one
    before it compares them, counts pixels inclusively, and takes an overlap only above its threshold.
    Differs: detections of equal score. There are many, after rounding; Detectron2 leaves their order to
    NumPy's unstable sort, which depends on the processor. `stable` keeps the order of the split and of
    the detector: one number on every machine. `detectron2` is what Detectron2 in one process prints here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from transfer.metrics.detections import Bool, Detections, Float64, Int64, Truth

Rule = Literal["voc07_11point", "area"]
TieOrder = Literal["stable", "detectron2"]

THRESHOLDS = tuple(percent / 100.0 for percent in range(50, 100, 5))
"""COCO's ten, which Detectron2 takes for VOC, too."""

_RECALLS = np.arange(0.0, 1.1, 0.1)
"""The eleven points as the reference has them: the fourth is 0.30000000000000004, so that a recall of exactly
0.3 does not reach it; 0.6 and 0.7 are the same."""


@dataclass(frozen=True)
class VocAP:
    """Average precision in percent.

    Attributes:
        per_class: [class, threshold]; under `area` nan for a class without objects if any was found.
    """

    per_class: Float64

    @property
    def metrics(self) -> dict[str, float]:
        """AP (mean over thresholds), AP50 and AP75, each a mean over classes."""
        means = [np.mean(list(column)) for column in self.per_class.T]
        at = {threshold: float(mean) for threshold, mean in zip(THRESHOLDS, means, strict=True)}
        return {"AP": float(np.mean(means)), "AP50": at[0.5], "AP75": at[0.75]}

    def of_class(self, label: int) -> dict[str, float]:
        """The three metrics of one class."""
        row = self.per_class[label]
        return {
            "AP": float(np.mean(row)),
            "AP50": float(row[THRESHOLDS.index(0.5)]),
            "AP75": float(row[THRESHOLDS.index(0.75)]),
        }


def voc_ap(truth: Truth, detections: Detections, *, rule: Rule, order: TieOrder = "stable") -> VocAP:
    """Average precision of every class at every threshold.

    Args:
        truth: Of the whole split.
        detections: On its images.
        rule: `voc07_11point` (VOC2007's) or `area` (VOC2010's and later).
        order: Of detections whose scores are equal when they are rounded.
    """
    scores = _rounded(detections.scores, 1000)
    # 1-based as the truth, in single precision as the reference.
    boxes = _rounded(detections.boxes + np.array([1, 1, 0, 0], np.float32), 10)
    rows = []
    for label in range(len(truth.classes)):
        mine = np.flatnonzero(detections.label == label)
        kind: Literal["stable", "quicksort"] = "stable" if order == "stable" else "quicksort"
        mine = mine[np.argsort(-scores[mine], kind=kind)]
        there = np.flatnonzero(truth.label == label)
        rows.append(
            _class_ap(
                found_image=detections.image[mine],
                found_boxes=boxes[mine],
                image=truth.image[there],
                boxes=truth.boxes[there],
                difficult=truth.difficult[there],
                rule=rule,
            )
        )
    return VocAP(np.array(rows, np.float64).reshape(len(truth.classes), len(THRESHOLDS)) * 100)


def _rounded(values: np.ndarray, scale: int) -> Float64:
    """Rounded to 1 / scale as printing and reading would.

    A single-precision number times 10 or 1,000 is exact in double, so half-way cases are the same ones.
    """
    rounded: Float64 = np.rint(values.astype(np.float64) * scale) / scale
    return rounded


def _class_ap(
    *, found_image: Int64, found_boxes: Float64, image: Int64, boxes: Float64, difficult: Bool, rule: Rule
) -> list[float]:
    """AP of one class at each threshold, as a fraction; detections come in falling order of score."""
    overlap, best = _best_overlaps(found_image, found_boxes, image, boxes)
    num_positive = float(np.count_nonzero(~difficult))
    values = []
    for threshold in THRESHOLDS:
        hits = np.flatnonzero(overlap > threshold)
        wanted = hits[~difficult[best[hits]]]
        # An object is found by the first detection whose nearest it is; all later ones are false.
        first = np.full(len(image), -1)
        first[best[wanted[::-1]]] = wanted[::-1]
        true = np.zeros(len(found_image))
        true[first[first >= 0]] = 1.0
        false = 1.0 - true
        false[hits[difficult[best[hits]]]] = 0.0
        true, false = np.cumsum(true), np.cumsum(false)
        with np.errstate(invalid="ignore"):  # a class without objects: 0 of 0 found
            recall = true / num_positive
        precision = true / np.maximum(true + false, np.finfo(np.float64).eps)
        values.append(
            _eleven_points(recall, precision) if rule == "voc07_11point" else _area(recall, precision)
        )
    return values


def _best_overlaps(
    found_image: Int64, found_boxes: Float64, image: Int64, boxes: Float64
) -> tuple[Float64, Int64]:
    """For each detection the largest overlap with an object of its image, -inf if it has none, and which."""
    start, end = np.searchsorted(image, found_image, "left"), np.searchsorted(image, found_image, "right")
    counts = end - start
    overlap, best = np.full(len(found_image), -np.inf), np.zeros(len(found_image), np.int64)
    some = np.flatnonzero(counts)
    if len(some) == 0:
        return overlap, best
    # Every pair of a detection and an object of its image, the detections' pairs one after the other.
    begins = np.cumsum(counts[some]) - counts[some]
    which = np.repeat(some, counts[some])
    objects = np.arange(len(which)) - np.repeat(begins - start[some], counts[some])
    values = _overlaps(found_boxes[which], boxes[objects])
    largest = np.maximum.reduceat(values, begins)
    overlap[some] = largest
    # The first of equal ones, as argmax.
    candidates = np.where(values == np.repeat(largest, counts[some]), objects, len(image))
    best[some] = np.minimum.reduceat(candidates, begins)
    return overlap, best


def _overlaps(found: Float64, there: Float64) -> Float64:
    """Intersection over union of boxes, row by row, in inclusive pixels."""
    width = np.minimum(there[:, 2], found[:, 2]) - np.maximum(there[:, 0], found[:, 0]) + 1.0
    height = np.minimum(there[:, 3], found[:, 3]) - np.maximum(there[:, 1], found[:, 1]) + 1.0
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    union: Float64 = _area_of(found) + _area_of(there) - common
    ratio: Float64 = common / union
    return ratio


def _area_of(boxes: Float64) -> Float64:
    area: Float64 = (boxes[:, 2] - boxes[:, 0] + 1.0) * (boxes[:, 3] - boxes[:, 1] + 1.0)
    return area


def _eleven_points(recall: Float64, precision: Float64) -> float:
    """The mean of the best precision at a recall of at least 0, 0.1, ..., 1."""
    best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if len(recall) and np.isnan(recall[0]):
        return 0.0
    total = 0.0
    for index in np.searchsorted(recall, _RECALLS, "left"):
        total = total + float(best_from_here[index]) / 11.0
    return total


def _area(recall: Float64, precision: Float64) -> float:
    """The area under the precision-recall curve, made monotonic."""
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([0.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(np.sum((recall[steps + 1] - recall[steps]) * envelope[steps + 1]))
