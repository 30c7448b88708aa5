"""Intersection over union, accuracy and their means, from one confusion matrix.

Of a class, IoU is TP / (TP + FP + FN) and accuracy TP / (TP + FN), in percent; each is a quotient of two
whole numbers, rounded once. Means are summed exactly: no order of classes and no processor changes a digit.

Which classes the mean IoU is over, is its rule:

* `classes_in_truth`, ours: those with at least one counted pixel in the truth of the test split. The set does
  not depend on the weights.
* `classes_in_union`, MMSegmentation's: those with a counted pixel in truth or found. A class that is not in
  the truth counts as 0 if it was found anywhere, and is left out if not: the means of two weights may be over
  different classes.

Both are equal where every class is in the truth, as in the whole test splits of VOC, Cityscapes and ADE20K.

Source:
    Everingham et al. 2010, The PASCAL VOC Challenge, section 4.3 (IoU, which it calls accuracy).
    open-mmlab/mmsegmentation `mmseg/evaluation/metrics/iou_metric.py`, `total_area_to_metrics`.
    Differs: whole numbers and double precision for single, in which 2**24 pixels and one more are 2**24.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.core.errors import EngineError
from transfer.metrics.confusion import MAX_PIXELS
from transfer.metrics.detections import Bool, Float64, Int64

MiouRule = Literal["classes_in_truth", "classes_in_union"]


@dataclass(frozen=True, eq=False)
class LabelScores:
    """In percent, all of them.

    Attributes:
        iou: [classes] nan for a class that is neither in truth nor found.
        accuracy: [classes] nan for a class that is not in the truth.
        in_truth: [classes] has a counted pixel in the truth.
        pixel_accuracy: Of all counted pixels.
    """

    iou: Float64
    accuracy: Float64
    in_truth: Bool
    pixel_accuracy: float

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over the classes in the truth; every rule's."""
        return _mean(self.accuracy[self.in_truth])

    def miou(self, rule: MiouRule) -> float:
        """Mean IoU over the classes of a rule; see the head of this file."""
        over = {"classes_in_truth": self.in_truth, "classes_in_union": ~np.isnan(self.iou)}
        return _mean(self.iou[over[rule]])


def label_scores(matrix: Int64) -> LabelScores:
    """All scores of a confusion matrix: of a split, or of a subset or resample of its images.

    Of a subset, the classes in the truth are those of the subset.

    Args:
        matrix: [classes, classes] pixels; rows truth, columns found.

    Raises:
        EngineError: no class has a pixel in the truth.
        ValueError: it is no confusion matrix, or has more than 2**46 pixels.
    """
    is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not is_square or matrix.dtype.kind not in "iu" or (matrix < 0).any():
        raise ValueError("not a confusion matrix: expected counts of [classes, classes]")
    if sum(matrix.ravel().tolist()) > MAX_PIXELS:
        raise ValueError(f"more than {MAX_PIXELS:,} pixels")
    hits = np.diagonal(matrix).astype(np.int64)
    there, found = matrix.sum(axis=1, dtype=np.int64), matrix.sum(axis=0, dtype=np.int64)
    if not there.any():
        raise EngineError(
            "mIoU: every pixel in the truth of the test split is ignored, no class is there. "
            "Nothing was recorded."
        )
    return LabelScores(
        iou=_percent(hits, there + found - hits),
        accuracy=_percent(hits, there),
        in_truth=there > 0,
        pixel_accuracy=float(_percent(hits.sum(keepdims=True), there.sum(keepdims=True))[0]),
    )


def _percent(part: Int64, whole: Int64) -> Float64:
    """100 part / whole, the double that is nearest to it; nan for 0 of 0."""
    quotient = np.full(whole.shape, np.nan)
    # Both are below 2**53 (MAX_PIXELS), so whole numbers in double precision as well.
    np.divide(100 * part, whole, out=quotient, where=whole > 0)
    return quotient


def _mean(values: Float64) -> float:
    return math.fsum(values.tolist()) / len(values)
