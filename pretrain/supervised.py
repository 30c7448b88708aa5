"""Supervised pretraining as one plain loop: class folders in, backbone weights with a card out.

Small enough for a laptop: all images are held in memory. Batch order and views are functions of (seed, step),
so equal inputs give equal weights on one machine.

Source:
    He et al. 2016, Deep Residual Learning, for network and task.
    Differs: AdamW with a cosine and not SGD with steps; residual norms start at zero; small images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import resnet50

from bench.core import rng
from bench.core.card import Card, hash_tensors
from bench.core.config import Section
from bench.core.errors import DataError, DivergedError, Stopped
from bench.core.log import progress, quiet_fabric
from bench.core.protocol import not_in_identity
from bench.core.signals import watch
from bench.core.weights import Weights
from bench.images.folder import ImageFolder

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet, on the 0-255 scale, in RGB: what a card's default input spec says."""


class SupervisedConfig(Section):
    """One file of `configs`. Learning rate at its highest, after the warm-up; weight decay as in AdamW."""

    image_px: Annotated[int, Field(ge=32, le=512)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)]
    zero_init_residual: bool
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    crop_padding_px: Annotated[int, Field(ge=0, le=128)]
    precision: Literal["fp32", "bf16"]
    log_steps: int = not_in_identity(10, ge=1, le=100_000)


def pretrain_supervised(
    config: SupervisedConfig, train: Path, val: Path, *, seed: int, name: str
) -> tuple[Weights, float]:
    """Train a ResNet-50 on class folders.

    Args:
        config: The recipe.
        train: Folder with one folder of images a class.
        val: The same classes, for the accuracy that is returned.
        seed: Of initialisation, order and views.
        name: Of the weights, "resnet50.supervised_x".

    Returns:
        The backbone weights, and the top-1 accuracy in percent on `val`.

    Raises:
        DataError: the two folders' classes differ, or an image cannot be read.
        DivergedError: the loss is not finite.
        Stopped: a signal came; nothing was saved, since this run is short.
    """
    images, labels, classes = _load(train, config.image_px)
    val_images, val_labels, val_classes = _load(val, config.image_px)
    if classes != val_classes:
        raise DataError(f"{val}: its classes are not those of {train}")
    torch.manual_seed(rng.derive(seed, "init"))
    network = resnet50(num_classes=len(classes), zero_init_residual=config.zero_init_residual)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    quiet_fabric()
    fabric = Fabric(devices=1, precision="bf16-mixed" if config.precision == "bf16" else "32-true")
    step_model, step_optimizer = fabric.setup(network, optimizer)
    criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    with progress("Supervised pretraining", config.steps) as bar, watch() as stop:
        batches = _batches(len(images), config.batch_size, seed)
        for step in range(config.steps):
            index = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config, step)
            views = _views(images[index], seed, step, config.crop_padding_px)
            logits = step_model(_normalise(views).to(fabric.device))
            loss = criterion(logits.float(), torch.from_numpy(labels[index]).to(fabric.device))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(f"step {step + 1:,} of the supervised pretraining: the loss is {value}")
            step_optimizer.zero_grad()
            fabric.backward(loss)
            step_optimizer.step()
            if (step + 1) % config.log_steps == 0 or step + 1 == config.steps:
                bar.update(step + 1, f"loss {value:.3f}")
            if stop:
                raise Stopped(f"{stop.name}: stopped at step {step + 1:,}; nothing was saved")
    accuracy = _accuracy(step_model, fabric, val_images, val_labels)
    return _weights(network, name, classes, config, seed, accuracy), accuracy


def _load(root: Path, side: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """[images, side, side, 3] uint8, [images] int64, class names."""
    from PIL import Image

    folder = ImageFolder(root)
    images = np.empty((len(folder), side, side, 3), np.uint8)
    for row in range(len(folder)):
        picture = folder.read(row)
        if picture.shape[:2] != (side, side):
            picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        images[row] = picture
    return images, folder.labels, tuple(folder.classes)


def _batches(num_images: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    epoch, waiting = 0, np.empty(0, np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(seed, epoch, num_images)])
            epoch += 1
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def _learning_rate(config: SupervisedConfig, step: int) -> float:
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def _views(images: np.ndarray, seed: int, step: int, padding: int) -> np.ndarray:
    """Each image shifted by up to `padding` pixels and flipped half of the time: uint8, the same shape."""
    draw = rng.generator(seed, "view", step)
    side = images.shape[1]
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    shifts = draw.integers(0, 2 * padding + 1, size=(len(images), 2))
    flips = draw.integers(0, 2, size=len(images))
    views = np.empty_like(images)
    for row, ((top, left), flip) in enumerate(zip(shifts, flips, strict=True)):
        view = padded[row, top : top + side, left : left + side]
        views[row] = view[:, ::-1] if flip else view
    return views


def _normalise(images: np.ndarray) -> Tensor:
    """[batch, height, width, 3] uint8 to [batch, 3, height, width] fp32, channels last in memory."""
    values = (images.astype(np.float32) - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    return torch.from_numpy(values).permute(0, 3, 1, 2)


@torch.no_grad()
def _accuracy(model: nn.Module, fabric: Fabric, images: np.ndarray, labels: np.ndarray) -> float:
    model.eval()
    hits = 0
    for first in range(0, len(images), 256):
        logits = model(_normalise(images[first : first + 256]).to(fabric.device))
        hits += int((logits.argmax(1).cpu().numpy() == labels[first : first + 256]).sum())
    return 100.0 * hits / len(images)


def _weights(
    network: nn.Module,
    name: str,
    classes: tuple[str, ...],
    config: SupervisedConfig,
    seed: int,
    accuracy: float,
) -> Weights:
    tensors = {
        key: value.detach().float().cpu().contiguous().numpy()
        for key, value in network.state_dict().items()
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
    }
    card = Card(
        name=name,
        layout="transfer-bench",
        tensors_sha256=hash_tensors(tensors),
        dropped=("fc.weight", "fc.bias"),
        notes=(
            f"supervised on {len(classes)} classes at {config.image_px} px, {config.steps:,} steps of "
            f"{config.batch_size}, seed {seed}; {accuracy:.1f} % top-1 on held-out images",
        ),
    )
    return Weights(card=card, tensors=tensors)
