"""The bootstrap against closed forms, and against data of which the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from bench.core.errors import StoreError
from bench.report.bootstrap import PairedDifference, draws, paired


@dataclass(frozen=True)
class Mean:
    """A metric that is a mean over images, as top-1 is; `scores` in percent."""

    scores: np.ndarray
    images: tuple[str, ...]
    metric: str = "top1"

    @property
    def value(self) -> float:
        return float(self.scores.mean())

    def values(self, counts: np.ndarray) -> np.ndarray:
        return counts @ self.scores / counts.sum(axis=1)


def mean_of(scores: np.ndarray | list[float], metric: str = "top1") -> Mean:
    return Mean(np.asarray(scores, np.float64), tuple(f"{index}.png" for index in range(len(scores))), metric)


def against_nothing(evidence: Mean, num_resamples: int, seed: int = 0) -> PairedDifference:
    """The spread of one side alone: its difference to a metric that is 0 whatever is drawn."""
    nothing = Mean(np.zeros(len(evidence.images)), evidence.images)
    return paired([evidence], [nothing], num_resamples=num_resamples, seed=seed)


def right(random: np.random.Generator, num_images: int, share: float) -> np.ndarray:
    return 100.0 * (random.random(num_images) < share)


def test_draws_are_as_many_as_images_each_as_likely_and_independent() -> None:
    counts = draws(40, 5000, 0)
    assert counts.shape == (5000, 40) and counts.dtype == np.int64
    assert (counts.sum(axis=1) == 40).all()
    # Multinomial: mean 1, variance 1 - 1/n, covariance -1/n. Six standard errors of each.
    assert np.abs(counts.mean(axis=0) - 1.0).max() < 6 / math.sqrt(5000)
    covariance = np.cov(counts.T)
    assert np.diag(covariance).mean() == pytest.approx(1 - 1 / 40, abs=0.02)
    assert covariance[~np.eye(40, dtype=bool)].mean() == pytest.approx(-1 / 40, abs=0.001)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert draws(30, 50, 7).tobytes() == draws(30, 50, 7).tobytes()
    assert draws(30, 50, 7)[:20].tobytes() == draws(30, 20, 7).tobytes()
    assert not np.array_equal(draws(30, 50, 7), draws(30, 50, 8))
    # Of the indices 3 2 2 1 and 1 0 0 0.
    assert draws(4, 2, 0).tolist() == [[0, 1, 2, 1], [3, 1, 0, 0]], "the stream of NumPy has changed"


@pytest.mark.parametrize(("num_images", "num_resamples"), [(0, 10), (10, 1)])
def test_no_images_and_one_resample_are_our_own_fault(num_images: int, num_resamples: int) -> None:
    with pytest.raises(ValueError, match="resamples of"):
        draws(num_images, num_resamples, 0)


def test_standard_error_and_interval_of_top1_are_those_of_a_mean() -> None:
    """sqrt(p (1 - p) / n), and 1.96 of it to both sides; 4,000 resamples know a spread to 1 / sqrt(8000)."""
    scores = right(np.random.default_rng(0), 1500, 0.7)
    p = scores.mean() / 100.0
    expected = 100.0 * math.sqrt(p * (1 - p) / 1500)
    spread = against_nothing(mean_of(scores), 4000, seed=1)
    assert spread.difference == scores.mean()
    assert spread.standard_error == pytest.approx(expected, rel=0.04)
    low, high = spread.interval
    assert (low - spread.difference, high - spread.difference) == pytest.approx(
        (-1.96 * expected, 1.96 * expected), rel=0.1
    )
    assert (spread.num_images, spread.num_resamples) == (1500, 4000)


def test_the_interval_is_of_percentiles() -> None:
    values = np.arange(1000.0)

    class Given(Mean):
        def values(self, counts: np.ndarray) -> np.ndarray:
            return values[: len(counts)]

    spread = against_nothing(Given(np.zeros(2), ("a", "b")), 1000)
    assert spread.interval == pytest.approx((24.975, 974.025))
    assert spread.standard_error == pytest.approx(math.sqrt(1000 * 1001 / 12))


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    """Of 200 test sets of 300 images; the share of them has a standard error of 1.5 points."""
    random = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        low, high = against_nothing(mean_of(right(random, 300, 0.6)), 200, seed=seed).interval
        held += low <= 60.0 <= high
    assert 0.90 < held / 200 < 0.99


def test_no_difference_is_found_in_one_of_twenty() -> None:
    """Two models that are right on the same share of images, mostly the same images."""
    random = np.random.default_rng(3)
    found = []
    for seed in range(200):
        hard = right(random, 300, 0.7)
        one, two = (np.where(random.random(300) < 0.2, right(random, 300, 0.7), hard) for _ in range(2))
        found.append(paired([mean_of(one)], [mean_of(two)], num_resamples=200, seed=seed))
    assert 0.01 < np.mean([item.beyond_noise for item in found]) < 0.10
    assert 0.01 < np.mean([item.p < 0.05 for item in found]) < 0.10
    assert 0.4 < np.median([item.p for item in found]) < 0.6


def test_what_is_hard_for_both_is_no_noise() -> None:
    """The standard error is that of the mean of differences, image by image: far below that of either."""
    random = np.random.default_rng(4)
    hard = right(random, 2000, 0.6)
    better = np.where(random.random(2000) < 0.02, 100.0, hard)
    found = paired([mean_of(better)], [mean_of(hard)], num_resamples=2000)
    assert found.difference == pytest.approx((better - hard).mean())
    assert found.standard_error == pytest.approx((better - hard).std() / math.sqrt(2000), rel=0.06)
    assert found.beyond_noise and found.p == 2 / 2001
    assert paired([mean_of(hard)], [mean_of(better)], num_resamples=100).beyond_noise
    alone = against_nothing(mean_of(hard), 200).standard_error
    assert found.standard_error < alone / 4


def test_each_side_is_the_mean_over_its_trials() -> None:
    """Three trials against two: as one trial a side whose scores are the means."""
    random = np.random.default_rng(5)
    a, b = random.random((3, 200)) * 100, random.random((2, 200)) * 100
    found = paired([mean_of(row) for row in a], [mean_of(row) for row in b], num_resamples=300, seed=9)
    means = paired([mean_of(a.mean(axis=0))], [mean_of(b.mean(axis=0))], num_resamples=300, seed=9)
    assert found.num_trials == (3, 2) and means.num_trials == (1, 1)
    assert found.difference == pytest.approx(means.difference, abs=1e-12)
    assert found.interval == pytest.approx(means.interval, abs=1e-12)
    assert found.standard_error == pytest.approx(means.standard_error)
    assert found.p == means.p


def test_the_other_way_round_is_the_same_with_another_sign() -> None:
    random = np.random.default_rng(6)
    a, b = ([mean_of(right(random, 150, share))] for share in (0.62, 0.55))
    one, other = paired(a, b, num_resamples=500), paired(b, a, num_resamples=500)
    assert 0.01 < one.p < 0.9
    assert other.difference == -one.difference
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))
    assert (other.p, other.standard_error) == pytest.approx((one.p, one.standard_error))


def test_equal_evidence_differs_by_exactly_nothing() -> None:
    scores = np.random.default_rng(7).random((3, 90)) * 100
    trials = [mean_of(row) for row in scores]
    expected = PairedDifference(0.0, (0.0, 0.0), 0.0, 1.0, 90, 200, (3, 3))
    assert paired(trials, trials, num_resamples=200) == expected
    assert not expected.beyond_noise


def test_equal_arguments_give_equal_numbers() -> None:
    random = np.random.default_rng(8)
    a, b = ([mean_of(right(random, 100, 0.5))] for _ in range(2))
    assert paired(a, b, seed=3, num_resamples=100) == paired(a, b, seed=3, num_resamples=100)
    assert paired(a, b, seed=3, num_resamples=100) != paired(a, b, seed=4, num_resamples=100)


def test_p_counts_the_other_side_and_zero_twice() -> None:
    """Of ten resamples one is negative and one 0: (2 + 1) of 11, twice."""
    given = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])

    class Given(Mean):
        def values(self, counts: np.ndarray) -> np.ndarray:
            return given

    flat, moved = mean_of([0.0, 0.0]), Given(np.ones(2), ("0.png", "1.png"))
    found = paired([moved], [flat], num_resamples=10)
    assert found.p == pytest.approx(6 / 11)
    assert not found.beyond_noise
    assert paired([flat], [moved], num_resamples=10).p == pytest.approx(6 / 11)
    against = Given(-np.ones(2), ("0.png", "1.png"))
    assert paired([against], [flat], num_resamples=10).p == 1.0


def test_a_difference_of_rounding_is_none() -> None:
    """Sums in another order: one side is larger by 1e-13 wherever image 0 was drawn."""
    scores = np.random.default_rng(9).random(50) * 100
    rounded = scores.copy()
    rounded[0] += 1e-12
    found = paired([mean_of(rounded)], [mean_of(scores)], num_resamples=100)
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)
    rounded[0] += 1e-4
    assert paired([mean_of(rounded)], [mean_of(scores)], num_resamples=100).difference > 0.0


def test_other_images_are_refused_by_name() -> None:
    one = Mean(np.zeros(3), ("a", "b", "c"))
    for images, words in (
        (("a", "x", "c"), r"image 2 is b .* x "),
        (("a", "c", "b"), r"image 2 is b .* c "),
        (("a", "b"), r"image 3 is c .* missing "),
        (("a", "b", "c", "d"), r"image 4 is missing .* d "),
    ):
        other = Mean(np.zeros(len(images)), images)
        for sides in (([one], [other]), ([one, other], [one])):
            with pytest.raises(StoreError, match=words):
                paired(*sides, num_resamples=10)


def test_other_metrics_few_images_and_no_trials() -> None:
    with pytest.raises(StoreError, match="top1, another mIoU"):
        paired([mean_of([1.0, 2.0])], [mean_of([1.0, 2.0], "mIoU")], num_resamples=10)
    with pytest.raises(StoreError, match="1 test images"):
        against_nothing(mean_of([1.0]), 10)
    for sides in (([], [mean_of([1.0, 2.0])]), ([mean_of([1.0, 2.0])], [])):
        with pytest.raises(ValueError, match="no trials"):
            paired(*sides)


def test_a_resample_without_a_value_is_no_resample() -> None:
    class Holed(Mean):
        def values(self, counts: np.ndarray) -> np.ndarray:
            return np.where(counts[:, 0] > 0, 1.0, np.nan)

    holed = Holed(np.ones(5), tuple("abcde"))
    num_without = int((draws(5, 50, 0)[:, 0] == 0).sum())
    assert num_without > 5
    with pytest.raises(StoreError, match=f"in {num_without} of 50 resamples"):
        against_nothing(holed, 50)
    with pytest.raises(StoreError, match="no value"):
        paired([Mean(np.ones(5), tuple("abcde"))], [holed], num_resamples=50)
