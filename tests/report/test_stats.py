"""Numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from bench.report.stats import (
    Interval,
    Rank,
    agreement,
    difference,
    mean,
    mean_interval,
    ranks,
    sample_std,
)


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


@pytest.mark.filterwarnings("error")
def test_a_side_whose_trials_are_all_equal_has_no_spread() -> None:
    found = difference([57.0, 57.0], [30.0, 31.0])
    assert found.value == 26.5 and found.standard_error == 0.5 and found.beyond_noise is True
    assert difference([57.0, 57.0], [30.0, 30.0]).interval == Interval(27.0, 27.0)


@pytest.mark.parametrize(("values", "baseline"), [([3.0], [1.0, 2.0]), ([1.0, 2.0], [3.0]), ([1.0], [1.0])])
def test_difference_to_or_from_one_trial_has_no_error(values: list[float], baseline: list[float]) -> None:
    assert difference(values, baseline).standard_error is None


def test_interval_of_a_mean_by_hand() -> None:
    # t of 3 degrees of freedom at 97.5 % is 3.1824463
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None
    reach = 3.1824463052842638 * math.sqrt(5 / 12)
    assert (found.low, found.high) == pytest.approx((2.5 - reach, 2.5 + reach), rel=1e-12)
    assert mean_interval([3.0]) is None
    assert mean_interval([3.0, 3.0]) == Interval(3.0, 3.0)


@pytest.mark.parametrize("sizes", [(5, 5), (2, 7), (3, 4)])
def test_interval_of_a_difference_is_scipys_welch(sizes: tuple[int, int]) -> None:
    draw = np.random.default_rng(sum(sizes))
    first, second = draw.normal(57.0, 0.2, sizes[0]), draw.normal(56.5, 0.9, sizes[1])
    found = difference(list(first), list(second))
    expected = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_beyond_noise_is_an_interval_without_zero() -> None:
    assert difference([57.0, 57.1, 57.2], [53.0, 53.1, 53.2]).beyond_noise is True
    assert difference([53.0, 53.1, 53.2], [57.0, 57.1, 57.2]).beyond_noise is True
    assert difference([57.0, 57.4, 57.2], [57.1, 57.3, 57.5]).beyond_noise is False
    assert difference([57.0], [53.0, 53.1]).beyond_noise is None
    # what no seed moves: any difference is one
    assert difference([57.0, 57.0], [57.0, 57.0]).beyond_noise is False
    assert difference([57.1, 57.1], [57.0, 57.0]).beyond_noise is True


def test_five_seeds_of_one_recipe_are_seldom_called_different() -> None:
    draw = np.random.default_rng(0)
    trials = draw.normal(57.0, 0.3, (2000, 2, 5))
    called = np.mean([difference(list(one), list(other)).beyond_noise for one, other in trials])
    assert 0.03 < called < 0.07


def test_ranks_overlap_with_their_intervals() -> None:
    low_to_high = [Interval(1.0, 2.0), Interval(1.5, 3.0), Interval(2.5, 4.0), Interval(9.0, 9.0), None]
    assert ranks(low_to_high) == [Rank(3, 4), Rank(2, 4), Rank(2, 3), Rank(1, 1), None]
    assert ranks(low_to_high, higher_is_better=False) == [
        Rank(1, 2),
        Rank(1, 3),
        Rank(2, 3),
        Rank(4, 4),
        None,
    ]
    # an end that is shared is an overlap
    assert ranks([Interval(1.0, 2.0), Interval(2.0, 3.0)]) == [Rank(1, 2), Rank(1, 2)]
    assert ranks([None, None]) == [None, None]
    assert ranks([]) == []


def test_agreement_of_two_orders_by_hand() -> None:
    # of six pairs of four, five are in the same order: (5 - 1) / 6
    found = agreement([1.0, 2.0, 3.0, 4.0], [10.0, 30.0, 20.0, 40.0])
    assert found is not None
    assert found.tau == pytest.approx(4 / 6)
    same = agreement([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert same is not None and same.tau == pytest.approx(1.0)
    # exact: 2 of the 24 orders are as extreme
    assert same.p_value == pytest.approx(2 / 24)
    reverse = agreement([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert reverse is not None and reverse.tau == pytest.approx(-1.0)


def test_no_order_no_agreement() -> None:
    assert agreement([1.0, 2.0], [1.0, 2.0]) is None
    assert agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(ValueError, match="3 weights"):
        agreement([1.0, 2.0, 3.0], [1.0, 2.0])
