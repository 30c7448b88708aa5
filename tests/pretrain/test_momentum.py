"""The momentum copy: every parameter by hand, no buffer, no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.momentum import cosine_momentum, momentum_copy, update_momentum


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def moved(source: nn.Module) -> None:
    with torch.no_grad():
        for value in source.parameters():
            value.add_(torch.randn_like(value))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("ema_momentum", [0.0, 0.5, 0.99, 0.999])
def test_each_parameter_is_the_weighted_mean(
    ema_momentum: float, dtype: torch.dtype, tolerance: float
) -> None:
    source = network().to(dtype)
    slow = momentum_copy(source)
    expected = [value.detach().double().numpy().copy() for value in slow.parameters()]
    for _ in range(3):
        moved(source)
        update_momentum(slow, source, ema_momentum)
        new = [value.detach().double().numpy() for value in source.parameters()]
        expected = [
            ema_momentum * old + (1 - ema_momentum) * value for old, value in zip(expected, new, strict=True)
        ]
    for found, value in zip(slow.parameters(), expected, strict=True):
        assert np.abs(found.double().numpy() - value).max() < tolerance


def test_the_copy_is_equal_at_first_and_shares_nothing() -> None:
    source = network()
    slow = momentum_copy(source)
    for name, value in source.state_dict().items():
        assert torch.equal(value, slow.state_dict()[name])
        assert value.data_ptr() != slow.state_dict()[name].data_ptr()
    moved(source)
    assert not torch.equal(source[0].weight, slow[0].weight)


def test_no_gradient_reaches_the_copy_and_the_source_keeps_its_own() -> None:
    source = network()
    slow = momentum_copy(source)
    assert not any(value.requires_grad for value in slow.parameters())
    assert all(value.requires_grad for value in source.parameters())
    update_momentum(slow, source, 0.9)
    assert not any(value.requires_grad for value in slow.parameters())
    assert all(value.grad is None and value.is_leaf for value in source.parameters())


def test_the_source_is_not_moved() -> None:
    source = network()
    slow = momentum_copy(source)
    moved(source)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    update_momentum(slow, source, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_running_statistics_are_the_copys_own() -> None:
    source = network()
    slow = momentum_copy(source)
    source(torch.randn(8, 3, 4, 4))
    before = {name: value.clone() for name, value in slow.named_buffers()}
    update_momentum(slow, source, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in slow.named_buffers())
    slow(torch.randn(8, 3, 4, 4) + 3)
    assert not torch.equal(slow[1].running_mean, source[1].running_mean)
    assert not torch.equal(slow[1].running_mean, before["1.running_mean"])


def test_the_copy_keeps_the_mode_of_its_norms() -> None:
    assert momentum_copy(network())[1].training


def test_memory_order_moves_no_value() -> None:
    plain = network()
    slow = momentum_copy(plain)
    other, other_slow = network(), momentum_copy(network())
    for one in (other, other_slow):
        one.to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    moved(plain)
    with torch.no_grad():
        for value, target in zip(plain.parameters(), other.parameters(), strict=True):
            target.copy_(value)
    update_momentum(slow, plain, 0.99)
    update_momentum(other_slow, other, 0.99)
    for value, target in zip(slow.parameters(), other_slow.parameters(), strict=True):
        assert torch.equal(value, target)


def test_a_momentum_on_a_cosine_rises_from_its_start_to_one() -> None:
    found = [cosine_momentum(0.9, step=step, num_steps=100) for step in range(101)]
    assert found[0] == pytest.approx(0.9)
    assert found[50] == pytest.approx(0.95)
    assert found[100] == pytest.approx(1.0)
    assert found == sorted(found)
    # Grill et al. 2020: 1 - .1 (cos(pi / 4) + 1) / 2.
    assert found[25] == pytest.approx(1 - 0.1 * (0.70710678 + 1) / 2, abs=1e-8)
