"""Logistic regression over a grid, against what can be known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.features.logistic import Fit, fit_over_grid


def blobs(count: int, seed: int, classes: int = 3, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.eye(classes, 8) * 3.0
    return (centres[labels] + generator.normal(0, spread, (count, 8))).astype(np.float32), labels


def fit(decays: list[float], **more: object) -> Fit:
    values: dict[str, object] = {"train": blobs(60, 0), "held_out": blobs(30, 1), "test": blobs(30, 2)[0]}
    values.update(more)
    train, held_out, test = values["train"], values["held_out"], values["test"]
    return fit_over_grid(train, held_out, test, np.array(decays), max_iterations=200)  # type: ignore[arg-type]


def test_what_is_apart_is_told_apart() -> None:
    found = fit([1e-3, 1.0])
    assert (found.scores.argmax(axis=1) == blobs(30, 2)[1]).all()
    assert found.scores.shape == (30, 3)
    assert found.held_out == {1e-3: 100.0, 1.0: 100.0}
    assert found.unfinished == ()


def test_the_optimum_is_that_of_its_loss() -> None:
    """The gradient of C * sum of cross entropies + |w|^2 / 2 is 0, biases not decayed."""
    features, labels = blobs(90, 5, spread=2.0)
    found = fit_over_grid(
        (features[:60], labels[:60]), (features[60:], labels[60:]), np.eye(8, dtype=np.float32),
        np.array([10.0]), max_iterations=10_000,
    )  # fmt: skip
    zero = fit_over_grid(
        (features[:60], labels[:60]), (features[60:], labels[60:]), np.zeros((1, 8), np.float32),
        np.array([10.0]), max_iterations=10_000,
    )  # fmt: skip
    bias = zero.scores[0]
    weights = found.scores - bias  # [8, classes]
    scores = features @ weights + bias
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    slope = features.T @ (shares - np.eye(3)[labels]) + 10.0 * weights
    assert np.abs(slope).max() < 0.05
    assert np.abs((shares - np.eye(3)[labels]).sum(axis=0)).max() < 0.05


def test_the_best_on_the_held_out_images_is_taken_and_of_equal_ones_the_stronger() -> None:
    found = fit([1e-6, 1e-2, 1e9])
    assert found.held_out[1e9] < 100.0
    assert found.weight_decay == 1e-2


def test_a_limit_of_iterations_is_told() -> None:
    found = fit_over_grid(
        blobs(60, 0, spread=2.0), blobs(30, 1), blobs(3, 2)[0], np.array([1e-6]), max_iterations=1
    )
    assert found.unfinished == (1e-6,)


def test_a_class_that_was_held_out_as_a_whole_is_fitted_in_the_end() -> None:
    features, labels = blobs(60, 0)
    rest = labels != 2
    found = fit([0.1], train=(features[rest], labels[rest]), held_out=blobs(30, 1))
    assert found.scores.shape == (30, 3)
    assert (found.scores.argmax(axis=1) == blobs(30, 2)[1]).all()


def test_two_classes_have_two_scores() -> None:
    train, held_out, test = (blobs(20, seed, classes=2) for seed in range(3))
    found = fit([0.1], train=train, held_out=held_out, test=test[0])
    assert (found.scores.argmax(axis=1) == test[1]).all()


def test_one_class_is_refused() -> None:
    features, labels = blobs(6, 0)
    with pytest.raises(ValueError):
        fit([0.1], train=(features, labels * 0))
