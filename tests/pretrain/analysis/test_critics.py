"""A trained critic: that it learns, that it is a function of its seed, and what it refuses."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Generator, Tensor

from bench.core.errors import DivergedError, UsageError
from pretrain.analysis.critics import OBJECTIVES, SeparableCritic, train_critic
from pretrain.analysis.mutual_information import estimate, info_nce_bound
from pretrain.analysis.toys import CorrelatedGaussians, SharedFactors

TOY = SharedFactors((4, 3), (0, 1), (1, 0), (3,))
GAUSSIANS = CorrelatedGaussians(3, 0.8)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_raises_the_objective_on_new_pairs(objective: str) -> None:
    pairs = TOY.draw(256, Generator().manual_seed(9))
    before, after = (
        float(OBJECTIVES[objective](train_critic(TOY, objective=objective, seed=1, num_steps=steps)(*pairs)))
        for steps in (0, 60)
    )
    best = float(OBJECTIVES[objective](TOY.optimal_scores(*pairs) + (objective == "nwj")))
    assert before < best - 0.5
    assert best - after < 0.5 * (best - before)


def test_i_nce_of_a_trained_critic_rises_to_the_truth_with_more_candidates_and_is_never_above() -> None:
    critic = train_critic(GAUSSIANS, objective="info_nce", seed=0, num_steps=300)
    values = []
    for k in (4, 16, 64, 256, 1024):
        draw = Generator().manual_seed(k)
        found = estimate((critic(*GAUSSIANS.draw(k, draw)) for _ in range(8192 // k)), info_nce_bound)
        assert found.standard_error is not None and found.standard_error < 0.04
        assert found.mean <= math.log(k)
        assert found.mean <= GAUSSIANS.true_information + 4 * found.standard_error
        values.append(found.mean)
    assert values[0] < values[1] < values[2] < values[3] + 0.02
    assert values[0] < 0.6 * GAUSSIANS.true_information
    assert values[-1] > 0.9 * GAUSSIANS.true_information


@pytest.mark.parametrize("num_steps", [0, 3])
def test_it_is_a_function_of_the_seed_and_touches_no_other_randomness(num_steps: int) -> None:
    before = torch.get_rng_state()
    one, same, other = (
        train_critic(TOY, objective="info_nce", seed=seed, num_steps=num_steps).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


class Kept(CorrelatedGaussians):
    drawn: ClassVar[list[Tensor]] = []

    def draw(self, num: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x, y = super().draw(num, generator)
        self.drawn.append(x)
        return x, y


def test_each_step_sees_new_pairs_that_are_a_function_of_the_seed() -> None:
    seen = []
    for seed in (1, 1, 2):
        Kept.drawn.clear()
        train_critic(Kept(2, 0.5), objective="info_nce", seed=seed, num_steps=3)
        seen.append(torch.stack(Kept.drawn[-3:]))
    assert seen[0].shape == (3, 128, 2)
    assert torch.equal(seen[0], seen[1])
    assert len(torch.cat([seen[0], seen[2]]).reshape(-1, 2).unique(dim=0)) == 6 * 128


def test_the_critic_scores_rows_of_view_one_and_takes_no_gradients() -> None:
    critic = train_critic(CorrelatedGaussians(3, 0.5), objective="js", seed=0, num_steps=1)
    assert not any(parameter.requires_grad for parameter in critic.parameters())
    x, y = CorrelatedGaussians(3, 0.5).draw(5, Generator().manual_seed(0))
    scores = critic(x, y)
    assert scores.shape == (5, 5)
    assert float(scores[1, 3]) == pytest.approx(float(critic(x[1:2], y[3:4])), abs=1e-5)
    assert SeparableCritic(2, 7)(torch.zeros(4, 2), torch.zeros(4, 7)).shape == (4, 4)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(UsageError, match="info_nce"):
        train_critic(TOY, objective="info_nec", seed=0)


class Endless(CorrelatedGaussians):
    def draw(self, num: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x, y = super().draw(num, generator)
        return x * math.inf, y


def test_pairs_that_are_not_finite_stop_the_training() -> None:
    with pytest.raises(DivergedError):
        train_critic(Endless(2, 0.5), objective="info_nce", seed=0, num_steps=1)
