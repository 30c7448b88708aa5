"""Linear classifiers: what can be separated is, chance is chance, and mIoU is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.analysis.config import ProbeConfig
from pretrain.analysis.probes import dense_miou, linear_accuracy, miou

CONFIG = ProbeConfig(num_weight_decays=3, max_iterations=200, dense_steps=150)


def clouds(count: int, spread: float, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Three classes around the corners of a triangle, on scales that differ a thousand times."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = corners[labels] + spread * draw.normal(size=(count, 2))
    return torch.from_numpy(points * [1.0, 1000.0]).float(), labels.astype(np.int64)


def test_what_a_line_separates_is_separated_on_any_scale() -> None:
    assert linear_accuracy(clouds(150, 0.05, 0), clouds(90, 0.05, 1), CONFIG, 0) == 100.0


def test_features_that_know_nothing_give_chance() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = np.arange(600, dtype=np.int64) % 3
    features = torch.randn(600, 4, generator=draw)
    found = linear_accuracy((features[:300], labels[:300]), (features[300:], labels[300:]), CONFIG, 0)
    assert 20.0 < found < 47.0


def test_labels_that_are_no_row_of_numbers_keep_their_names() -> None:
    features, labels = clouds(150, 0.05, 0)
    other, others = clouds(90, 0.05, 1)
    names = np.array([7, 2, 30])
    assert linear_accuracy((features, names[labels]), (other, names[others]), CONFIG, 0) == 100.0


def test_a_feature_that_is_constant_is_no_fault() -> None:
    features, labels = clouds(150, 0.05, 0)
    wide = torch.cat([features, torch.full((150, 1), 3.0)], dim=1)
    assert linear_accuracy((wide, labels), (wide, labels), CONFIG, 0) == 100.0


def test_miou_is_that_of_all_images_together_without_label_255() -> None:
    truth = torch.tensor([[[0, 0, 1, 255]], [[1, 1, 1, 2]]])
    found = torch.tensor([[[0, 1, 1, 2]], [[1, 1, 0, 0]]])
    # Class 0: 1 of 1 + 1 + 2; class 1: 3 of 3 + 1 + 1; class 2: 0 of 1; class 3 is in no truth.
    expected = 100.0 * (1 / 4 + 3 / 5 + 0 / 1) / 3
    assert miou(iter(found.split(1)), iter(truth.split(1)), 4) == pytest.approx(expected)


def test_a_map_that_holds_the_classes_is_read_and_one_of_noise_is_not() -> None:
    draw = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (40, 4, 4), generator=draw).to(torch.uint8)
    masks[:, 0, 0] = 255
    known = torch.nn.functional.one_hot(masks.long().clamp_max(2), 3).permute(0, 3, 1, 2).float()
    noise = torch.randn(known.shape, generator=draw)
    cpu = torch.device("cpu")
    for maps, low, high in ((known, 99.9, 100.0), (noise, 0.0, 40.0)):
        found = dense_miou(
            (maps[:20], masks[:20]),
            (maps[20:], masks[20:]),
            num_classes=3,
            config=CONFIG,
            seed=0,
            device=cpu,
        )
        assert low <= found <= high
