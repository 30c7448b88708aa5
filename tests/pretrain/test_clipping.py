"""Gradients that are too long are shortened: as a whole, or each tensor by itself; short ones are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.pretraining import SOME, batches, make_images, narrow_networks, prepare, step, toy_job


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_networks():
        yield


def test_a_long_gradient_is_shortened_and_a_short_one_is_not(images: Path) -> None:
    plain = ("optimizer.kind='sgd'", "optimizer.momentum=0.0", "optimizer.weight_decay=0.0")
    more = (*plain, "optimizer.learning_rate=1.0", "schedule.floor_ratio=1.0")

    def moves(name: str, clip: float) -> dict[str, Tensor]:
        job = toy_job(images.parent, images, name, *more, f"optimizer.clip_norm={clip}")
        now = prepare(job, dtype=torch.float64)
        before = {key: value.detach().clone() for key, value in now.model.named_parameters()}
        step(now, batches(job, now, 0, 1)[0], 0)
        trained = ((key, value) for key, value in now.model.named_parameters() if value.requires_grad)
        return {key: (before[key] - value).detach() for key, value in trained}

    for name in SOME:
        free, clipped, loose = (moves(name, clip) for clip in (0.0, 0.01, 1e6))
        length = torch.nn.utils.get_total_norm(list(free.values()))
        assert length > 0.1
        for key, value in free.items():
            torch.testing.assert_close(clipped[key], value * 0.01 / length, rtol=1e-4, atol=1e-12)
            assert torch.equal(loose[key], value)


def test_the_gradient_of_each_tensor_is_shortened_by_itself(images: Path) -> None:
    plain = ("optimizer.kind='sgd'", "optimizer.momentum=0.0", "optimizer.weight_decay=0.0")
    more = (*plain, "optimizer.learning_rate=1.0", "schedule.floor_ratio=1.0")
    found = []
    for clip in (0.0, 0.01):
        job = toy_job(images.parent, images, "supervised", *more, f"optimizer.clip_tensor_norm={clip}")
        now = prepare(job, dtype=torch.float64)
        before = {key: value.detach().clone() for key, value in now.model.named_parameters()}
        step(now, batches(job, now, 0, 1)[0], 0)
        found.append({key: before[key] - value.detach() for key, value in now.model.named_parameters()})
    free, clipped = found
    assert any(value.norm() > 0.01 for value in free.values())
    for key, value in free.items():
        expected = value * min(1.0, 0.01 / max(float(value.norm()), 1e-9))
        torch.testing.assert_close(clipped[key], expected, rtol=1e-3, atol=1e-12)
