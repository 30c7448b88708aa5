"""Optimisers against updates written out here; who decays; fused or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pretrain.momentum import momentum_copy
from pretrain.optim import OptimizerConfig, build_optimizer, set_rate


class Velocity:
    """SGD with momentum by hand, as torch documents it; LARS scales what decays before it.

    Args:
        lars: Trust coefficient, or None for plain SGD.
    """

    def __init__(
        self,
        *,
        momentum: float,
        weight_decay: float,
        decays: Callable[[Tensor], bool] = lambda value: True,
        lars: float | None = None,
    ) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        self.decays, self.lars = decays, lars
        self.velocity: dict[str, Tensor] = {}

    def updated(self, values: dict[str, Tensor], grads: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
        new = {}
        for name, value in values.items():
            change = grads[name]
            if self.decays(value) and self.lars is None:
                change = change + self.weight_decay * value
            elif self.decays(value):
                length, steepness = math.sqrt(float((value**2).sum())), math.sqrt(float((change**2).sum()))
                # lightly adds the last term, and leaves weights without any gradient alone.
                below = steepness + self.weight_decay * length + 1e-8
                if length and steepness:
                    change = (change + self.weight_decay * value) * (self.lars * length / below)
            if name in self.velocity:
                change = self.momentum * self.velocity[name] + change
            self.velocity[name] = change
            new[name] = value - rate * change
        return new


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def config_of(kind: str, **values: Any) -> OptimizerConfig:
    given = {"learning_rate": 0.1, "weight_decay": 0.01, "decay_norms_and_biases": True, **values}
    return OptimizerConfig(kind=kind, **given)  # type: ignore[arg-type]


def give_gradients(model: nn.Module, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    for value in model.parameters():
        value.grad = torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value.dtype)
    return {name: value.grad.clone() for name, value in model.named_parameters()}


def values_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def step_together(config: OptimizerConfig, reference: Velocity, *, fused: bool = False) -> float:
    """Four steps of ours and of the reference in float64, the rate falling; the largest difference."""
    model = network().double()
    optimizer, expected = build_optimizer(config, model, fused=fused), values_of(model)
    for number in range(4):
        rate = config.learning_rate / (1 + number)
        for group in optimizer.param_groups:
            group["lr"] = rate
        expected = reference.updated(expected, give_gradients(model, number), rate)
        optimizer.step()
    return max(float((value - expected[name]).abs().max()) for name, value in values_of(model).items())


def is_matrix(value: Tensor) -> bool:
    return value.ndim > 1


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_update_written_out(momentum: float, everything: bool, fused: bool) -> None:
    config = config_of("sgd", momentum=momentum, decay_norms_and_biases=everything)
    decays = (lambda value: True) if everything else is_matrix
    reference = Velocity(momentum=momentum, weight_decay=0.01, decays=decays)
    assert step_together(config, reference, fused=fused) < 1e-12


def test_lars_scales_what_decays_by_its_trust_ratio() -> None:
    config = config_of("lars", learning_rate=4.8, decay_norms_and_biases=False)
    reference = Velocity(momentum=0.9, weight_decay=0.01, decays=is_matrix, lars=0.001)
    assert step_together(config, reference) < 1e-12


def test_lars_leaves_norms_and_biases_to_plain_sgd() -> None:
    model = network().double()
    optimizer = build_optimizer(config_of("lars", decay_norms_and_biases=False), model, fused=False)
    before, grads = values_of(model), give_gradients(model, 0)
    optimizer.step()
    for name, value in values_of(model).items():
        moved = before[name] - value
        if value.ndim == 1:
            assert (moved - 0.1 * grads[name]).abs().max() < 1e-15
        else:
            ratio = 0.001 * before[name].norm() / (grads[name].norm() + 0.01 * before[name].norm())
            expected = 0.1 * ratio * (grads[name] + 0.01 * before[name])
            assert (moved - expected).abs().max() < 1e-9
            assert float(moved.norm()) == pytest.approx(1e-4 * float(before[name].norm()), rel=0.05)


def test_adamw_decays_apart_from_the_gradient() -> None:
    model = network().double()
    config = config_of("adamw", learning_rate=0.01, weight_decay=0.05, decay_norms_and_biases=False)
    optimizer, expected = build_optimizer(config, model, fused=False), values_of(model)
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    for number in range(1, 4):
        grads = give_gradients(model, number)
        for name, grad in grads.items():
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            kept = 1 - 0.01 * (0.05 if is_matrix(grad) else 0.0)
            change = (first[name] / (1 - 0.9**number)) / ((second[name] / (1 - 0.999**number)).sqrt() + 1e-8)
            expected[name] = kept * expected[name] - 0.01 * change
        optimizer.step()
    for name, value in values_of(model).items():
        assert (value - expected[name]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_fused_equals_unfused(kind: str) -> None:
    ends = []
    for fused in (False, True):
        model = network()
        config = config_of(kind, learning_rate=0.01, decay_norms_and_biases=False)
        optimizer = build_optimizer(config, model, fused=fused)
        for number in range(5):
            give_gradients(model, number)
            optimizer.step()
        assert all(group["fused"] is fused for group in optimizer.param_groups)
        ends.append(values_of(model))
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 1e-6


@pytest.mark.parametrize("kind", ["sgd", "lars", "adamw"])
def test_norms_and_biases_decay_only_if_they_are_told_to(kind: str) -> None:
    model = network()
    apart = build_optimizer(config_of(kind, decay_norms_and_biases=False), model, fused=False)
    decay = {id(value): group["weight_decay"] for group in apart.param_groups for value in group["params"]}
    assert {name: decay[id(value)] for name, value in model.named_parameters()} == {
        "0.weight": 0.01,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.01,
        "3.bias": 0.0,
    }
    together = build_optimizer(config_of(kind), model, fused=False)
    assert [group["weight_decay"] for group in together.param_groups] == [0.01]
    assert len(together.param_groups[0]["params"]) == 6


@pytest.mark.parametrize("everything", [False, True])
def test_each_trained_parameter_is_there_once_and_no_other(everything: bool) -> None:
    source = network()
    model = nn.ModuleList([source, momentum_copy(source)])
    config = config_of("sgd", decay_norms_and_biases=everything)
    optimizer = build_optimizer(config, model, fused=False)
    taken = [id(value) for group in optimizer.param_groups for value in group["params"]]
    assert sorted(taken) == sorted(id(value) for value in source.parameters())


def test_lars_without_decay_is_refused() -> None:
    with pytest.raises(ValidationError, match="weight_decay"):
        config_of("lars", weight_decay=0.0)


@pytest.mark.parametrize("values", [{"learning_rate": 0.0}, {"momentum": 1.0}, {"learning_rate": math.inf}])
def test_impossible_numbers_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config_of("sgd", **values)


def test_lars_leaves_weights_without_any_gradient_alone() -> None:
    model = network().double()
    optimizer = build_optimizer(config_of("lars", decay_norms_and_biases=False), model, fused=False)
    before = values_of(model)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in values_of(model).items())


def test_norms_and_biases_move_at_their_share_of_the_rate() -> None:
    model = network().double()
    config = config_of("lars", decay_norms_and_biases=False, norm_and_bias_rate_ratio=0.024)
    optimizer = build_optimizer(config, model, fused=False)
    set_rate(optimizer, 0.5)
    before, grads = values_of(model), give_gradients(model, 0)
    optimizer.step()
    for name, value in values_of(model).items():
        if value.ndim == 1:
            torch.testing.assert_close(before[name] - value, 0.5 * 0.024 * grads[name])
        else:
            ratio = 0.001 * before[name].norm() / (grads[name].norm() + 0.01 * before[name].norm() + 1e-8)
            torch.testing.assert_close(
                before[name] - value, 0.5 * ratio * (grads[name] + 0.01 * before[name])
            )


@pytest.mark.parametrize("everything", [False, True])
def test_a_fixed_rate_follows_no_schedule_and_the_others_do(everything: bool) -> None:
    model = network().double()
    config = config_of("sgd", momentum=0.0, weight_decay=0.0, decay_norms_and_biases=everything)
    optimizer = build_optimizer(config, model, fixed_rate=("3.",), fused=True)
    held = [value for group in optimizer.param_groups for value in group["params"]]
    assert len(held) == len({id(value) for value in held}) == len(list(model.parameters()))
    set_rate(optimizer, 0.001)
    before, grads = values_of(model), give_gradients(model, 0)
    optimizer.step()
    for name, value in values_of(model).items():
        rate = 0.1 if name.startswith("3.") else 0.001
        torch.testing.assert_close(before[name] - value, rate * grads[name])


@pytest.mark.parametrize("kind", ["sgd", "lars", "adamw"])
def test_what_is_trained_later_can_start_late(kind: str) -> None:
    """torch's fused SGD refuses a group of which some have a momentum and some have none."""
    model = network()
    optimizer = build_optimizer(config_of(kind), model, trained_later=("3.",), fused=kind != "lars")
    for number in range(3):
        give_gradients(model, number)
        if number == 0:
            model[3].weight.grad = model[3].bias.grad = None
        before = values_of(model)
        optimizer.step()
        still = {name for name, value in values_of(model).items() if torch.equal(value, before[name])}
        assert still == ({"3.weight", "3.bias"} if number == 0 else set())


def test_two_ways_to_shorten_gradients_are_one_too_many() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        config_of("sgd", clip_norm=1.0, clip_tensor_norm=1.0)
