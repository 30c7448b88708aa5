"""The queue against a plain list; the pointer wraps, inside a batch, too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain.queue import KeyQueue


def numbered(first: int, count: int, dim: int = 2) -> Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].expand(count, dim).clone()


def test_it_starts_with_random_directions_of_length_one() -> None:
    torch.manual_seed(0)
    queue = KeyQueue(64, 8)
    assert queue.keys.shape == (64, 8)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(64))
    assert (queue.keys @ queue.keys.t()).fill_diagonal_(0).abs().max() < 0.99
    assert int(queue.pointer) == 0
    torch.manual_seed(0)
    assert torch.equal(queue.keys, KeyQueue(64, 8).keys)


def test_keys_replace_the_oldest_and_leave_the_rest() -> None:
    queue = KeyQueue(6, 2)
    before = queue.keys.clone()
    queue.enqueue(numbered(1, 4))
    assert torch.equal(queue.keys[:4], numbered(1, 4))
    assert torch.equal(queue.keys[4:], before[4:])
    assert int(queue.pointer) == 4


def test_the_pointer_wraps_inside_a_batch() -> None:
    queue = KeyQueue(6, 2)
    queue.enqueue(numbered(1, 4))
    queue.enqueue(numbered(5, 4))
    assert queue.keys[:, 0].tolist() == [7, 8, 3, 4, 5, 6]
    assert int(queue.pointer) == 2


def test_a_batch_that_fills_the_queue_leaves_the_pointer_where_it_was() -> None:
    queue = KeyQueue(5, 2)
    queue.enqueue(numbered(1, 3))
    queue.enqueue(numbered(4, 5))
    assert queue.keys[:, 0].tolist() == [6, 7, 8, 4, 5]
    assert int(queue.pointer) == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=8))
def test_it_is_a_ring_whatever_the_batches(size: int, batches: list[int]) -> None:
    queue = KeyQueue(size, 1)
    ring, pointer, key = queue.keys[:, 0].tolist(), 0, 100
    for batch in batches:
        batch = min(batch, size)
        queue.enqueue(numbered(key, batch, 1))
        for _ in range(batch):
            ring[pointer] = key
            pointer = 0 if pointer == size - 1 else pointer + 1
            key += 1
    assert queue.keys[:, 0].tolist() == ring
    assert int(queue.pointer) == pointer


def test_no_gradient_goes_into_it() -> None:
    queue, keys = KeyQueue(4, 2), numbered(1, 2).requires_grad_()
    queue.enqueue(keys * 2)
    assert not queue.keys.requires_grad
    assert list(queue.parameters()) == []


def test_it_keeps_its_type_and_its_storage() -> None:
    queue = KeyQueue(4, 2)
    place = queue.keys.data_ptr()
    queue.enqueue(numbered(1, 3).double())
    queue.enqueue(numbered(4, 3).bfloat16())
    assert queue.keys.dtype == torch.float32 and queue.keys.data_ptr() == place
    assert queue.keys[:, 0].tolist() == [5, 6, 3, 4]


def test_a_queue_that_is_brought_back_goes_on_where_it_was() -> None:
    queue, other = KeyQueue(6, 2), KeyQueue(6, 2)
    queue.enqueue(numbered(1, 4))
    state = {name: value.clone() for name, value in queue.state_dict().items()}
    assert sorted(state) == ["keys", "pointer"]
    other.load_state_dict(state)
    for one in (queue, other):
        one.enqueue(numbered(5, 4))
    assert torch.equal(queue.keys, other.keys) and torch.equal(queue.pointer, other.pointer)


def test_half_and_double_leave_the_pointer_an_integer() -> None:
    assert KeyQueue(4, 2).double().pointer.dtype == torch.int64


@pytest.mark.parametrize("size", [1, 3])
def test_rows_stay_finite_for_the_smallest_sizes(size: int) -> None:
    assert torch.isfinite(KeyQueue(size, 1).keys).all()
