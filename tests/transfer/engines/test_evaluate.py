"""Before the test: batch norm statistics as a true mean over training batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transfer.engines.detectron2.evaluate import precise_bn


class Toy(nn.Module):
    """A batch norm that remembers how many images each pass had."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.sizes: list[int] = []

    def forward(self, batch: list[Tensor]) -> Tensor:
        self.sizes.append(len(batch))
        found: Tensor = self.norm(torch.stack(batch))
        return found


def loader() -> Iterator[list[Any]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield list(torch.randn(4, 3, generator=generator) * 5 + 2)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_true_mean_over_batches(parts: int) -> None:
    toy = Toy().eval()
    precise_bn(toy, loader(), num_batches=6, num_parts=parts, seed=0, check_stop=lambda: None)
    source = loader()
    passes = [part for _ in range(6) for part in torch.stack(next(source)).chunk(parts)]
    assert toy.sizes == [4 // parts] * len(passes)
    means = torch.stack([part.mean(dim=0) for part in passes])
    assert toy.norm.running_mean is not None
    assert torch.allclose(toy.norm.running_mean, means.mean(dim=0), atol=1e-5)


def test_none_is_none() -> None:
    toy = Toy()
    precise_bn(toy, loader(), num_batches=0, num_parts=1, seed=0, check_stop=lambda: None)
    assert toy.sizes == []
    assert toy.norm.running_mean is not None and not toy.norm.running_mean.any()


def test_a_stop_is_heard() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precise_bn(Toy(), loader(), num_batches=3, num_parts=1, seed=0, check_stop=stop)
