"""What a trial will take, said before it starts: memory counted, time from one real step on this machine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from bench.core.log import say
from transfer.adapters.mmseg_config import test_pipeline, train_pipeline
from transfer.api import Estimate, Job
from transfer.data.segmentation import SegmentationDataset, SegmentationImage
from transfer.engines.cost import (
    Times,
    disk_bytes,
    fixed_storages,
    free_bytes,
    kept_bytes,
    peak_bytes,
    possible_parts,
    times_of,
)
from transfer.engines.mmseg.evaluate import predict
from transfer.engines.mmseg.loader import (
    build_transforms,
    load_image,
    segmentation_data,
    segmentation_protocol,
)
from transfer.engines.mmseg.losses import losses_of
from transfer.engines.mmseg.model import build_segmentor
from transfer.protocols.segmentation import SegmentationProtocol

_BYTES = 4
"""Of a score: tests are in fp32."""

_TIMED_PIXELS = 600_000
"""Two crops at full size, which are half a minute on a CPU; batch norm behind a pooling to 1x1 needs two."""


def estimate(job: Job, config: Mapping[str, Any], fabric: Fabric) -> Estimate:
    """Memory and time of a trial.

    Args:
        job: The trial.
        config: Its config, as `mmseg_config` makes it, with a norm that waits for no other process.
        fabric: One device, with the precision of the trial.

    Raises:
        DataError: an image cannot be read.
    """
    data, protocol = segmentation_data(job), segmentation_protocol(job)
    solver = protocol.solver
    free = free_bytes(fabric)
    model, _ = build_segmentor(config, protocol.model, None, seed=0)
    on_device = solver.images_per_batch // job.num_devices
    memory = {
        parts: training_bytes(model, protocol, num_images=on_device // parts)
        for parts in possible_parts(solver, on_device)
    }
    testing = score_bytes(protocol, data)
    memory = {parts: max(training, testing) for parts, training in memory.items()}
    disk = disk_bytes(model, job.weights)
    say("Timing a step on this machine.")
    times = _time(model, protocol, fabric, data, num_images=on_device // solver.accumulation_steps)
    return Estimate(
        memory_bytes=memory[solver.accumulation_steps],
        memory_by_accumulation=memory,
        device_bytes=free,
        train_seconds=solver.iterations * (on_device * times.train_image + times.update),
        test_seconds=len(data.test) / job.num_devices * times.test_image,
        disk_bytes=disk,
        basis=(
            f"a crop took {times.train_image:.2g} s to train on, an image {times.test_image:.2g} s to test on"
        ),
    )


def training_bytes(model: nn.Module, protocol: SegmentationProtocol, *, num_images: int) -> int:
    """Bytes of one device at the fullest moment of a step, counted on a model without values.

    Args:
        model: The network; a copy of it is used.
        protocol: Tells crop and precision.
        num_images: In one pass.
    """
    empty: Any = copy.deepcopy(model).to("meta").train()
    side, classes = protocol.input.crop_px, empty.decode_head.num_classes
    # Batch norm behind a pooling to 1x1 takes no single image; what is kept goes with their number.
    counted = max(num_images, 2)
    labels = torch.zeros(counted, side, side, dtype=torch.long, device="meta")
    heads = [empty.decode_head, *([empty.auxiliary_head] if empty.with_auxiliary_head else [])]
    scores = torch.empty(counted, classes, side, side, device="meta", requires_grad=True)

    def network() -> None:
        features = empty.extract_feat(torch.empty(counted, 3, side, side, device="meta"))
        for head in heads:
            nn.functional.interpolate(head(features), size=(side, side), mode="bilinear")

    def loss() -> None:
        nn.functional.cross_entropy(scores + 0, labels)

    share = num_images / counted
    fixed = fixed_storages(empty)
    kept = [int(size * share) for size in kept_bytes(network, fixed)]
    # A loss is computed in fp32 whatever the precision, from scores of which both have a copy and a gradient.
    full = len(heads) * share * (sum(kept_bytes(loss, fixed)) + scores.nbytes)
    return peak_bytes(model, kept, protocol.solver.precision) + int(full)


def score_bytes(protocol: SegmentationProtocol, data: SegmentationDataset) -> int:
    """Bytes of the scores of the largest test image: in the size the network sees, and in its own.

    What the network keeps of a layer beside them is small: nothing is kept for a backward pass.
    """
    largest = max(data.test, key=lambda image: image.width * image.height)
    long, short = protocol.input.test_scale_px
    scale = min(long / max(largest.width, largest.height), short / min(largest.width, largest.height))
    pixels = largest.width * largest.height
    copies = 3 if protocol.inference.mode == "slide" else 1
    return int(_BYTES * len(data.classes) * pixels * (1 + copies * scale**2))


def _time(
    model: nn.Module,
    protocol: SegmentationProtocol,
    fabric: Fabric,
    data: SegmentationDataset,
    *,
    num_images: int,
) -> Times:
    """A real step on training crops and a real test of a test image of middling size."""

    def loaded(image: SegmentationImage, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
        return load_image(image, transforms=build_transforms(pipeline), zero_is_ignored=data.zero_is_ignored)

    side = protocol.input.crop_px
    batch = [loaded(_middling(data.train), train_pipeline(protocol.input))]
    batch *= max(2, min(num_images, _TIMED_PIXELS // side**2))
    test_input = loaded(_middling(data.test), test_pipeline(protocol.input))
    if protocol.run.channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    # An update takes as long with a rate of 0, and cannot diverge.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    losses = losses_of(model)
    return times_of(
        fabric,
        model,
        optimizer,
        losses=lambda step_model: losses(step_model, batch),
        num_images=len(batch),
        test=lambda: predict(model, test_input),
    )


def _middling(images: tuple[SegmentationImage, ...]) -> SegmentationImage:
    return sorted(images, key=lambda image: image.height * image.width)[len(images) // 2]
