"""Supervised pretraining against a step written out, and the pixels that every method feeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from pretrain.distributed import Place
from pretrain.modality import MEAN, STD
from pretrain.optim import build_optimizer
from tests.pretrain.test_contrast import (
    TOLERANCE,
    assert_near,
    batch_of,
    build,
    feed,
    gradients,
    part_of,
    small_config,
    torchvision_resnet,
)
from tests.pretrain.test_optim import Velocity

CLASSES, PLACE = 5, Place(5, 0)


def small_supervised(**parts: Any) -> Any:
    return small_config("supervised_ep90", **parts)


def cross_entropy_by_hand(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    losses = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        logs = row - torch.log(torch.exp(row).sum())
        losses.append(-(1 - smoothing) * logs[label] - smoothing / len(row) * logs.sum())
    return torch.stack(losses).mean()


class Reference:
    """A classifier and SGD by hand; all but the ResNet and its autograd."""

    def __init__(self, state: dict[str, Tensor], smoothing: float) -> None:
        state = {
            name: value.double() if value.is_floating_point() else value for name, value in state.items()
        }
        self.network = torchvision_resnet(part_of(state, "network."))
        self.classifier = part_of(state, "classifier.")
        self.smoothing, self.optimizer = smoothing, Velocity(momentum=0.9, weight_decay=1e-4)

    def logits_of(self, images: Tensor) -> Tensor:
        return self.network(feed(images)) @ self.classifier["weight"].T + self.classifier["bias"]

    def step(self, images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        for value in self.classifier.values():
            value.requires_grad_()
        loss = cross_entropy_by_hand(self.logits_of(images), labels, self.smoothing)
        named = dict(self.parameters())
        grads = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        with torch.no_grad():
            old = {name: value.detach().clone() for name, value in named.items()}
            for name, value in self.optimizer.updated(old, grads, rate).items():
                named[name].copy_(value)
        return loss.detach(), grads

    def parameters(self) -> Any:
        yield from ((f"network.{name}", value) for name, value in self.network.named_parameters())
        yield from ((f"classifier.{name}", value) for name, value in self.classifier.items())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_two_whole_steps_are_those_written_out(smoothing: float) -> None:
    config = small_supervised(label_smoothing=smoothing)
    model = build(config, num_classes=CLASSES)
    reference = Reference(model.state_dict(), smoothing)
    optimizer = build_optimizer(config.optimizer, model, fused=True)
    for step in range(2):
        batch = batch_of(step, views=1, labels=CLASSES)
        optimizer.zero_grad()
        loss, _ = model(batch, PLACE)
        loss.backward()
        expected, grads = reference.step(batch.views[0], batch.labels, 0.1)
        assert float(loss.detach()) == pytest.approx(float(expected), abs=TOLERANCE, rel=0)
        assert_near(gradients(model), grads)
        optimizer.step()
        model.after_step()
        assert_near(dict(model.named_parameters()), dict(reference.parameters()))


def test_the_first_loss_in_float32_is_that_of_float64() -> None:
    model = build(small_supervised(), torch.float32, num_classes=CLASSES)
    reference, batch = Reference(model.state_dict(), 0.0), batch_of(0, views=1, labels=CLASSES, side=64)
    loss, scalars = model(batch, PLACE)
    logits = reference.logits_of(batch.views[0])
    expected = cross_entropy_by_hand(logits, batch.labels, 0.0)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5, rel=0)
    right = sum(int(row.argmax()) == label for row, label in zip(logits, batch.labels.tolist(), strict=True))
    assert float(scalars["top1"]) == 100.0 * right / 4
    assert set(scalars) == set(model.columns) and not any(v.requires_grad for v in scalars.values())


@pytest.fixture(scope="module")
def model() -> Any:
    return build(small_supervised(), torch.float32, num_classes=CLASSES)


def test_equal_scores_give_the_logarithm_of_the_classes() -> None:
    model = build(small_supervised(), num_classes=CLASSES)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    loss, _ = model(batch_of(0, views=1, labels=CLASSES), PLACE)
    assert float(loss.detach()) == pytest.approx(math.log(CLASSES), abs=1e-12)


def test_right_answers_are_counted_in_percent(model: Any) -> None:
    model.eval()
    batch = batch_of(0, views=1, labels=CLASSES)
    with torch.no_grad():
        best = model.classify(model.backbone(model.normalise(batch.views[0]))).argmax(dim=1)
        for wrong in range(5):
            labels = torch.where(torch.arange(4) < wrong, (best + 1) % CLASSES, best)
            _, scalars = model(batch._replace(labels=labels), PLACE)
            assert float(scalars["top1"]) == 100.0 - 25.0 * wrong
    model.train()


def test_scores_and_loss_are_float32_under_mixed_precision(model: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model(batch_of(0, views=1, labels=CLASSES), PLACE)
    assert loss.dtype == torch.float32


def test_a_batch_without_labels_is_our_own_fault(model: Any) -> None:
    with pytest.raises(TypeError, match="labels"):
        model(batch_of(0, views=1), PLACE)


def pictures(count: int = 3, side: int = 40) -> np.ndarray:
    """Random RGB pictures and one that holds all 256 values of each channel."""
    found = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    found[0].reshape(-1, 3)[:256] = np.arange(256, dtype=np.uint8)[:, None]
    return found


def fed(model: Any, found: np.ndarray) -> Tensor:
    """As a loader gives them: channels first, channels last in memory."""
    return model.normalise(torch.from_numpy(found).movedim(-1, -3))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_torchvisions_to_tensor_and_normalize_bit_for_bit(
    model: Any, order: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "memory_format", order)
    theirs = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    found = pictures()
    expected = torch.stack([theirs(Image.fromarray(picture)) for picture in found])
    values = fed(model, found)
    assert values.dtype == torch.float32 and torch.equal(values, expected)
    assert values.is_contiguous(memory_format=order)


def test_pixels_in_float64_are_the_formula() -> None:
    model, found = build(small_supervised(), num_classes=CLASSES), pictures()
    expected = (found / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    values = fed(model, found)
    assert values.dtype == torch.float64
    assert np.abs(values.movedim(1, -1).numpy() - expected).max() < 1e-12


def test_the_values_are_imagenets_on_the_byte_scale() -> None:
    assert pytest.approx([255 * value for value in (0.485, 0.456, 0.406)]) == MEAN
    assert pytest.approx([255 * value for value in (0.229, 0.224, 0.225)]) == STD


def test_patches_and_single_pictures_are_fed_alike_and_pixels_are_kept(model: Any) -> None:
    found = pictures()
    before, whole = found.copy(), fed(model, found)
    assert torch.equal(fed(model, found[None])[0], whole)
    assert torch.equal(fed(model, found[1]), whole[1])
    assert np.array_equal(found, before)
