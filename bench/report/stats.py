"""The few numbers a table needs: a mean, its spread, a difference with its error, ranks, agreement of tasks.

Plain functions over the values of one metric, one value a trial, in percent. Trials of one protocol identity
differ by seed only, so they are treated as independent draws. What these intervals say is how much seeds
matter; how much the choice of test images matters is for `bench.report.bootstrap`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

LEVEL = 0.95
"""Of every interval."""

MIN_ORDERED = 3
"""Two weights agree or disagree by chance: tau would be 1 or -1 and mean nothing."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both in the unit of the values."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies in it, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Difference:
    """A mean minus a baseline's mean, in the unit of the values; no error where a side has one trial."""

    value: float
    standard_error: float | None
    interval: Interval | None

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval leaves out zero; None where there is no interval."""
        return None if self.interval is None else not self.interval.holds(0.0)


@dataclass(frozen=True)
class Rank:
    """The places that a row may have: 1 and 1 is the best alone, 2 and 4 one of three that are alike."""

    best: int
    worst: int


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b of two orders, from -1 to 1, with the two-sided p of no agreement."""

    tau: float
    p_value: float


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean.

    Raises:
        ValueError: no values, which is our own fault.
    """
    if not values:
        raise ValueError("the mean of no values")
    return float(np.mean(np.asarray(values, dtype=np.float64)))


def sample_std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divided by n - 1), or None for a single value.

    Returns:
        In the unit of the values: of 1, 2, 3, 4 it is sqrt(5 / 3).

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("the standard deviation of no values")
    if len(values) == 1:
        return None
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean by Student's t with n - 1 degrees of freedom, or None for a single value.

    Returns:
        Of 1, 2, 3, 4: 2.5 -+ 3.182 sqrt(5 / 12).

    Raises:
        ValueError: no values.
    """
    std = sample_std(values)
    if std is None:
        return None
    middle = mean(values)
    if std == 0.0:
        return Interval(middle, middle)
    scale = std / math.sqrt(len(values))
    low, high = distributions.t.interval(LEVEL, len(values) - 1, loc=middle, scale=scale)
    return Interval(float(low), float(high))


def difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """How far the mean of `values` lies above the mean of `baseline`.

    The standard error is Welch's, sqrt(s1^2 / n1 + s2^2 / n2): the two sides are not paired by seed and may
    spread differently. The 95 % interval is Student's t with Welch's and Satterthwaite's degrees of freedom.

    Args:
        values: One value a trial, at least one.
        baseline: The same of the baseline.

    Raises:
        ValueError: a side has no values.

    Source:
        Welch 1947, The generalization of Student's problem; Satterthwaite 1946.
    """
    value = mean(values) - mean(baseline)
    std, baseline_std = sample_std(values), sample_std(baseline)
    if std is None or baseline_std is None:
        return Difference(value, None, None)
    error = math.sqrt(std**2 / len(values) + baseline_std**2 / len(baseline))
    if error == 0.0:  # all trials equal on both sides
        return Difference(value, error, Interval(value, value))
    with warnings.catch_warnings():
        # scipy doubts a spread of exactly zero; trials of k-NN on one side are all equal, and are meant so
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = distributions.ttest_ind(values, baseline, equal_var=False).confidence_interval(LEVEL)
    return Difference(value, error, Interval(float(found.low), float(found.high)))


def ranks(intervals: Sequence[Interval | None], *, higher_is_better: bool = True) -> list[Rank | None]:
    """Places of rows by their intervals: two whose intervals overlap cannot be told apart.

    Args:
        intervals: One a row; None where a row has a single trial, which gets no rank and counts for nobody's.
        higher_is_better: Of the metric.

    Returns:
        In the order given: one place below all that are clearly better, to one above all clearly worse.
    """
    sign = 1.0 if higher_is_better else -1.0
    ends = [None if one is None else sorted((sign * one.low, sign * one.high)) for one in intervals]
    known = [end for end in ends if end is not None]
    found: list[Rank | None] = []
    for end in ends:
        if end is None:
            found.append(None)
            continue
        better = sum(low > end[1] for low, _ in known)
        worse = sum(high < end[0] for _, high in known)
        found.append(Rank(best=1 + better, worst=len(known) - worse))
    return found


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement | None:
    """Whether two tasks put the same weights into the same order.

    Args:
        first: One mean of each set of weights on one task.
        second: The same weights, in the same order, on another.

    Returns:
        None for fewer than three weights, or where one task gives all the same: there is no order.

    Raises:
        ValueError: not as many on both sides.

    Source:
        Kendall 1945, The treatment of ties in ranking problems (tau-b), as scipy computes it.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} weights on one task, {len(second)} on the other")
    if len(first) < MIN_ORDERED or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    found = distributions.kendalltau(first, second)
    return Agreement(tau=float(found.statistic), p_value=float(found.pvalue))
