"""How much of a number, or of a difference, is the choice of test images: the paired bootstrap.

A resample draws as many test images as there are, with replacement, and the metric is computed of the images
drawn. The spread of the metric over resamples stands for its spread over test sets of that size. To compare
two weights, the same images are drawn for both, so that what is hard for both does not count as noise.

This covers the choice of test images, and nothing else. The trials are taken as they are: how far the mean
over seeds would move with other seeds, of training or of pretraining, is not in it. A difference beyond this
noise may still be one of seeds; `bench.report.stats.difference` looks at those, and a claim about weights
needs both. On a few dozen images the intervals are too narrow.

Source:
    Efron and Tibshirani 1993, An Introduction to the Bootstrap: standard errors and percentile intervals.
    Differs: the p is ours, read off the same resamples; one resample more counts against the difference, so
    that no p is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.errors import StoreError
from bench.report.stats import LEVEL

NUM_RESAMPLES: Final = 1000

_ROUNDING: Final = 1e-9
"""Percentage points: a nearer difference is one of sums in another order, and counts as none."""

Counts = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class Evidence(Protocol):
    """The metric of one trial as a function of the test images."""

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the test images, in their order."""

    @property
    def metric(self) -> str:
        """Its name."""

    @property
    def value(self) -> float:
        """In percent, each image counted once."""

    def values(self, counts: Counts) -> Float64:
        """[resamples] in percent, from [resamples, images] how often each image was drawn."""


@dataclass(frozen=True)
class PairedDifference:
    """A mean over trials minus another, on the same test images; in percentage points.

    Attributes:
        difference: Each image counted once.
        interval: 95 %, percentiles of the resamples.
        standard_error: Their standard deviation.
        p: Two-sided: twice the share of resamples that are 0 or on its other side, one resample more counted
            among them; 2 / (num_resamples + 1) to 1, and 1 where the difference is 0.
        num_images: Of the test set, and of each resample.
        num_resamples: How many.
        num_trials: Of each side.
    """

    difference: float
    interval: tuple[float, float]
    standard_error: float
    p: float
    num_images: int
    num_resamples: int
    num_trials: tuple[int, int]

    @property
    def beyond_noise(self) -> bool:
        """Whether 0 is outside of the interval: more than another choice of test images would explain.

        Other seeds may still explain it; see the head of this file.
        """
        low, high = self.interval
        return low > 0.0 or high < 0.0


def draws(num_images: int, num_resamples: int, seed: int) -> Counts:
    """How often each image is drawn: as many draws as images, with replacement, each image equally likely.

    Equal arguments give equal counts, and fewer resamples are the first of more.

    Args:
        num_images: At least 1.
        num_resamples: At least 2, since one has no spread.
        seed: 0 or more.

    Returns:
        [num_resamples, num_images] counts; each row sums to num_images.

    Raises:
        ValueError: fewer of either.
    """
    if num_images < 1 or num_resamples < 2:
        raise ValueError(f"{num_resamples} resamples of {num_images} images")
    random = np.random.default_rng(seed)
    counts = np.zeros((num_resamples, num_images), np.int64)
    for row in counts:
        # By indices, in whole numbers: no rounding of a float can make another machine draw otherwise.
        row += np.bincount(random.integers(0, num_images, num_images), minlength=num_images)
    return counts


def paired(
    evidences_a: Sequence[Evidence],
    evidences_b: Sequence[Evidence],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """The mean over trials of A minus that of B, and what of it another choice of test images could be.

    In each resample the same images are drawn for all trials of both sides. The trials themselves are not
    drawn anew: what other seeds would give is not covered.

    Args:
        evidences_a: One a trial, at least one.
        evidences_b: The same of the other side; perhaps another number of trials.
        num_resamples: How many; the least p is 2 / (num_resamples + 1). Of a normal distribution, 1,000 give
            an end of the interval to 0.08 standard errors.
        seed: Of the draws.

    Raises:
        StoreError: the trials are of different images or metrics, there are fewer than two images, or a
            resample in which the metric has no value.
        ValueError: a side has no trials.
    """
    if not evidences_a or not evidences_b:
        raise ValueError("a difference to or from no trials")
    num_images = _num_images([*evidences_a, *evidences_b])
    counts = draws(num_images, num_resamples, seed)
    observed = _minus([item.value for item in evidences_a], [item.value for item in evidences_b])
    values = _minus(
        [_values(item, counts) for item in evidences_a], [_values(item, counts) for item in evidences_b]
    )
    return PairedDifference(
        difference=float(observed),
        interval=_interval(values),
        standard_error=_standard_error(values),
        p=_two_sided(float(observed), values),
        num_images=num_images,
        num_resamples=num_resamples,
        num_trials=(len(evidences_a), len(evidences_b)),
    )


def _num_images(evidences: Sequence[Evidence]) -> int:
    """Of all of them, which must be the same images and the same metric."""
    first, *others = evidences
    for other in others:
        if other.metric != first.metric:
            raise StoreError(f"one result is {first.metric}, another {other.metric}: they cannot be paired")
        if other.images == first.images:
            continue
        pairs = enumerate(zip_longest(first.images, other.images))
        index, (one, two) = next((index, pair) for index, pair in pairs if pair[0] != pair[1])
        raise StoreError(
            f"test image {index + 1} is {one or 'missing'} in one result and {two or 'missing'} in another; "
            "a paired bootstrap needs results of the same test images in the same order"
        )
    if len(first.images) < 2:
        raise StoreError(
            f"{len(first.images)} test images; a bootstrap needs at least 2, and says little of few"
        )
    return len(first.images)


def _values(evidence: Evidence, counts: Counts) -> Float64:
    values = evidence.values(counts)
    num_without = int(np.count_nonzero(~np.isfinite(values)))
    if num_without:
        raise StoreError(
            f"{evidence.metric} has no value in {num_without:,} of {len(counts):,} resamples of the "
            f"{len(evidence.images):,} test images: too few of them have an object of a class"
        )
    return values


def _minus(trials_a: Sequence[Float64 | float], trials_b: Sequence[Float64 | float]) -> Float64:
    """The mean over trials of A minus that of B, of numbers or of arrays of them."""
    difference: Float64 = np.mean(np.asarray(trials_a), axis=0) - np.mean(np.asarray(trials_b), axis=0)
    return np.where(np.abs(difference) <= _ROUNDING, 0.0, difference)


def _interval(values: Float64) -> tuple[float, float]:
    low, high = np.quantile(values, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0]).tolist()
    return low, high


def _standard_error(values: Float64) -> float:
    return float(np.std(values, ddof=1))


def _two_sided(difference: float, values: Float64) -> float:
    if difference == 0.0:
        return 1.0
    num_other = int(np.count_nonzero(values <= 0.0 if difference > 0.0 else values >= 0.0))
    return min(1.0, 2.0 * (num_other + 1) / (len(values) + 1))
