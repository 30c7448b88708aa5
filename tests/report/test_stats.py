"""Numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from bench.report.stats import difference, mean, sample_std


def test_mean_and_sample_std_by_hand() -> None:
    # deviations -1.5, -0.5, 0.5, 1.5; their squares sum to 5; divided by n - 1 = 3
    assert mean([1.0, 2.0, 3.0, 4.0]) == 2.5
    assert sample_std([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3), rel=1e-15)
    assert sample_std([57.0, 57.0]) == 0.0


def test_one_trial_has_no_spread() -> None:
    assert mean([57.6]) == 57.6
    assert sample_std([57.6]) is None


def test_no_trials_is_our_own_fault() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean([])
    with pytest.raises(ValueError, match="no values"):
        sample_std([])


def test_difference_by_hand() -> None:
    # variances 1 (of 1, 2, 3) and 2 (of 10, 12): standard error sqrt(1/3 + 2/2)
    found = difference([1.0, 2.0, 3.0], [10.0, 12.0])
    assert found.value == -9.0
    assert found.standard_error == pytest.approx(math.sqrt(1 / 3 + 1), rel=1e-15)


@pytest.mark.parametrize(("values", "baseline"), [([3.0], [1.0, 2.0]), ([1.0, 2.0], [3.0]), ([1.0], [1.0])])
def test_difference_to_or_from_one_trial_has_no_error(values: list[float], baseline: list[float]) -> None:
    assert difference(values, baseline).standard_error is None
