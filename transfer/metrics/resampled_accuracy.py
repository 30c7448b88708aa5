"""Top-1 accuracy of any choice of test images, from one answer an image: right or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transfer.metrics.accuracy import ClassTest
from transfer.metrics.detections import Float64, Int64


def top1(test: ClassTest) -> Callable[[Int64], Float64]:
    """Top-1 accuracy as a function of how often each image is drawn.

    Args:
        test: Of every image.

    Returns:
        From [resamples, images] counts to [resamples] percent: drawn and right, of all drawn; nan of none.
    """
    # Whole numbers in double precision, for a product of matrices at the processor's speed.
    right = (test.ranked[:, 0] == test.truth).astype(np.float64)

    def values(counts: Int64) -> Float64:
        with np.errstate(invalid="ignore"):
            shares: Float64 = counts @ right / counts.sum(axis=1)
        return 100.0 * shares

    return values
