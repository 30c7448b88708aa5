"""What frozen encoders are good for: linear classifiers of images and of positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core import rng
from bench.features.logistic import fit_over_grid
from pretrain.analysis.config import ProbeConfig

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

HELD_OUT_SHARE = 5
"""One in so many probe images chooses the weight decay."""
_DENSE_BATCH, _DENSE_RATE = 64, 1e-2
"""Of Adam, for the classifier of positions: ours, chosen so that it has settled after 300 updates."""


@torch.no_grad()
def in_parts(function: Callable[[Tensor], Tensor], values: Tensor, device: torch.device) -> Tensor:
    """A function of [images, ...], some images at a time; on the CPU afterwards."""
    return torch.cat([function(part.to(device)).float().cpu() for part in torch.split(values, 256)])


def linear_accuracy(
    probe: tuple[Tensor, Labels], test: tuple[Tensor, Labels], config: ProbeConfig, seed: int
) -> float:
    """Percent of test images that a logistic regression on features gets right.

    Features are brought to mean 0 and deviation 1 over the probe images.

    Args:
        probe: Features [images, dim] and labels [images] to fit to.
        test: The same, to test on.
        config: How the weight decay is chosen.
        seed: Of the draw of the images that choose it.
    """
    features, labels = probe
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    fitted, tested = (((values - mean) / deviation).numpy() for values in (features, test[0]))
    order = rng.generator(seed, "order", 0).permutation(len(labels))
    held_out, train = np.split(order, [len(order) // HELD_OUT_SHARE])
    fit = fit_over_grid(
        (fitted[train], labels[train]),
        (fitted[held_out], labels[held_out]),
        tested,
        np.logspace(-6, 2, config.num_weight_decays)[::-1] * len(train),
        max_iterations=config.max_iterations,
    )
    predicted = np.unique(labels)[fit.scores.argmax(axis=1)]
    return 100.0 * float(np.mean(predicted == test[1]))


def dense_miou(
    probe: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    num_classes: int,
    config: ProbeConfig,
    seed: int,
    device: torch.device,
) -> float:
    """Mean IoU of a linear classifier of the positions of a map, its scores brought to full size.

    In percent, over the classes, the background included, that are in the test's masks; label 255 is out.

    Args:
        probe: Maps [images, dim, rows, columns] and masks [images, height, width] to fit to.
        test: The same, to test on.
        num_classes: With the background.
        config: How many updates.
        seed: Of the draws.
        device: Where it is computed.
    """
    maps, masks = probe
    mean = maps.mean(dim=(0, 2, 3), keepdim=True)
    deviation = maps.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    head = nn.Conv2d(maps.shape[1], num_classes, kernel_size=1).to(device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(head.parameters(), lr=_DENSE_RATE)

    def scores(values: Tensor) -> Tensor:
        found: Tensor = head((values.to(device) - mean.to(device)) / deviation.to(device))
        return functional.interpolate(found, size=masks.shape[-2:], mode="bilinear", align_corners=False)

    for step in range(config.dense_steps):
        for group in optimizer.param_groups:
            group["lr"] = _DENSE_RATE * (1.0 - step / config.dense_steps)
        drawn = rng.generator(seed, "order", 1, step).integers(len(maps), size=_DENSE_BATCH)
        rows = torch.from_numpy(drawn)
        loss = functional.cross_entropy(scores(maps[rows]), masks[rows].long().to(device), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        predicted = (scores(part).argmax(dim=1).cpu() for part in torch.split(test[0], 256))
        return miou(predicted, iter(torch.split(test[1], 256)), num_classes)


def miou(predicted: Iterator[Tensor], truth: Iterator[Tensor], num_classes: int) -> float:
    """Mean over classes in the truth of intersection over union, in percent, from counts of all images."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for found, labels in zip(predicted, truth, strict=True):
        valid = labels != 255
        pairs = labels[valid].long() * num_classes + found[valid].long()
        counts += torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    own, in_truth, in_found = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    there = in_truth > 0
    union = in_truth + in_found - own
    return 100.0 * float((own[there].double() / union[there]).mean())
