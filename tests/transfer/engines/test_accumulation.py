"""A batch in parts: the mean of losses and gradients, in equal shares, one update."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from transfer.engines.train import _forward_and_backward, parts_of


class Toy(nn.Module):
    """Losses are means over images, as a detector's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.sizes: list[int] = []

    def forward(self, batch: list[Tensor]) -> dict[str, Tensor]:
        self.sizes.append(len(batch))
        values = torch.stack(batch) @ self.weight
        return {"a": values.square().mean(), "b": values.abs().mean()}


def losses_and_gradient(
    batch: list[Tensor], accumulation_steps: int
) -> tuple[dict[str, Tensor], Tensor, Toy]:
    fabric = Fabric(accelerator="cpu", devices=1)
    toy = Toy()
    optimizer = torch.optim.SGD(toy.parameters(), lr=0.1)
    model, _ = fabric.setup(toy, optimizer)
    training: Any = SimpleNamespace(
        fabric=fabric,
        step_model=model,
        accumulation_steps=accumulation_steps,
        losses=lambda step_model, part: step_model(part),
    )
    losses = _forward_and_backward(training, batch)
    assert toy.weight.grad is not None
    return losses, toy.weight.grad, toy


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_give_the_gradient_of_the_whole(parts: int) -> None:
    batch = list(torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    expected, gradient, _ = losses_and_gradient(batch, 1)
    losses, found, toy = losses_and_gradient(batch, parts)
    assert toy.sizes == [6 // parts] * parts
    assert torch.allclose(found, gradient, rtol=1e-14, atol=0)
    for name in expected:
        assert torch.allclose(losses[name], expected[name], rtol=1e-14, atol=0)
        assert not losses[name].requires_grad


def test_parts_are_equal_and_in_order() -> None:
    assert parts_of([1, 2, 3, 4, 5, 6], 3) == [[1, 2], [3, 4], [5, 6]]
    assert parts_of([1, 2], 1) == [[1, 2]]
