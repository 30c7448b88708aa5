"""What a trial will take, said before it starts: memory counted, time from one real step on this machine."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from bench.core.log import say
from transfer.api import Estimate, Job
from transfer.data.detection import DetectionDataset, DetectionImage
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
from transfer.engines.detectron2.loader import detection_data, detection_protocol, map_image, to_dicts
from transfer.engines.detectron2.model import build_detector
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.protocols.coco import CocoProtocol
from transfer.protocols.detection import DetectionProtocol

load_detectron2()

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetMapper  # noqa: E402
from detectron2.data.transforms import ResizeShortestEdge  # noqa: E402
from detectron2.solver import build_optimizer  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

_TIMED_PIXELS = 600_000
"""One image at full size, which is half a minute on a CPU; small ones are timed in the batch they come in."""

_POOLED_CHANNELS = {"c4": 1024, "fpn": 256}


def estimate(job: Job, cfg: CfgNode, fabric: Fabric) -> Estimate:
    """Memory and time of a trial.

    Args:
        job: The trial.
        cfg: Its config.
        fabric: One device, with the precision of the trial.

    Raises:
        DataError: an image cannot be read.
    """
    data, protocol = detection_data(job), detection_protocol(job)
    solver = protocol.solver
    cfg = _for_one_process(cfg)
    free = free_bytes(fabric)
    model, _ = build_detector(cfg, None, seed=0)
    on_device = solver.images_per_batch // job.num_devices
    size = largest_size([image for image in data.train if image.is_trained_on], cfg)
    memory = {
        parts: training_bytes(model, protocol, num_images=on_device // parts, size=size)
        for parts in possible_parts(solver, on_device)
    }
    say("Timing a step on this machine.")
    times = _time(
        model,
        cfg,
        fabric,
        data,
        num_images=on_device // solver.accumulation_steps,
        channels_last=protocol.run.channels_last,
    )
    update = on_device * times.train_image + times.update
    # Precise batch norm is a forward pass, a third of a step.
    train = solver.iterations * update + solver.precise_bn_iterations * on_device * times.train_image / 3
    return Estimate(
        memory_bytes=memory[solver.accumulation_steps],
        memory_by_accumulation=memory,
        device_bytes=free,
        train_seconds=train,
        test_seconds=len(data.test) / job.num_devices * times.test_image,
        disk_bytes=disk_bytes(model, job.weights),
        basis=f"an image took {times.train_image:.2g} s to train on, {times.test_image:.2g} s to test on",
    )


def _for_one_process(cfg: CfgNode) -> CfgNode:
    """The config with plain BN for norms that would wait for other processes."""
    cfg = cfg.clone()
    cfg.defrost()
    for node in (cfg.MODEL.RESNETS, cfg.MODEL.FPN, cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD):
        if node.NORM in ("SyncBN", "naiveSyncBN"):
            node.NORM = "BN"
    return cfg


def largest_size(images: list[DetectionImage], cfg: CfgNode) -> tuple[int, int]:
    """(height, width) in pixels of the largest batch there can be: with its images' largest sides."""
    short, long = max(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MAX_SIZE_TRAIN
    sizes = [ResizeShortestEdge.get_output_shape(image.height, image.width, short, long) for image in images]
    # Wide and tall images are not in one batch, where aspect ratios are grouped.
    groups: list[list[tuple[int, int]]] = [[], []]
    for height, width in sizes:
        groups[int(cfg.DATALOADER.ASPECT_RATIO_GROUPING and width <= height)].append((height, width))
    batches = [tuple(max(sides) for sides in zip(*group, strict=True)) for group in groups if group]
    height, width = max(batches, key=lambda batch: batch[0] * batch[1])
    return height, width


def training_bytes(
    model: nn.Module, protocol: DetectionProtocol, *, num_images: int, size: tuple[int, int]
) -> int:
    """Bytes of one device at the fullest moment of a step, counted on a model without values.

    What autograd keeps for the backward pass, the gradient of the largest of it, and the parameters with
    gradient and momentum. What the RPN and the losses compute beside that is small.

    Args:
        model: The detector; a copy of it is used.
        protocol: Tells regions and precision.
        num_images: In one pass.
        size: (height, width) of the batch, in pixels.
    """
    empty: Any = copy.deepcopy(model).to("meta").train()
    variant = "fpn" if protocol.model.is_fpn else "c4"
    side = protocol.model.roi_pool_resolution
    regions = num_images * protocol.model.roi_batch_per_image
    divisor = max(empty.backbone.size_divisibility, 1)
    height, width = (-(-length // divisor) * divisor for length in size)

    def lower() -> None:
        features = empty.backbone(torch.empty(num_images, 3, height, width, device="meta"))
        generator = empty.proposal_generator
        generator.rpn_head([features[name] for name in generator.in_features])

    def upper() -> None:
        pooled = torch.empty(
            regions, _POOLED_CHANNELS[variant], side, side, device="meta", requires_grad=True
        )
        heads = empty.roi_heads
        if variant == "fpn":
            heads.box_predictor(heads.box_head(pooled))
        else:
            shared = heads.res5(pooled)
            heads.box_predictor(shared.mean(dim=[2, 3]))
        if not isinstance(protocol, CocoProtocol):
            return
        found = round(regions * protocol.model.roi_positive_fraction)
        if variant == "fpn":
            shape = (found, _POOLED_CHANNELS["fpn"], *[protocol.mask_head.pool_resolution] * 2)
            heads.mask_head.layers(torch.empty(shape, device="meta", requires_grad=True))
        else:
            heads.mask_head.layers(shared[:found].clone())  # the head picks them, which is a copy

    fixed = fixed_storages(empty)
    kept = [*kept_bytes(lower, fixed), *kept_bytes(upper, fixed)]
    return peak_bytes(model, kept, protocol.solver.precision)


def _time(
    model: nn.Module,
    cfg: CfgNode,
    fabric: Fabric,
    data: DetectionDataset,
    *,
    num_images: int,
    channels_last: bool,
) -> Times:
    """A real step on training images and a real test of a test image, all of middling size."""
    sizes = np.array(cfg.INPUT.MIN_SIZE_TRAIN, np.float64)
    cfg = cfg.clone()
    cfg.defrost()
    # The cost goes with the area.
    cfg.INPUT.MIN_SIZE_TRAIN = (round(float(np.sqrt((sizes**2).mean()))),)
    # An update takes as long with a rate of 0, and cannot diverge: there is no warm-up here.
    cfg.SOLVER.BASE_LR = 0.0
    train = _middling(to_dicts(data.train, with_objects=True))
    test = _middling(to_dicts(data.test, with_objects=False))
    batch = [map_image(DatasetMapper(cfg, is_train=True), train)]
    batch *= max(1, min(num_images, _TIMED_PIXELS // batch[0]["image"][0].numel()))
    test_input = map_image(DatasetMapper(cfg, is_train=False), test)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    optimizer = build_optimizer(cfg, model)
    with EventStorage():
        return times_of(
            fabric,
            model,
            optimizer,
            losses=lambda step_model: step_model(batch),
            num_images=len(batch),
            test=lambda: model([test_input]),
        )


def _middling(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(entries, key=lambda entry: entry["height"] * entry["width"])[len(entries) // 2]
