"""The few numbers a table needs: a mean, its spread, and a difference with its error.

Plain functions over the values of one metric, one value a trial, in percent. Trials of one protocol identity
differ by seed only, so they are treated as independent draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """A mean minus a baseline's mean, in the unit of the values; no error where a side has one trial."""

    value: float
    standard_error: float | None


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


def difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """How far the mean of `values` lies above the mean of `baseline`.

    The standard error is Welch's, sqrt(s1^2 / n1 + s2^2 / n2): the two sides are not paired by seed and may
    spread differently.

    Args:
        values: One value a trial, at least one.
        baseline: The same of the baseline.

    Raises:
        ValueError: a side has no values.
    """
    value = mean(values) - mean(baseline)
    std, baseline_std = sample_std(values), sample_std(baseline)
    if std is None or baseline_std is None:
        return Difference(value, None)
    return Difference(value, math.sqrt(std**2 / len(values) + baseline_std**2 / len(baseline)))
