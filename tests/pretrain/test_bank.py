"""The memory bank: its loss against entries put side by side, its draws, its update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.bank import MemoryBank, bank_nce, draw_negatives
from pretrain.distributed import Place

PLACE = Place(7, 3)
NUM_IMAGES, DIM, BATCH = 40, 6, 5


def case(num_negatives: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    entries = normalize(torch.randn(NUM_IMAGES, DIM, generator=draw, dtype=torch.float64), dim=1)
    query = normalize(torch.randn(BATCH, DIM, generator=draw, dtype=torch.float64), dim=1)
    index = torch.tensor([3, 39, 0, 17, 4])
    negatives = draw_negatives(index, NUM_IMAGES, num_negatives, "each", PLACE)
    return query.to(dtype).requires_grad_(), entries.to(dtype), index, negatives


def side_by_side(
    query: Tensor, entries: Tensor, index: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """As PyContrast: the rows of every query gathered, the positive first, and one product for each."""
    rows = entries[torch.cat([index[:, None], negatives], dim=1)]
    logits = torch.bmm(rows, query[:, :, None]).squeeze(2) / temperature
    return cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


@pytest.mark.parametrize("num_negatives", [1, 7, 500])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradient_are_those_of_entries_side_by_side(
    num_negatives: int, dtype: torch.dtype, tolerance: float
) -> None:
    query, entries, index, negatives = case(num_negatives, dtype)
    loss = bank_nce(query, entries, index, negatives, temperature=0.07)
    (gradient,) = torch.autograd.grad(loss, query)
    expected = side_by_side(query, entries, index, negatives, 0.07)
    (theirs,) = torch.autograd.grad(expected, query)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=tolerance)
    assert (gradient - theirs).abs().max() < tolerance * theirs.abs().max()


def test_a_shared_draw_is_the_same_negatives_for_every_image() -> None:
    query, entries, index, _ = case(1)
    shared = draw_negatives(index, NUM_IMAGES, 9, "shared", PLACE)
    assert shared.shape == (9,)
    loss = bank_nce(query, entries, index, shared, temperature=0.2)
    expected = bank_nce(query, entries, index, shared.expand(BATCH, 9), temperature=0.2)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)


class Shapes(TorchDispatchMode):
    """Notes the largest number of values of any tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.largest = max(self.largest, value.numel())
        return found


def test_the_entries_of_all_negatives_are_never_side_by_side() -> None:
    """Forward and backward; what is published makes a tensor of [batch, 1 + negatives, dim]."""
    query, entries, index, negatives = case(500)
    with Shapes() as ours:
        bank_nce(query, entries, index, negatives, temperature=0.07).backward()
    assert ours.largest <= BATCH * 500
    with Shapes() as theirs:
        side_by_side(query, entries, index, negatives, 0.07).backward()
    assert theirs.largest == BATCH * 501 * DIM


def test_half_precision_around_it_changes_nothing() -> None:
    query, entries, index, negatives = case(30, torch.float32)
    plain = bank_nce(query, entries, index, negatives, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bank_nce(query, entries, index, negatives, temperature=0.07), plain)


def test_an_images_draw_is_its_own_whatever_batch_or_process_it_is_in() -> None:
    index = torch.tensor([3, 39, 0, 17])
    whole = draw_negatives(index, NUM_IMAGES, 12, "each", PLACE)
    parts = [draw_negatives(own, NUM_IMAGES, 12, "each", PLACE) for own in index.flip(0).split(2)]
    assert torch.equal(torch.cat(parts).flip(0), whole)
    assert not torch.equal(whole[0], whole[1])
    for other in (Place(8, 3), Place(7, 4)):
        assert not torch.equal(draw_negatives(index, NUM_IMAGES, 12, "each", other), whole)
    torch.manual_seed(1)
    assert torch.equal(draw_negatives(index, NUM_IMAGES, 12, "each", PLACE), whole)


def test_negatives_are_drawn_evenly_with_replacement_and_their_image_may_be_among_them() -> None:
    index = torch.arange(NUM_IMAGES)
    drawn = draw_negatives(index, NUM_IMAGES, 2000, "each", PLACE)
    counts = torch.bincount(drawn.flatten(), minlength=NUM_IMAGES)
    assert (counts - 2000).abs().max() < 6 * 2000**0.5
    own = (drawn == index[:, None]).sum(dim=1)
    assert (own > 0).all() and (own - 50).abs().max() < 6 * 50**0.5


@pytest.fixture
def bank() -> MemoryBank:
    torch.manual_seed(0)
    return MemoryBank(2, NUM_IMAGES, DIM)


def test_it_starts_with_random_directions_of_length_one(bank: MemoryBank) -> None:
    assert bank.entries.shape == (2, NUM_IMAGES, DIM)
    torch.testing.assert_close(bank.entries.norm(dim=2), torch.ones(2, NUM_IMAGES))
    assert (bank.entries[0] - bank.entries[1]).abs().max() > 0.1
    assert dict(bank.state_dict()).keys() == {"entries"}


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_entries_are_mixed_and_brought_to_length_one_and_the_others_stay(
    bank: MemoryBank, momentum: float
) -> None:
    before = bank.entries.clone()
    index, new = torch.tensor([5, 0, 31]), normalize(torch.randn(3, 2, DIM), dim=2).requires_grad_()
    bank.update(index, new, momentum)
    for row, image in enumerate(index.tolist()):
        for branch in (0, 1):
            mixed = momentum * before[branch, image] + (1 - momentum) * new[row, branch].detach()
            torch.testing.assert_close(bank.entries[branch, image], mixed / mixed.norm())
    others = [image for image in range(NUM_IMAGES) if image not in index]
    assert torch.equal(bank.entries[:, others], before[:, others])
    assert not bank.entries.requires_grad
