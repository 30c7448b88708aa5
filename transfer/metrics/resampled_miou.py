"""Mean IoU of any choice of test images: what each image adds to the pixels of each class, weighted.

Of a confusion matrix, IoU needs its diagonal and the sums of its rows and columns: three counts a class and
image. Those of a choice of images are one product of matrices, exact in double precision up to 2**53 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transfer.metrics.confusion import LabelTest
from transfer.metrics.detections import Float64, Int64
from transfer.metrics.miou import MiouRule


@dataclass(frozen=True, eq=False)
class MeanIou:
    """Mean IoU as a function of how often each image is drawn.

    Attributes:
        pixels: [images, 3, classes] that are of a class and found, that are of it, that were found as it.
        rule: Which classes the mean is over; see `transfer.metrics.miou`. They are those of the resample: a
            class that no drawn image has is not in the truth of it.
    """

    pixels: Float64
    rule: MiouRule

    @classmethod
    def of(cls, test: LabelTest, rule: MiouRule) -> MeanIou:
        """From the matrix of every image."""
        pixels = np.zeros((len(test.image_ids), 3, len(test.classes)))
        hit = test.truth == test.found
        np.add.at(pixels[:, 0], (test.image[hit], test.truth[hit]), test.count[hit])
        np.add.at(pixels[:, 1], (test.image, test.truth), test.count)
        np.add.at(pixels[:, 2], (test.image, test.found), test.count)
        return cls(pixels, rule)

    def __call__(self, counts: Int64) -> Float64:
        """Mean IoU of each resample.

        Args:
            counts: [resamples, images] how often each image is drawn.

        Returns:
            [resamples] in percent; nan where no class has a pixel in the truth.
        """
        num_images, _, num_classes = self.pixels.shape
        summed = counts.astype(np.float64) @ self.pixels.reshape(num_images, -1)
        hits, there, found = summed.reshape(-1, 3, num_classes).transpose(1, 0, 2)
        union = there + found - hits
        counted = there > 0 if self.rule == "classes_in_truth" else union > 0
        iou = 100.0 * hits / np.maximum(union, 1.0)
        num_counted = counted.sum(axis=1)
        mean = np.full(len(counts), np.nan)
        np.divide(np.where(counted, iou, 0.0).sum(axis=1), num_counted, out=mean, where=num_counted > 0)
        return mean
