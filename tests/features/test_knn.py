"""The k-NN vote against a slow double loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core.errors import DataError
from bench.features import knn
from bench.features.knn import accuracy, knn_predict


def vote_by_hand(
    features: Tensor, bank: Tensor, labels: Tensor, neighbours: int, temperature: float, classes: int
) -> list[int]:
    found = []
    for feature in features.double().numpy():
        near = []
        for other, label in zip(bank.double().numpy(), labels.tolist(), strict=True):
            cosine = float(feature @ other) / math.sqrt(float(feature @ feature) * float(other @ other))
            near.append((cosine, label))
        near.sort(reverse=True)
        votes = [0.0] * classes
        for cosine, label in near[:neighbours]:
            votes[label] += math.exp(cosine / temperature)
        found.append(votes.index(max(votes)))
    return found


def random_features(rows: int, seed: int, dim: int = 8) -> Tensor:
    """Rows of very different lengths: only their directions may count."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.standard_normal((rows, dim)) * draw.uniform(0.01, 100, (rows, 1)))


def random_labels(rows: int, classes: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(9).integers(0, classes, rows))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("neighbours", [1, 5, 20, 60])
def test_the_vote_is_that_of_a_double_loop(neighbours: int, temperature: float, dtype: torch.dtype) -> None:
    features, bank, labels = random_features(40, 0), random_features(60, 1), random_labels(60, 7)
    found = knn_predict(
        features.to(dtype),
        bank.to(dtype),
        labels,
        neighbours=neighbours,
        temperature=temperature,
        num_classes=7,
    )
    assert found.dtype == torch.int64
    assert found.tolist() == vote_by_hand(features, bank, labels, neighbours, temperature, 7)


def test_more_neighbours_than_images_are_all_of_them() -> None:
    features, bank, labels = random_features(10, 0), random_features(6, 1), random_labels(6, 3)
    found = [
        knn_predict(features, bank, labels, neighbours=count, temperature=0.5, num_classes=3).tolist()
        for count in (6, 7, 10_000)
    ]
    assert found[0] == found[1] == found[2] == vote_by_hand(features, bank, labels, 6, 0.5, 3)


def test_the_lower_class_wins_where_two_are_equal() -> None:
    bank = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([3, 1, 2, 2])
    one = torch.tensor([[2.0, 0.0]])
    found = knn_predict(one, bank, labels, neighbours=2, temperature=0.07, num_classes=4)
    assert found.tolist() == [1]


def test_near_images_outvote_more_that_are_far() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    labels, one = torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0]])
    near = knn_predict(one, bank, labels, neighbours=3, temperature=0.07, num_classes=2)
    flat = knn_predict(one, bank, labels, neighbours=3, temperature=100.0, num_classes=2)
    assert (near.tolist(), flat.tolist()) == ([0], [1])


def test_a_low_temperature_does_not_overflow() -> None:
    features, bank, labels = (
        random_features(20, 0).float(),
        random_features(30, 1).float(),
        random_labels(30, 4),
    )
    found = knn_predict(features, bank, labels, neighbours=30, temperature=1e-4, num_classes=4)
    assert found.tolist() == vote_by_hand(features, bank, labels, 1, 1.0, 4)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    features, bank, labels = random_features(23, 0), random_features(30, 1), random_labels(30, 4)
    whole = knn_predict(features, bank, labels, neighbours=5, temperature=0.07, num_classes=4)
    monkeypatch.setattr(knn, "CHUNK", 5)
    parts = knn_predict(features, bank, labels, neighbours=5, temperature=0.07, num_classes=4)
    assert len(whole) == 23 and torch.equal(whole, parts)


def test_no_images_to_ask_about_get_no_answer() -> None:
    found = knn_predict(
        torch.empty(0, 8),
        random_features(3, 0).float(),
        random_labels(3, 2),
        neighbours=1,
        temperature=1.0,
        num_classes=2,
    )
    assert found.shape == (0,) and found.dtype == torch.int64


def test_no_image_to_vote_is_refused() -> None:
    with pytest.raises(DataError, match="no training image"):
        knn_predict(
            torch.ones(1, 8),
            torch.empty(0, 8),
            torch.empty(0, dtype=torch.int64),
            neighbours=1,
            temperature=1.0,
            num_classes=2,
        )


def test_accuracy_is_in_percent() -> None:
    predicted, labels = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    assert accuracy(predicted, labels) == 75.0
    assert accuracy(labels, labels) == 100.0
