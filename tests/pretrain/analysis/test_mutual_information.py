"""Bounds of mutual information: against loops over pairs, closed forms, integrals, toys of known truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from bench.core.errors import DivergedError
from pretrain.analysis.mutual_information import (
    BOUNDS,
    Bound,
    Estimate,
    club_upper_bound,
    estimate,
    info_nce_bound,
    js_bound,
    js_objective,
    nwj_bound,
    smile_bound,
)
from pretrain.analysis.toys import CorrelatedGaussians, SharedFactors
from pretrain.losses import info_nce, mutual_information

Floats = npt.NDArray[np.float64]

ALL: dict[str, Bound] = {**BOUNDS, "js_objective": js_objective, "club": club_upper_bound}
TOYS = [
    CorrelatedGaussians(3, 0.7),
    CorrelatedGaussians(1, -0.9),
    SharedFactors((5, 3, 2), (0, 1), (1, 0, 2)),
]


def matrix(k: int, seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(scores: Floats) -> tuple[list[float], list[float]]:
    """Scores of true pairs and of all others, by a loop."""
    k = len(scores)
    own = [float(scores[i, i]) for i in range(k)]
    return own, [float(scores[i, j]) for i in range(k) for j in range(k) if i != j]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def info_nce_by_hand(scores: Floats) -> float:
    k = len(scores)
    return mean(
        [math.log(math.exp(scores[i, i]) / (sum(math.exp(one) for one in scores[i]) / k)) for i in range(k)]
    )


def nwj_by_hand(scores: Floats) -> float:
    own, others = parts(scores)
    return mean(own) - mean([math.exp(one) for one in others]) / math.e


def js_objective_by_hand(scores: Floats) -> float:
    own, others = parts(scores)
    return mean([math.log(1 / (1 + math.exp(-one))) for one in own]) + mean(
        [math.log(1 - 1 / (1 + math.exp(-one))) for one in others]
    )


def smile_by_hand(scores: Floats) -> float:
    own, others = parts(scores)
    clipped = [min(max(math.exp(one), math.exp(-5)), math.exp(5)) for one in others]
    return mean(own) - math.log(mean(clipped))


def club_by_hand(scores: Floats) -> float:
    own, others = parts(scores)
    return mean(own) - mean(others)


BY_HAND: dict[str, Callable[[Floats], float]] = {
    "info_nce": info_nce_by_hand,
    "nwj": nwj_by_hand,
    "js": lambda scores: nwj_by_hand(scores + 1),
    "smile": smile_by_hand,
    "js_objective": js_objective_by_hand,
    "club": club_by_hand,
}

squares = st.integers(2, 6).flatmap(
    lambda k: arrays.arrays(np.float64, (k, k), elements=st.floats(-12, 12, allow_nan=False))
)


@pytest.mark.parametrize("name", ALL)
@given(scores=squares)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_it_is_its_formula_written_out(name: str, scores: Floats) -> None:
    found = ALL[name](torch.from_numpy(scores))
    assert found.shape == () and found.dtype == torch.float64
    assert float(found) == pytest.approx(BY_HAND[name](scores), rel=1e-9, abs=1e-9)


@given(scores=squares, scale=st.sampled_from([1.0, 1e3, 1e6]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_i_nce_is_never_above_the_logarithm_of_the_candidates(scores: Floats, scale: float) -> None:
    for symmetric in (False, True):
        found = float(info_nce_bound(torch.from_numpy(scores * scale), symmetric=symmetric))
        assert found <= math.log(len(scores))


@pytest.mark.parametrize("k", [2, 7, 64])
def test_equal_scores_say_nothing(k: int) -> None:
    for level in (0.0, -3.0, 2.0):
        same = torch.full((k, k), level)
        assert float(info_nce_bound(same)) == pytest.approx(0.0, abs=1e-12)
        assert float(smile_bound(same)) == pytest.approx(0.0, abs=1e-12)
        assert float(club_upper_bound(same)) == pytest.approx(0.0, abs=1e-12)
        assert float(nwj_bound(same)) == pytest.approx(level - math.exp(level - 1.0), abs=1e-12)
        assert float(js_bound(same)) == pytest.approx(level + 1.0 - math.exp(level), abs=1e-12)
    assert float(js_objective(torch.zeros(k, k))) == pytest.approx(-math.log(4.0), abs=1e-12)


@pytest.mark.parametrize("k", [2, 16, 300])
@pytest.mark.parametrize("gap", [0.5, 4.0, 30.0])
def test_a_diagonal_that_stands_out_gives_the_logarithm_of_k_less_a_little(k: int, gap: float) -> None:
    expected = math.log(k) - math.log1p((k - 1) * math.exp(-gap))
    for symmetric in (False, True):
        found = info_nce_bound(gap * torch.eye(k), symmetric=symmetric)
        assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_pairs_does_not_matter_and_which_are_pairs_does(name: str) -> None:
    scores = matrix(9, 0)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    before = float(ALL[name](scores))
    assert float(ALL[name](scores[order][:, order])) == pytest.approx(before, abs=1e-12)
    assert abs(float(ALL[name](scores[order])) - before) > 1e-3


def test_i_nce_picks_in_rows_and_the_symmetric_one_in_both() -> None:
    scores, offset = matrix(8, 2), matrix(8, 3)[0]
    rows, both = float(info_nce_bound(scores)), float(info_nce_bound(scores, symmetric=True))
    columns = float(info_nce_bound(scores.t()))
    # What is added to a whole row cannot change which of it is picked; what is added to a column can.
    assert float(info_nce_bound(scores + offset[:, None])) == pytest.approx(rows, abs=1e-12)
    assert abs(float(info_nce_bound(scores + offset)) - rows) > 1e-2
    assert abs(rows - columns) > 1e-2
    assert both == pytest.approx((rows + columns) / 2, abs=1e-12)


def test_i_nce_is_what_the_loss_of_training_says() -> None:
    draw = torch.Generator().manual_seed(4)
    query, key = (torch.randn(6, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    scores = query @ key.t() / 0.5
    losses = [
        info_nce(query[i : i + 1], key[i : i + 1], key[torch.arange(6) != i], temperature=0.5)
        for i in range(6)
    ]
    expected = float(mutual_information(torch.stack(losses).mean(), 6))
    assert float(info_nce_bound(scores)) == pytest.approx(expected, abs=1e-12)


def test_smile_clips_the_scores_of_others_alone() -> None:
    scores = matrix(12, 5, scale=6.0)
    own, others = parts(scores.numpy())
    unclipped = mean(own) - math.log(mean([math.exp(one) for one in others]))
    assert float(smile_bound(scores, clip=math.inf)) == pytest.approx(unclipped, abs=1e-9)
    for clip in (0.5, 5.0):
        clipped = mean(own) - math.log(mean([math.exp(min(max(one, -clip), clip)) for one in others]))
        assert float(smile_bound(scores, clip=clip)) == pytest.approx(clipped, abs=1e-9)
        assert abs(clipped - unclipped) > 0.5


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan])
def test_a_clip_that_is_none_is_refused(clip: float) -> None:
    with pytest.raises(ValueError):
        smile_bound(matrix(3, 0), clip=clip)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_ten_thousand_overflow_nowhere(name: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        scores = (1e4 * matrix(5, seed).sign()).to(dtype).requires_grad_()
        found = ALL[name](scores)
        found.backward()
        assert torch.isfinite(found) and scores.grad is not None and torch.isfinite(scores.grad).all()


def test_values_of_extreme_scores() -> None:
    k, wide = 6, 1e4
    good = wide * (2 * torch.eye(k, dtype=torch.float64) - 1)
    assert float(info_nce_bound(good)) == pytest.approx(math.log(k), abs=1e-9)
    assert float(info_nce_bound(-good)) == pytest.approx(math.log(k) - 2 * wide - math.log(k - 1), abs=1e-9)
    assert float(nwj_bound(good)) == pytest.approx(wide)
    assert float(nwj_bound(-good)) < -1e100
    assert float(js_objective(good)) == pytest.approx(0.0, abs=1e-9)
    assert float(js_objective(-good)) == pytest.approx(-2 * wide)
    assert float(smile_bound(good, clip=math.inf)) == pytest.approx(2 * wide)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_differences(name: str) -> None:
    scores = matrix(4, 6).requires_grad_()
    ALL[name](scores).backward()
    assert scores.grad is not None
    for i, j in product(range(4), range(4)):
        step = torch.zeros(4, 4, dtype=torch.float64)
        step[i, j] = 1e-5
        slope = (ALL[name](scores.detach() + step) - ALL[name](scores.detach() - step)) / 2e-5
        assert float(scores.grad[i, j]) == pytest.approx(float(slope), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_raised_first(name: str) -> None:
    half = matrix(20, 7).bfloat16()
    found = ALL[name](half)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(BY_HAND[name](half.double().numpy()), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 1), (0, 0), (2, 3, 3)])
def test_what_is_no_square_of_two_or_more_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        ALL[name](torch.zeros(shape))


def test_an_estimate_is_the_mean_over_batches_and_its_error() -> None:
    batches = [matrix(5, seed).float().requires_grad_() for seed in range(7)]
    found = estimate(iter(batches), nwj_bound)
    values = np.array([nwj_by_hand(batch.detach().double().numpy()) for batch in batches])
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(7), rel=1e-12)
    assert (found.num_candidates, found.num_batches) == (5, 7)


def test_scores_that_are_made_while_it_asks_keep_no_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    made: list[Tensor] = []

    def batches() -> Iterator[Tensor]:
        for seed in range(2):
            made.append(weight * matrix(4, seed))
            yield made[-1]

    estimate(batches(), info_nce_bound)
    assert len(made) == 2 and not any(scores.requires_grad for scores in made)


def test_one_batch_has_no_error() -> None:
    scores = matrix(4, 0)
    assert estimate([scores], info_nce_bound) == Estimate(float(info_nce_bound(scores)), None, 4, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", BOUNDS)
def test_scores_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    scores = matrix(4, 0)
    scores[1, 2] = bad
    with pytest.raises(DivergedError, match="batch 1"):
        estimate([matrix(4, 1), scores], BOUNDS[name])


def test_an_estimate_of_nothing_or_of_different_candidates_is_refused() -> None:
    with pytest.raises(ValueError):
        estimate([], info_nce_bound)
    with pytest.raises(ValueError):
        estimate([matrix(4, 0), matrix(4, 1), matrix(5, 2)], info_nce_bound)


# Toys of known truth, scored by the best critic there is.


def optimal(
    toy: CorrelatedGaussians | SharedFactors, k: int, bound: Bound, pairs: int = 4096
) -> tuple[float, float]:
    draw = torch.Generator().manual_seed(k)
    found = estimate((toy.optimal_scores(*toy.draw(k, draw)) for _ in range(pairs // k)), bound)
    assert found.standard_error is not None
    return found.mean, found.standard_error


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_i_nce_rises_to_the_truth_with_more_candidates_and_is_never_above(
    toy: CorrelatedGaussians | SharedFactors,
) -> None:
    found = {k: optimal(toy, k, info_nce_bound) for k in (4, 16, 64, 256, 1024)}
    for k, (value, error) in found.items():
        assert value <= math.log(k)
        assert value <= toy.true_information + 4 * error
    values = [value for value, _ in found.values()]
    assert values[0] < values[1] < values[2] < values[3] + 0.02
    assert values[0] < toy.true_information - 0.15
    assert values[-1] == pytest.approx(toy.true_information, abs=0.04)


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_nwj_js_and_unclipped_smile_find_the_truth(toy: CorrelatedGaussians | SharedFactors) -> None:
    one_more: Bound = lambda scores: nwj_bound(scores + 1.0)  # noqa: E731
    unclipped: Bound = lambda scores: smile_bound(scores, clip=math.inf)  # noqa: E731
    for bound in (one_more, js_bound, unclipped):
        value, error = optimal(toy, 256, bound)
        assert error < 0.1
        assert value == pytest.approx(toy.true_information, abs=4 * error + 0.01)
    # Of the log ratio alone, I_NWJ is 1/e below the truth.
    value, error = optimal(toy, 256, nwj_bound)
    assert value == pytest.approx(toy.true_information - 1 / math.e, abs=4 * error + 0.01)


@pytest.mark.parametrize(("dim", "correlation"), [(3, 0.7), (1, -0.9), (2, 0.0)])
def test_club_lies_above_the_truth_by_what_is_known_of_gaussians(dim: int, correlation: float) -> None:
    toy = CorrelatedGaussians(dim, correlation)
    # E of (y - rho x)^2 is 1 - rho^2 for pairs and 1 + rho^2 for others.
    expected = dim * correlation**2 / (1 - correlation**2)
    for k in (4, 256):
        draw = torch.Generator().manual_seed(0)
        batches = (toy.conditional_log_density(*toy.draw(k, draw)) for _ in range(4096 // k))
        found = estimate(batches, club_upper_bound)
        assert found.standard_error is not None
        assert found.mean == pytest.approx(expected, abs=4 * found.standard_error + 1e-9)
        assert correlation == 0.0 or found.mean - 4 * found.standard_error > toy.true_information


def test_the_best_value_of_the_js_objective_is_the_divergence() -> None:
    toy = CorrelatedGaussians(1, 0.8)
    axis = np.linspace(-7, 7, 701)
    first, second = np.meshgrid(axis, axis, indexing="ij")
    joint = np.exp(-(first**2 - 1.6 * first * second + second**2) / 0.72) / (2 * math.pi * 0.6)
    apart = np.exp(-(first**2 + second**2) / 2) / (2 * math.pi)
    middle = (joint + apart) / 2
    area = (axis[1] - axis[0]) ** 2
    divergence = 0.5 * area * (joint * np.log(joint / middle) + apart * np.log(apart / middle)).sum()
    value, error = optimal(toy, 512, js_objective, pairs=16_384)
    assert error < 0.01
    assert value == pytest.approx(2 * divergence - math.log(4), abs=4 * error)
    worse, _ = optimal(toy, 512, lambda scores: js_objective(scores + 1.0))
    assert worse < value - 0.05
