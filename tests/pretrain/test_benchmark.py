"""The benchmark of a pretraining: its figures fit together, and nothing is left of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain import benchmark as room
from pretrain import step as one_step
from pretrain.samples import Views
from tests.helpers import pretraining as toy


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_images(tmp_path_factory.mktemp("images"))


def figures(out: Path, images: Path, *more: str) -> room.Figures:
    # Steps enough for a worker that is two batches ahead to be found out.
    overrides = ("epochs=8", "loop.num_workers=1", *more)
    with toy.narrow_networks():
        return room.benchmark(toy.toy_plan(out, images, "moco-v2", *overrides))


def test_figures_fit_together_and_nothing_is_left(tmp_path: Path, images: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = figures(tmp_path / "out", images, "loop.accumulation_steps=2")
    assert torch.equal(torch.get_rng_state(), before)
    assert found.images == toy.BATCH_SIZE
    assert min(found.input_rate, found.step_rate, found.run_rate) > 0
    assert 0 < found.network_seconds < found.step_seconds and 0 < found.outside_percent < 100
    assert found.run_ratio == found.run_rate / found.step_rate
    assert set(found.facts()) >= {"run_ratio", "outside_percent", "input_rate"}
    assert not list((tmp_path / "out").glob("pretrain/*"))


@pytest.mark.slow
def test_many_workers_do_not_hide_slow_input(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six start on twelve batches at once: what they were ahead at the start must not count."""
    real = Views.__call__

    def slow_view(self: Views, *arguments: Any) -> Any:
        time.sleep(0.05)
        return real(self, *arguments)

    monkeypatch.setattr(Views, "__call__", slow_view)
    found = figures(tmp_path, images, "loop.num_workers=6")
    assert found.input_rate < 6 / 0.05


@pytest.mark.slow
def test_slow_input_and_slow_steps_are_told_apart(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_view, real_update = Views.__call__, one_step.update

    def slow_view(self: Views, *arguments: Any) -> Any:
        time.sleep(0.02)
        return real_view(self, *arguments)

    monkeypatch.setattr(Views, "__call__", slow_view)
    slow_input = figures(tmp_path / "input", images)
    assert slow_input.input_rate < 55 and slow_input.run_rate < 55
    assert slow_input.waiting_percent > 30 and slow_input.run_ratio < 0.8
    monkeypatch.setattr(Views, "__call__", real_view)

    def slow_update(*arguments: Any) -> None:
        time.sleep(0.3)
        real_update(*arguments)

    monkeypatch.setattr(room, "update", slow_update)
    slow_step = figures(tmp_path / "step", images)
    assert slow_step.step_rate < toy.BATCH_SIZE / 0.3
    assert slow_step.waiting_percent < 10 and slow_step.run_ratio > 0.8
    assert slow_step.outside_percent > 50
