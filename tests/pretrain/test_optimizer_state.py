"""An optimiser that is brought back goes on exactly, whatever the memory of its tensors looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pretrain.optimizer_state import from_tensors, to_tensors

KINDS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adamw": lambda module: torch.optim.AdamW(module.parameters(), lr=0.01),
    "fused adamw": lambda module: torch.optim.AdamW(module.parameters(), lr=0.01, fused=True),
    "sgd": lambda module: torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9),
    "fused sgd": lambda module: torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, fused=True),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    return layers.to(memory_format=torch.channels_last)


def update(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    draw = torch.Generator().manual_seed(number)
    optimizer.zero_grad()
    module(torch.randn(2, 3, 8, 8, generator=draw)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_brought_back_equals_one_piece(kind: str) -> None:
    module = network()
    optimizer = KINDS[kind](module)
    for number in range(3):
        update(module, optimizer, number)
    # as a checkpoint has them: the values alone, rows first
    kept = {f"o.{name}": value.contiguous().clone() for name, value in to_tensors(optimizer).items()}
    again = network()
    again.load_state_dict(module.state_dict())
    other = KINDS[kind](again)
    from_tensors(other, {"x.0.step": torch.tensor(9.0), **kept}, "o.")
    for number in range(3, 6):
        update(module, optimizer, number)
        update(again, other, number)
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert torch.isfinite(value).all(), name


def test_what_would_be_lost_is_refused() -> None:
    module = network()
    optimizer = KINDS["sgd"](module)
    update(module, optimizer, 0)
    optimizer.state[next(module.parameters())]["count"] = 3
    with pytest.raises(TypeError, match="count as int"):
        to_tensors(optimizer)
