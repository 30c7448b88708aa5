"""InfoNCE against a float64 re-computation, term by term; nothing of ours is in the reference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pretrain.losses import info_nce, mutual_information

Floats = npt.NDArray[np.float64]


def unit_rows(rows: int, dim: int, seed: int) -> Floats:
    values = np.random.default_rng(seed).standard_normal((rows, dim))
    return values / np.sqrt((values**2).sum(axis=1, keepdims=True))


def candidates(query: Floats, positive: Floats, negatives: Floats, temperature: float) -> list[float]:
    """Softmax over the positive, first, and the negatives of one query."""
    logits = [float(np.dot(query, positive)) / temperature]
    logits += [float(np.dot(query, negative)) / temperature for negative in negatives]
    exponentials = [math.exp(logit) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def info_nce_by_hand(query: Floats, positive: Floats, negatives: Floats, temperature: float) -> float:
    losses = [
        -math.log(candidates(one, key, negatives, temperature)[0])
        for one, key in zip(query, positive, strict=True)
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 0.15, 0.2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_info_nce_is_the_cross_entropy_written_out(
    dtype: torch.dtype, tolerance: float, temperature: float
) -> None:
    query, positive, negatives = unit_rows(7, 16, 0), unit_rows(7, 16, 1), unit_rows(33, 16, 2)
    expected = info_nce_by_hand(query, positive, negatives, temperature)
    tensors = [torch.from_numpy(values).to(dtype) for values in (query, positive, negatives)]
    found = info_nce(*tensors, temperature=temperature)
    assert found.shape == () and found.dtype == dtype
    assert float(found) == pytest.approx(expected, abs=tolerance, rel=0)


def test_its_gradient_is_the_expected_key_less_the_positive() -> None:
    query, positive, negatives, temperature = (
        unit_rows(5, 8, 0),
        unit_rows(5, 8, 1),
        unit_rows(11, 8, 2),
        0.15,
    )
    expected = np.zeros_like(query)
    for row in range(5):
        shares = candidates(query[row], positive[row], negatives, temperature)
        keys = np.vstack([positive[row], negatives])
        mean_key = sum(share * key for share, key in zip(shares, keys, strict=True))
        expected[row] = (mean_key - positive[row]) / temperature / 5
    leaf = torch.from_numpy(query).requires_grad_()
    info_nce(
        leaf, torch.from_numpy(positive), torch.from_numpy(negatives), temperature=temperature
    ).backward()
    assert np.abs(leaf.grad.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("queue", [1, 16, 65_536])
def test_equal_similarities_give_the_logarithm_of_the_candidates(queue: int) -> None:
    same = torch.ones(3, 1, dtype=torch.float64)
    found = info_nce(same, same, same[:1].expand(queue, 1), temperature=0.07)
    assert float(found) == pytest.approx(math.log(1 + queue), abs=1e-12)


def test_the_order_of_the_negatives_does_not_matter() -> None:
    query, positive, negatives = (torch.from_numpy(unit_rows(n, 8, n)) for n in (4, 4, 20))
    turned = negatives[torch.arange(19, -1, -1)]
    found = [float(info_nce(query, positive, rows, temperature=0.2)) for rows in (negatives, turned)]
    assert found[0] == pytest.approx(found[1], abs=1e-12)


def test_each_row_has_its_own_positive() -> None:
    query, negatives = torch.from_numpy(unit_rows(4, 8, 0)), torch.from_numpy(unit_rows(20, 8, 1))
    right = info_nce(query, query, negatives, temperature=0.1)
    assert right < info_nce(query, query.roll(1, 0), negatives, temperature=0.1)


@pytest.mark.parametrize("temperature", [1e-4, 100.0])
def test_it_stays_finite_where_exponentials_do_not(temperature: float) -> None:
    query, positive, negatives = (torch.from_numpy(unit_rows(n, 4, n)).float() for n in (3, 3, 9))
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ negatives.t()], 1).double()
    logits /= temperature
    largest = logits.max(1).values
    expected = (largest + (logits - largest[:, None]).exp().sum(1).log() - logits[:, 0]).mean()
    found = info_nce(query, positive, negatives, temperature=temperature)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_similarities_are_float32_under_mixed_precision() -> None:
    query, positive, negatives = (torch.from_numpy(unit_rows(n, 64, n)).float() for n in (4, 4, 50))
    plain = info_nce(query, positive, negatives, temperature=0.07)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = info_nce(query, positive, negatives, temperature=0.07)
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


def test_information_is_the_logarithm_of_the_candidates_less_the_loss() -> None:
    loss = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    found = mutual_information(loss, 65_537)
    assert float(found) == pytest.approx(11.090370147631773 - 2.5, abs=1e-12)
    assert not found.requires_grad


def test_a_guess_among_equals_holds_no_information() -> None:
    assert float(mutual_information(torch.tensor(math.log(17.0)), 17)) == pytest.approx(0.0, abs=1e-6)
