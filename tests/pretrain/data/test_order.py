"""The order: each image at most once an epoch, a function of the step alone, shares that add up."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core import rng
from bench.core.errors import ConfigError, DataError
from pretrain.data.order import Order, share


@pytest.mark.parametrize(("num_images", "batch_size"), [(12, 4), (13, 4), (15, 4), (4, 4), (7, 1)])
def test_each_image_at_most_once_an_epoch(num_images: int, batch_size: int) -> None:
    order = Order(num_images, batch_size, seed=3)
    assert order.steps_per_epoch == num_images // batch_size
    epochs = []
    for epoch in range(3):
        batches = [order.batch(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)]
        assert {number for number, _ in batches} == {epoch}
        assert all(indices.shape == (batch_size,) and indices.dtype == np.int64 for _, indices in batches)
        seen = np.concatenate([indices for _, indices in batches])
        # Which images are dropped is the permutation's matter: those behind the last whole batch.
        assert np.array_equal(seen, rng.permutation(3, epoch, num_images)[: len(seen)])
        assert len(set(seen.tolist())) == len(seen) == num_images // batch_size * batch_size
        epochs.append(tuple(seen.tolist()))
    assert len(set(epochs)) == 3


def test_it_depends_on_the_step_alone() -> None:
    forward = Order(23, 5, seed=1)
    wanted = [forward.batch(step) for step in range(20)]
    other = Order(23, 5, seed=1)
    for step in (19, 0, 7, 7, 4, 3, 12):
        epoch, indices = other.batch(step)
        assert epoch == wanted[step][0]
        assert np.array_equal(indices, wanted[step][1])
        indices[:] = 0  # the caller's own; the next call must not see it
    assert not np.array_equal(Order(23, 5, seed=2).batch(0)[1], wanted[0][1])


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="3 images are fewer than one batch of 4"):
        Order(3, 4, seed=0)
    with pytest.raises(ConfigError, match="at least 1"):
        Order(3, 0, seed=0)
    with pytest.raises(ValueError):
        Order(4, 4, seed=0).batch(-1)


def test_shares_in_a_row_add_up() -> None:
    indices = np.arange(100, 112)
    for world_size in (1, 2, 3, 4, 12):
        parts = [share(indices, rank, world_size) for rank in range(world_size)]
        assert {len(part) for part in parts} == {12 // world_size}
        assert np.array_equal(np.concatenate(parts), indices)
    with pytest.raises(ConfigError, match="12 images do not divide into 5"):
        share(indices, 0, 5)
    with pytest.raises(ValueError):
        share(indices, 2, 2)
