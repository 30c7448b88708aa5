"""What a trial will take, said before it starts: memory counted, time from real images on this machine."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from bench.core.log import say
from bench.features.knn import CHUNK
from transfer.api import Estimate, Job
from transfer.engines.cost import (
    disk_bytes,
    fixed_storages,
    free_bytes,
    kept_bytes,
    peak_bytes,
    possible_parts,
    times_of,
)
from transfer.engines.torchvision.features import BATCH_SIZE
from transfer.engines.torchvision.loader import TrainViews
from transfer.engines.torchvision.network import DIM, Backbone, FineTuned, build_backbone, build_classifier
from transfer.engines.torchvision.train import class_data, classifier_protocol, frozen_features, stacked
from transfer.protocols.classification import CentreCrop, ClassifierProtocol, FeatureProtocol, KnnProtocol

_BYTES = 4
_TIMED_IMAGES = 16
_TURNS = 2
"""The first is slow: a GPU chooses its kernels, a CPU takes its memory."""


def estimate(job: Job, fabric: Fabric) -> Estimate:
    """Memory and time of a trial.

    Args:
        job: The trial.
        fabric: One device, with the precision of the trial.

    Raises:
        DataError: an image cannot be read.
    """
    free = free_bytes(fabric)
    backbone, _ = build_backbone(job)
    say("Timing some images on this machine.")
    if isinstance(job.protocol, FeatureProtocol):
        return _features_alone(job, fabric, backbone, job.protocol.input, free)
    protocol = classifier_protocol(job)
    if protocol.model.trained == "classifier":
        return _probe(job, fabric, backbone, free)
    return _fine_tuning(job, protocol, fabric, backbone, free)


def _features_alone(
    job: Job, fabric: Fabric, backbone: Backbone, crop: CentreCrop, free: int | None
) -> Estimate:
    data = class_data(job)
    memory = forward_bytes(backbone, BATCH_SIZE, crop.crop_px)
    if isinstance(job.protocol, KnnProtocol):
        # The bank and its copy of unit length, and the similarities of some images to all of it.
        memory = max(memory, len(data.chosen) * _BYTES * (2 * DIM + CHUNK))
    image = _image_seconds(job, fabric, backbone, crop)
    return Estimate(
        memory_bytes=memory,
        memory_by_accumulation={1: memory},
        device_bytes=free,
        train_seconds=len(data.chosen) / job.num_devices * image,
        test_seconds=len(data.test) / job.num_devices * image,
        disk_bytes=(len(data.chosen) + len(data.test)) * DIM * _BYTES,
        basis=f"an image took {image:.2g} s to read and through the network; the classifier is not counted",
    )


def _probe(job: Job, fabric: Fabric, backbone: Backbone, free: int | None) -> Estimate:
    data, protocol = class_data(job), classifier_protocol(job)
    solver, crop, view = protocol.solver, protocol.input.test, protocol.input.train_view
    on_device = solver.images_per_batch // job.num_devices
    side = view.crop_px if view else crop.crop_px
    table = 0 if view else len(data.chosen) * DIM * _BYTES
    memory = {
        parts: forward_bytes(backbone, on_device // parts if view else BATCH_SIZE, side) + table
        for parts in possible_parts(solver, on_device)
    }
    image = _image_seconds(job, fabric, backbone, crop)
    seen = len(data.chosen) * (solver.epochs if view else 1)
    kept = len(data.test) + (0 if view else len(data.chosen))
    head = build_classifier(len(data.classes), protocol.model.classifier_init, seed=0)
    return Estimate(
        memory_bytes=memory[solver.accumulation_steps],
        memory_by_accumulation=memory,
        device_bytes=free,
        train_seconds=seen / job.num_devices * image,
        test_seconds=len(data.test) / job.num_devices * image,
        disk_bytes=kept * DIM * _BYTES + disk_bytes(head, None),
        basis=f"an image took {image:.2g} s to read and through the network",
    )


def _fine_tuning(
    job: Job, protocol: ClassifierProtocol, fabric: Fabric, backbone: Backbone, free: int | None
) -> Estimate:
    data, solver, crop = class_data(job), protocol.solver, protocol.input.test
    on_device = solver.images_per_batch // job.num_devices
    view = protocol.input.train_view
    side = view.crop_px if view else crop.crop_px
    model = FineTuned(backbone, build_classifier(len(data.classes), protocol.model.classifier_init, seed=0))
    memory = {
        parts: _training_bytes(model, on_device // parts, side, solver.precision)
        for parts in possible_parts(solver, on_device)
    }
    disk = disk_bytes(model, None)
    model.to(fabric.device)
    views = TrainViews(data, view, crop, seed=0)
    num_images = max(2, min(_TIMED_IMAGES, on_device // solver.accumulation_steps))
    samples = [views[(0, slot, slot % len(data.chosen))] for slot in range(num_images)]
    for sample in samples:
        if isinstance(sample, Exception):
            raise sample
    images = fabric.to_device(stacked(samples))
    labels = torch.zeros(num_images, dtype=torch.long, device=fabric.device)
    times = times_of(
        fabric,
        model,
        torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9),
        losses=lambda step_model: {"loss": functional.cross_entropy(step_model(images).float(), labels)},
        num_images=num_images,
        test=lambda: model(images[:1]),
    )
    iterations = solver.num_iterations(len(data.chosen))
    return Estimate(
        memory_bytes=memory[solver.accumulation_steps],
        memory_by_accumulation=memory,
        device_bytes=free,
        train_seconds=iterations * (on_device * times.train_image + times.update),
        test_seconds=len(data.test) / job.num_devices * times.test_image,
        disk_bytes=disk,
        basis=f"an image took {times.train_image:.2g} s to train on, {times.test_image:.2g} s to test on",
    )


def forward_bytes(network: nn.Module, num_images: int, side: int) -> int:
    """Bytes of one device at the fullest moment of a pass that keeps nothing: weights, a layer's in and out.

    Counted on a copy without values.
    """
    empty = copy.deepcopy(network).to("meta").eval()
    sizes: list[int] = []

    def count(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        sizes.append(sum(item.nbytes for item in (*inputs, output) if isinstance(item, Tensor)))

    for module in empty.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        empty(torch.empty(num_images, 3, side, side, dtype=torch.uint8, device="meta"))
    # Beside a layer's own, a residual block holds its input.
    return int(1.5 * max(sizes)) + sum(value.nbytes for value in empty.parameters())


def _training_bytes(model: nn.Module, num_images: int, side: int, precision: str) -> int:
    empty = copy.deepcopy(model).to("meta").train()
    images = torch.empty(num_images, 3, side, side, dtype=torch.uint8, device="meta")
    return peak_bytes(model, kept_bytes(lambda: empty(images), fixed_storages(empty)), precision)


def _image_seconds(job: Job, fabric: Fabric, backbone: Backbone, crop: CentreCrop) -> float:
    """Wall seconds of one image, read and taken through the network, some at a time."""
    data = class_data(job)
    views = TrainViews(data, None, crop, seed=0)
    backbone.requires_grad_(False).eval().to(fabric.device)
    best = float("inf")
    for _ in range(_TURNS):
        begun = time.perf_counter()
        samples = [views[(0, slot, slot % len(data.chosen))] for slot in range(_TIMED_IMAGES)]
        for sample in samples:
            if isinstance(sample, Exception):
                raise sample
        features = frozen_features(fabric, backbone, fabric.to_device(stacked(samples)))
        float(features.sum())  # waits for the device
        best = min(best, time.perf_counter() - begun)
    return best / _TIMED_IMAGES
