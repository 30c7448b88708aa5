"""The contrast of a pair: its numbers at points where they are known, and that it learns what is shared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bench.core.errors import DataError, DivergedError
from pretrain.analysis.api import Cell, Measured, Setting
from pretrain.analysis.config import (
    NetworkConfig,
    PicturesConfig,
    StudyConfig,
    TrainingConfig,
    ViewsConfig,
)
from pretrain.analysis.pair_training import HELD_OUT, Pairs, PairTrainer, Rows
from pretrain.losses import symmetric_nce

NUM_COLOURS = 8


@dataclass(frozen=True)
class Colours(Pairs):
    """Two pictures of noise around one of eight colours, which is all that they share."""

    count: int
    channels: tuple[int, int] = (3, 3)

    def __len__(self) -> int:
        return self.count

    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        colours = torch.from_numpy(rows % NUM_COLOURS)
        corners = torch.stack([colours % 2, colours // 2 % 2, colours // 4], dim=1).float() * 2.0 - 1.0
        noise = torch.from_numpy(draw.normal(size=(2, len(rows), 3, 16, 16))).float()
        first, second = corners[:, :, None, None] + 0.1 * noise
        return first, second


class Trainer(PairTrainer):
    def measure(self) -> Measured:
        return self.measured({})


def cell_of(seed: int = 0, **training: Any) -> Cell:
    values: dict[str, Any] = {"epochs": 6, "batch_size": 16, "num_candidates": 64, **training}
    config = StudyConfig[ViewsConfig](
        study="colours",
        size="smoke",
        images=PicturesConfig(size_px=16, num_train=128, num_probe=16, num_test=128),
        network=NetworkConfig(arch="four_convolutions", width=8, projection_dim=16),
        training=TrainingConfig(**values),
        views=ViewsConfig(),
    )
    return Cell(config, Setting("colours", "all"), seed, None, torch.device("cpu"))


def trained(cell: Cell, *, shared: bool = False) -> Trainer:
    trainer = Trainer(cell, Colours(128), Colours(128), shared=shared)
    for number in range(trainer.num_steps):
        trainer.step(number)
    return trainer


def test_the_loss_is_the_cross_entropy_of_both_directions() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = (functional.normalize(torch.randn(5, 3, generator=draw), dim=1) for _ in range(2))
    by_hand = 0.0
    for one, other in ((first, second), (second, first)):
        for row in range(5):
            scores = [float(one[row] @ other[column]) / 0.2 for column in range(5)]
            by_hand += math.log(sum(math.exp(score) for score in scores)) - scores[row]
    assert float(symmetric_nce(first, second, temperature=0.2)) == pytest.approx(by_hand / 10, rel=1e-5)


def test_equal_projections_give_the_logarithm_of_the_batch() -> None:
    same = torch.ones(7, 4) / 2.0
    assert float(symmetric_nce(same, same, temperature=0.1)) == pytest.approx(math.log(7))


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_shared_is_found_and_no_more_than_there_is(shared: bool) -> None:
    """The pictures share one of eight colours: log 8 = 2.08 nats."""
    found = trained(cell_of(), shared=shared).measure()
    assert 1.7 < found.i_nce <= math.log(NUM_COLOURS) + 0.01
    assert found.num_candidates == 64
    untrained = Trainer(cell_of(), Colours(128), Colours(128), shared=shared).measure()
    assert untrained.i_nce < found.i_nce - 0.5


def test_a_view_of_something_else_shares_nothing() -> None:
    class Apart(Colours):
        def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
            first, _ = super().views(rows, draw)
            second, _ = super().views(draw.integers(NUM_COLOURS, size=len(rows)), draw)
            return first, second

    trainer = Trainer(cell_of(), Apart(128), Apart(128), shared=False)
    for number in range(trainer.num_steps):
        trainer.step(number)
    assert trainer.measure().i_nce < 0.05


def test_the_same_seed_is_the_same_run_and_another_is_another() -> None:
    one, same, other = (trained(cell_of(seed)).measure() for seed in (0, 0, 1))
    assert one == same
    assert one.i_nce != other.i_nce


def test_each_epoch_sees_each_thing_once_and_draws_anew() -> None:
    trainer = Trainer(cell_of(), Colours(128), Colours(128), shared=True)
    steps = [trainer.rows(number) for number in range(2 * trainer.steps_per_epoch)]
    first, second = steps[: trainer.steps_per_epoch], steps[trainer.steps_per_epoch :]
    for epoch in (first, second):
        assert sorted(np.concatenate([rows for rows, _ in epoch])) == list(range(128))
    assert [rows.tolist() for rows, _ in first] != [rows.tolist() for rows, _ in second]
    draws = [draw.random() for _, draw in steps]
    assert len(set(draws)) == len(draws)


def test_measuring_draws_its_own_pairs_and_moves_nothing() -> None:
    trainer = trained(cell_of())
    before = {key: value.clone() for key, value in trainer.module.state_dict().items()}
    assert trainer.measure() == trainer.measure()
    assert all(torch.equal(value, before[key]) for key, value in trainer.module.state_dict().items())
    assert trainer.num_steps < HELD_OUT


def test_a_loss_that_is_not_finite_moves_nothing() -> None:
    class Bad(Colours):
        def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
            first, second = super().views(rows, draw)
            return first * math.nan, second

    trainer = Trainer(cell_of(), Bad(128), Bad(128), shared=False)
    before = {key: value.clone() for key, value in trainer.module.named_parameters()}
    with pytest.raises(DivergedError, match="step 0"):
        trainer.step(0)
    assert all(torch.equal(value, before[key]) for key, value in trainer.module.named_parameters())


@pytest.mark.parametrize(("train", "test", "part"), [(15, 128, "train"), (128, 63, "held_out")])
def test_fewer_images_than_a_batch_are_refused(train: int, test: int, part: str) -> None:
    with pytest.raises(DataError, match=part):
        Trainer(cell_of(), Colours(train), Colours(test), shared=True)
    Trainer(cell_of(), Colours(16), Colours(64), shared=True)


def test_the_rate_falls_to_nothing() -> None:
    trainer = Trainer(cell_of(), Colours(128), Colours(128), shared=True)
    rates = []
    for number in range(trainer.num_steps):
        trainer.step(number)
        rates.append(trainer.optimizers["encoders"].param_groups[0]["lr"])
    assert rates[0] == trainer.config.training.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01 * rates[0]


def test_k_and_critic_are_those_of_the_config() -> None:
    cell = cell_of(num_candidates=32, temperature=0.5)
    found = Trainer(cell, Colours(128), Colours(128), shared=True).measure()
    assert found.num_candidates == 32
    assert "0.5" in found.critic
    assert "four_convolutions" in found.critic
