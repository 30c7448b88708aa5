"""Toys: their information and best scores against integrals, SciPy's densities and counting all cases."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal, norm
from torch import Generator, Tensor

from bench.core.errors import ConfigError
from pretrain.analysis.toys import IMPOSSIBLE, CorrelatedGaussians, SharedFactors, Toy, information_between

SHAPES = [
    SharedFactors((3, 2, 4), (0, 1), (1, 2)),
    SharedFactors((3, 2), (0, 1), (1, 0), (2,)),
    SharedFactors((2, 3), (0,), (1,), (3,)),
    SharedFactors((2, 3, 2), (2, 0), (0, 1, 2), (2, 3)),
]


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.8, 0.95])
def test_information_of_gaussians_is_the_integral(correlation: float) -> None:
    joint = multivariate_normal(mean=[0, 0], cov=[[1, correlation], [correlation, 1]])

    def integrand(y: float, x: float) -> float:
        log_joint = joint.logpdf([x, y])
        return math.exp(log_joint) * (log_joint + (x * x + y * y) / 2 + math.log(2 * math.pi))

    expected, _ = dblquad(integrand, -6, 6, -6, 6, epsabs=1e-3, epsrel=1e-3)
    assert CorrelatedGaussians(1, correlation).true_information == pytest.approx(expected, abs=2e-3)
    assert CorrelatedGaussians(7, correlation).true_information == pytest.approx(7 * expected, abs=2e-2)


@pytest.mark.parametrize(("dim", "correlation"), [(1, 0.9), (3, -0.6), (5, 0.0)])
def test_scores_of_gaussians_are_those_of_scipy(dim: int, correlation: float) -> None:
    toy = CorrelatedGaussians(dim, correlation)
    x, y = toy.draw(6, seeded(0))
    scores, conditional = toy.optimal_scores(x, y), toy.conditional_log_density(x, y)
    cross = correlation * np.eye(dim)
    joint = multivariate_normal(cov=np.block([[np.eye(dim), cross], [cross, np.eye(dim)]]))
    for i, j in product(range(6), range(6)):
        own, other = x[i].numpy(), y[j].numpy()
        marginals = norm.logpdf(own).sum() + norm.logpdf(other).sum()
        ratio = joint.logpdf(np.concatenate([own, other])) - marginals
        assert float(scores[i, j]) == pytest.approx(ratio, abs=1e-9)
        density = norm.logpdf(other, loc=correlation * own, scale=math.sqrt(1 - correlation**2)).sum()
        assert float(conditional[i, j]) == pytest.approx(density, abs=1e-9)


def test_draws_of_gaussians_have_the_moments_they_should() -> None:
    x, y = CorrelatedGaussians(2, 0.7).draw(40_000, seeded(1))
    assert x.dtype == y.dtype == torch.float64 and x.shape == y.shape == (40_000, 2)
    found = np.cov(torch.cat([x, y], dim=1).t().numpy())
    expected = np.eye(4) + 0.7 * np.eye(4, k=2) + 0.7 * np.eye(4, k=-2)
    assert np.abs(found - expected).max() < 0.03
    assert float(torch.cat([x, y]).mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("toy", [CorrelatedGaussians(4, 0.8), *SHAPES], ids=lambda toy: toy.name)
def test_true_pairs_score_the_information_on_the_average_and_others_are_a_density_ratio(toy: Toy) -> None:
    x, y = toy.draw(2000, seeded(2))
    scores = toy.optimal_scores(x, y)
    own = scores.diagonal()
    error = float(own.std()) / math.sqrt(2000)
    assert float(own.mean()) == pytest.approx(toy.true_information, abs=4 * error + 1e-12)
    # The mean of p(x, y) / p(x) p(y) over pairs that have nothing to do with each other is 1.
    others = scores[~torch.eye(2000, dtype=torch.bool)].exp()
    assert float(others.mean()) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("toy", [CorrelatedGaussians(3, 0.5), SHAPES[1]], ids=lambda toy: toy.name)
def test_draws_are_a_function_of_the_generator(toy: Toy) -> None:
    before = torch.get_rng_state()
    generator = seeded(3)
    first, again, later = toy.draw(50, generator), toy.draw(50, seeded(3)), toy.draw(50, generator)
    for one, same, other in zip(first, again, later, strict=True):
        assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def all_cases(toy: SharedFactors) -> dict[tuple[tuple[int, ...], tuple[int, ...]], float]:
    """The probability of each pair of views, by counting: values of the factors shown, then of noise."""
    sizes = [*toy.num_values, *toy.num_noise_values, *toy.num_noise_values]
    factors, noises = len(toy.num_values), len(toy.num_noise_values)
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for case in product(*map(range, sizes)):
        noise = case[factors:]
        first = (*(case[factor] for factor in toy.first), *noise[:noises])
        second = (*(case[factor] for factor in toy.second), *noise[noises:])
        found[first, second] = found.get((first, second), 0.0) + 1 / math.prod(sizes)
    return found


def one_hot(values: tuple[int, ...], sizes: list[int]) -> Tensor:
    return torch.tensor(
        [float(value == other) for value, size in zip(values, sizes, strict=True) for other in range(size)],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("toy", SHAPES, ids=lambda toy: toy.name)
def test_information_and_scores_of_factors_are_what_counting_all_cases_gives(toy: SharedFactors) -> None:
    cases = all_cases(toy)
    firsts, seconds = sorted({first for first, _ in cases}), sorted({second for _, second in cases})
    p_first = {one: sum(p for (first, _), p in cases.items() if first == one) for one in firsts}
    p_second = {one: sum(p for (_, second), p in cases.items() if second == one) for one in seconds}
    information = sum(p * math.log(p / p_first[one] / p_second[two]) for (one, two), p in cases.items())
    assert toy.true_information == pytest.approx(information, abs=1e-12)

    sizes = [
        [toy.num_values[factor] for factor in view] + [*toy.num_noise_values]
        for view in (toy.first, toy.second)
    ]
    x = torch.stack([one_hot(values, sizes[0]) for values in firsts])
    y = torch.stack([one_hot(values, sizes[1]) for values in seconds])
    scores = toy.optimal_scores(x, y)
    for (i, one), (j, two) in product(enumerate(firsts), enumerate(seconds)):
        p = cases.get((one, two), 0.0)
        expected = math.log(p / p_first[one] / p_second[two]) if p else IMPOSSIBLE
        assert float(scores[i, j]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("toy", SHAPES, ids=lambda toy: toy.name)
def test_pairs_of_factors_are_drawn_as_often_as_counting_all_cases_says(toy: SharedFactors) -> None:
    cases, num = all_cases(toy), 20_000
    x, y = toy.draw(num, seeded(4))
    sizes = [
        [toy.num_values[factor] for factor in view] + [*toy.num_noise_values]
        for view in (toy.first, toy.second)
    ]
    assert x.dtype == torch.float64 and x.shape == (num, sum(sizes[0])) and y.shape == (num, sum(sizes[1]))
    views = []
    for view, widths in ((x, sizes[0]), (y, sizes[1])):
        blocks = view.split(widths, dim=1)
        assert all(bool(((block == 1).sum(1) == 1).all() and (block.sum(1) == 1).all()) for block in blocks)
        views.append(torch.stack([block.argmax(1) for block in blocks], dim=1).tolist())
    counts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for one, two in zip(*views, strict=True):
        pair = tuple(one), tuple(two)
        counts[pair] = counts.get(pair, 0) + 1
    assert set(counts) <= set(cases)
    for pair, p in cases.items():
        assert counts.get(pair, 0) == pytest.approx(num * p, abs=5 * math.sqrt(num * p))


def test_an_impossible_pair_counts_nothing() -> None:
    assert math.exp(IMPOSSIBLE) == 0.0 and math.isfinite(IMPOSSIBLE)


def test_information_between_is_additive() -> None:
    assert information_between([]) == 0.0
    assert information_between([6]) == pytest.approx(math.log(6), abs=1e-15)
    assert information_between([2, 3, 10]) == pytest.approx(math.log(60), abs=1e-14)


@pytest.mark.parametrize(("dim", "correlation"), [(0, 0.5), (-1, 0.5), (2, 1.0), (2, -1.0), (2, math.nan)])
def test_gaussians_of_no_finite_information_are_refused(dim: int, correlation: float) -> None:
    with pytest.raises(ConfigError):
        CorrelatedGaussians(dim, correlation)


@pytest.mark.parametrize(
    ("num_values", "first", "second", "noise"),
    [
        ((3, 1), (0,), (0,), ()),
        ((3, 2), (0,), (0,), (1,)),
        ((3, 2), (), (0,), ()),
        ((3, 2), (0,), (), ()),
        ((3, 2), (0, 2), (0,), ()),
        ((3, 2), (0,), (-1,), ()),
        ((3, 2), (0, 0), (0,), ()),
    ],
)
def test_factors_that_do_not_exist_are_refused(
    num_values: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...], noise: tuple[int, ...]
) -> None:
    with pytest.raises(ConfigError):
        SharedFactors(num_values, first, second, noise)
