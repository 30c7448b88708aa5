"""Is there a best amount of shared information? A score against I_NCE, and whether its peak is inside.

The paper's "reverse U" (Tian et al. 2020, What Makes for Good Views for Contrastive Learning?): transfer
rises with I_NCE, then falls. Here it is a claim to be tested, and it can come out as not supported.

Settings were chosen, not drawn, and what keeps one off a smooth curve is shared by all its seeds. So curves
are fitted to the means of settings, and their error is what the means leave over, lack of fit included.
Seeds tell how sure each mean is: in I_NCE, and where two settings are compared directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.polynomial import polyvander
from numpy.polynomial.polyutils import mapdomain
from numpy.typing import NDArray
from scipy.special import stdtr

Verdict = Literal[
    "interior maximum supported",
    "not supported (increasing)",
    "not supported (decreasing)",
    "not supported (flat)",
    "too few settings",
    "too few seeds",
]
"""`flat`: neither a peak nor a trend is told from noise."""

LEVEL: Final = 0.05
MIN_SETTINGS: Final = 5
"""A quadratic through the means of 5 leaves 2 degrees of freedom for its error."""
MIN_SEEDS: Final = 2
"""Of every setting: one seed has no spread."""
NUM_RESAMPLES: Final = 2000

Array = NDArray[np.floating[Any]]

_WEIGHTS: Final = np.sqrt([0.5, 1.0, 1.5, 0.5, 1.0, 1.5]) * [-1, -1, -1, 1, 1, 1]
"""Six values of mean 0 and variance 1, for a wild bootstrap over fewer than a dozen clusters.

Source:
    Webb 2013, Reworking wild bootstrap based inference for clustered errors.
"""
_UNIT: Final = (-1.0, 1.0)
"""The range of I_NCE is mapped to it for fits: there, powers are far from parallel."""
_ROUNDING: Final = 1e-12
"""Errors below this share of the largest value are rounding, not noise."""
_APART: Final = 1e-6
"""Values nearer to each other than this share of half their range count as one place."""


@dataclass(frozen=True)
class Point:
    """One setting: I_NCE in nats and the score in percent, both one value a seed in the same order."""

    setting: str
    i_nce: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Quadratic:
    """a + b x + c x^2."""

    a: float
    b: float
    c: float

    def at(self, x: Array) -> Array:
        """Its value at each x."""
        return self.a + x * (self.b + x * self.c)

    def slope(self, x: float) -> float:
        """Its derivative at x."""
        return self.b + 2.0 * self.c * x

    @property
    def peak(self) -> float | None:
        """The x of its maximum, -b / 2c, which may lie outside of all data; None where it has none."""
        return -self.b / (2.0 * self.c) if self.c < 0.0 else None


@dataclass(frozen=True)
class ReverseU:
    """What a group of settings says about a peak. None is what too little data cannot give.

    Attributes:
        verdict: The last word.
        num_settings: How many.
        min_seeds: Fewest seeds of any setting.
        x_range: Least and largest mean I_NCE, in nats.
        fit: Quadratic through the means of settings; x in nats, its value in percent.
        sweet_spot: I_NCE where the fit is highest, in nats; None where it bends the other way.
        interval: 95 % bootstrap interval, in nats, of where on `x_range` the fit is highest.
        share_inside: Share of resamples whose fit has its maximum inside of `x_range`.
        end_slopes: Slopes of the fit at the least and the largest I_NCE, percentage points a nat.
        p_left: That the first of these is not above 0, one-sided.
        p_right: That the second is not below 0, one-sided.
        p_between: That no setting in between is better than both end settings, by seeds and with no curve.
        slope: Of the straight line through the means, percentage points a nat.
        p_slope: That it is 0, two-sided.
        p_ends: That both end settings are equally good, by seeds, two-sided.
    """

    verdict: Verdict
    num_settings: int
    min_seeds: int
    x_range: tuple[float, float]
    fit: Quadratic | None = None
    sweet_spot: float | None = None
    interval: tuple[float, float] | None = None
    share_inside: float | None = None
    end_slopes: tuple[float, float] | None = None
    p_left: float | None = None
    p_right: float | None = None
    p_between: float | None = None
    slope: float | None = None
    p_slope: float | None = None
    p_ends: float | None = None

    @property
    def supported(self) -> bool:
        """Whether a peak inside may be spoken of, and its place be drawn."""
        return self.verdict == "interior maximum supported"


def fit_quadratic(x: Sequence[float] | Array, y: Sequence[float] | Array) -> Quadratic:
    """The least-squares quadratic.

    Args:
        x: At least three different values.
        y: One for each x.

    Raises:
        ValueError: a value is not finite, other lengths, or fewer than three places on x.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.shape != ys.shape or xs.ndim != 1 or not np.isfinite([xs, ys]).all():
        raise ValueError("a quadratic needs two rows of finite numbers, equally many")
    if _num_places(xs) < 3:
        raise ValueError("a quadratic needs three different places")
    a, b, c, *_ = [*Polynomial.fit(xs, ys, 2).convert().coef, 0.0, 0.0]  # zeros at its end are left out
    return Quadratic(float(a), float(b), float(c))


def reverse_u(points: Sequence[Point], *, seed: int = 0) -> ReverseU:
    """Test for a maximum inside of the range of I_NCE.

    It is supported if three tests say so, each at 5 %: the fitted quadratic rises at the left end and falls
    at the right end (t tests on the means of settings; the larger p counts); 95 % of bootstrap resamples have
    their maximum inside; and some setting in between is better than both end settings by its seeds alone.
    The last needs no curve: a quadratic finds a peak in log(x), too.

    In a resample, seeds of each setting are drawn with replacement for the I_NCE of its mean, and the
    residual of its score, divided by 1 - leverage, is given a random weight (wild bootstrap with settings as
    clusters). Each source of noise comes in once: a residual of means holds the noise of seeds already.

    A trend is a straight line that is not level, or end settings that differ by their seeds, each at 2.5 %.

    Args:
        points: One for each setting, all of one identity; at least one.
        seed: Of the resamples; equal points and seed give equal results.

    Raises:
        ValueError: no points, a point without values, unequal lengths, or a value that is not finite.

    Source:
        Lind and Mehlum 2010, With or Without U?, doi 10.1111/j.1468-0084.2009.00569.x. The objection that
        the third test answers: Simonsohn 2018, Two Lines, doi 10.1177/2515245918805755.
        Differs: instead of Simonsohn's two regression lines, which need more settings than a study has, the
        third test compares settings.
    """
    _check(points)
    x = np.array([np.mean(point.i_nce) for point in points])
    y = np.array([np.mean(point.scores) for point in points])
    found = ReverseU(
        verdict="too few settings",
        num_settings=len(points),
        min_seeds=min(len(point.scores) for point in points),
        x_range=(float(x.min()), float(x.max())),
    )
    if _num_places(x) < MIN_SETTINGS:
        return found
    ends = list(found.x_range)
    u = mapdomain(x, ends, _UNIT)
    curve, line = _Regression.of(u, y, 2), _Regression.of(u, y, 1)
    fit = fit_quadratic(x, y)
    # The derivative b + 2 c u at both ends of -1 to 1.
    p_left = curve.p_above_0(np.array([0.0, 1.0, -2.0]))
    p_right = curve.p_above_0(np.array([0.0, -1.0, -2.0]))
    p_rising = line.p_above_0(np.array([0.0, 1.0]))
    p_slope = 2.0 * min(p_rising, 1.0 - p_rising)
    peaks = _resampled_peaks(points, ends, curve, seed)
    inside = float(np.mean(np.abs(peaks) < 1.0))
    low, high = mapdomain(np.quantile(peaks, [0.025, 0.975]), _UNIT, ends)
    p_between, p_ends = _p_by_seeds(points, x, y)
    verdict: Verdict = "not supported (flat)"
    if found.min_seeds < MIN_SEEDS or p_between is None or p_ends is None:
        verdict = "too few seeds"
    elif max(p_left, p_right, p_between) < LEVEL and inside >= 1.0 - LEVEL:
        verdict = "interior maximum supported"
    elif min(p_slope, p_ends) < LEVEL / 2.0:
        rising = line.coefficients[1] if p_slope <= p_ends else y[x.argmax()] - y[x.argmin()]
        verdict = "not supported (increasing)" if rising > 0.0 else "not supported (decreasing)"
    return replace(
        found,
        verdict=verdict,
        fit=fit,
        sweet_spot=fit.peak,
        interval=(float(low), float(high)),
        share_inside=inside,
        end_slopes=(fit.slope(ends[0]), fit.slope(ends[1])),
        p_left=p_left,
        p_right=p_right,
        p_between=p_between,
        slope=float(line.coefficients[1]) * 2.0 / (ends[1] - ends[0]),
        p_slope=p_slope,
        p_ends=p_ends,
    )


def _check(points: Sequence[Point]) -> None:
    if not points:
        raise ValueError("no settings")
    for point in points:
        if not point.scores or len(point.scores) != len(point.i_nce):
            raise ValueError(f"{point.setting}: expected as many scores as values of I_NCE, at least one")
        if not np.isfinite([point.i_nce, point.scores]).all():
            raise ValueError(f"{point.setting}: a value is not finite")


def _num_places(x: Array) -> int:
    """How many different values, where rounding makes no difference."""
    gaps = np.diff(np.sort(x))
    least = max(_APART * gaps.sum() / 2.0, _ROUNDING * np.abs(x).max(initial=0.0))
    return int(np.count_nonzero(gaps > least)) + min(1, len(x))


@dataclass(frozen=True)
class _Regression:
    """Least squares on powers of u, which is in -1 to 1; `inverse` is that of the design's Gram matrix."""

    design: Array
    coefficients: Array
    residuals: Array
    inverse: Array
    rounding: float

    @classmethod
    def of(cls, u: Array, y: Array, degree: int) -> _Regression:
        design = polyvander(u, degree)
        inverse = np.linalg.inv(design.T @ design)
        coefficients = inverse @ (design.T @ y)
        return cls(design, coefficients, y - design @ coefficients, inverse, _rounding(y))

    def p_above_0(self, contrast: Array) -> float:
        """One-sided p of the coefficients' sum, weighted by `contrast`, against its not being above 0."""
        freedom = len(self.residuals) - len(contrast)
        variance = self.residuals @ self.residuals / freedom * (contrast @ self.inverse @ contrast)
        t = contrast @ self.coefficients / np.maximum(np.sqrt(variance), self.rounding)
        return float(stdtr(freedom, -t))


def _rounding(y: Array) -> float:
    """The least standard error: without it, rounding of equal scores would be taken for a result."""
    return _ROUNDING * float(np.abs(y).max()) or _ROUNDING


def _resampled_peaks(points: Sequence[Point], ends: list[float], curve: _Regression, seed: int) -> Array:
    """Where in -1 to 1 the fit of each resample is highest, shape [resamples]."""
    generator = np.random.default_rng(seed)
    seeds = [generator.choice(point.i_nce, (NUM_RESAMPLES, len(point.i_nce))) for point in points]
    x = np.stack([drawn.mean(axis=1) for drawn in seeds], axis=1)
    designs = polyvander(mapdomain(x, ends, _UNIT), 2)
    leverages = np.einsum("ij,jk,ik->i", curve.design, curve.inverse, curve.design)
    # Where one setting alone fixes the curve, both go to 0; their ratio is its error.
    errors = curve.residuals / np.maximum(1.0 - leverages, _APART)
    weights = generator.choice(_WEIGHTS, (NUM_RESAMPLES, len(points)))
    y = curve.design @ curve.coefficients + weights * errors
    _, b, c = (np.linalg.pinv(designs) @ y[:, :, None])[:, :, 0].T
    peaks = np.where(c < 0.0, -b / (2.0 * np.where(c < 0.0, c, -1.0)), np.inf)
    # Without a peak inside, the higher of the two ends: they differ by 2 b.
    return np.where(np.abs(peaks) < 1.0, peaks, np.where(b > 0.0, 1.0, -1.0))


def _p_by_seeds(points: Sequence[Point], x: Array, y: Array) -> tuple[Any, Any]:
    """`p_between` and `p_ends` of `ReverseU`; None for both where no setting has a spread.

    t tests with one variance for all settings. Which of those in between is best is told by the scores
    themselves, so its p is multiplied by their number (Bonferroni).
    """
    counts = np.array([len(point.scores) for point in points])
    freedom = int(counts.sum()) - len(points)
    if freedom == 0:
        return None, None
    off = np.concatenate([np.subtract(point.scores, np.mean(point.scores)) for point in points])
    left, right = int(x.argmin()), int(x.argmax())
    between = np.array([index for index in range(len(points)) if index not in (left, right)])

    def t(better: Any, worse: int) -> Any:
        errors = np.sqrt(off @ off / freedom * (1.0 / counts[better] + 1.0 / counts[worse]))
        return (y[better] - y[worse]) / np.maximum(errors, _rounding(y))

    p_between = stdtr(freedom, -np.minimum(t(between, left), t(between, right))).min() * len(between)
    return min(1.0, float(p_between)), float(2.0 * stdtr(freedom, -abs(t(right, left))))
