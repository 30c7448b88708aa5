"""What a run will take: steps are counted, a step and an image are timed here, tensors are summed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core import rng
from bench.core.checkpoint import KEEP
from bench.core.log import quiet_fabric
from bench.core.processes import out_of_memory, threads_of_a_process
from pretrain.api import Sizes
from pretrain.data.batch import Batch
from pretrain.data.device_feed import DeviceFeed
from pretrain.devices import accelerator, make_fabric
from pretrain.distributed import Place
from pretrain.plan import Plan
from pretrain.run import Wrapped, wrap
from pretrain.samples import Views, make_views

CPU_IMAGES = 8
"""A step that is timed on a CPU has at most so many images, and its time is scaled."""
TIMED_IMAGES = 6
_LOG_BYTES_A_ROW = 200
_IMAGE_SIZE = (500, 375)
"""Width and height in pixels that views of random images are drawn for; ImageNet's most frequent one."""


@dataclass(frozen=True)
class Estimate:
    """Rough figures, and of what they were made.

    Attributes:
        step_seconds: Of one update, were images at hand.
        input_seconds: In which the workers of a device make its images of one update.
        train_seconds: Of a whole run: the slower of the two, for every step.
        disk_bytes: In the run folder at its fullest.
        basis: What was measured, for a person.
    """

    step_seconds: float
    input_seconds: float
    train_seconds: float
    disk_bytes: int
    basis: str


def estimate(plan: Plan) -> Estimate:
    """Time a step of random images and the views of a few real ones; nothing is written.

    Raises:
        EngineError: the device has too little memory.
        DataError: an image cannot be read.
    """
    quiet_fabric()
    config, devices = plan.config, plan.devices
    num_workers = devices.num_workers(config)
    fabric = make_fabric(config, devices.alone())
    images = config.batch_size // (devices.total * config.loop.accumulation_steps)
    timed = images if fabric.device.type == "cuda" else max(2, min(images, CPU_IMAGES))
    with torch.random.fork_rng(), threads_of_a_process(fabric, devices.per_node):
        torch.manual_seed(0)
        sizes = Sizes(len(plan.train), len(plan.train.classes or ()))
        wrapped = wrap(fabric, plan.method.build(config, sizes), config)
        try:
            make = make_views(config, 0, fabric.device)
            part_seconds = _time_step(wrapped, random_sent(make, fabric.device, timed)) * images / timed
        except torch.OutOfMemoryError as error:
            raise out_of_memory(str(error)) from error
    disk_bytes = _disk_bytes(plan, wrapped)
    # What is left on the device would be missed by the run.
    del wrapped
    gc.collect()
    if fabric.device.type == "cuda":
        torch.cuda.empty_cache()
    image_seconds = _time_input(plan)
    step = part_seconds * config.loop.accumulation_steps
    wait = image_seconds * (config.batch_size / devices.total) / max(num_workers, 1)
    # Without workers, reading and computing take turns.
    slower = max(step, wait) if num_workers else step + wait
    basis = (
        f"a step of {timed} random images and the views of {min(TIMED_IMAGES, len(plan.train))} real ones, "
        f"timed here; {num_workers} process(es) reading"
    )
    return Estimate(
        step_seconds=step,
        input_seconds=wait,
        train_seconds=slower * plan.num_steps,
        disk_bytes=disk_bytes,
        basis=basis,
    )


def random_sent(make: Views, device: torch.device, images: int) -> Callable[[], Batch]:
    """A batch of random pixels, brought to the device each time that it is asked for, as in a run."""
    draw = torch.Generator().manual_seed(0)

    def pixels(*shape: int) -> Tensor:
        made = torch.randint(0, 256, (images, *shape, 3), generator=draw, dtype=torch.uint8)
        return made.movedim(-1, -3)

    batch = Batch(
        views=tuple(pixels(*size) for size in make.shapes.views),
        patches=pixels(*make.shapes.patches) if make.shapes.patches else None,
        labels=torch.zeros(images, dtype=torch.int64),
        index=torch.arange(images),
    )
    left = [make.draw(_IMAGE_SIZE, row, 0) for row in range(images)] if make.way == "crops" else []
    feed = DeviceFeed(device, make.views)
    return lambda: feed.receive([feed.send(batch, tuple(zip(*left, strict=True)))])[0]


def _time_step(wrapped: Wrapped, sent: Callable[[], Batch]) -> float:
    """Seconds of one update, the faster of two after a first one that prepares."""
    fabric, seconds = wrapped.fabric, []
    for number in range(3):
        wait_for(fabric.device)
        started = time.monotonic()
        wrapped.step_optimizer.zero_grad()
        loss, _ = wrapped.step_model(sent(), Place(0, number))
        fabric.backward(loss)
        wrapped.step_optimizer.step()
        wrapped.model.after_step()
        wait_for(fabric.device)
        seconds.append(time.monotonic() - started)
    return min(seconds[1:])


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time_input(plan: Plan) -> float:
    """Seconds in which one process makes the views of one image."""
    config = plan.config
    make = make_views(config, 0, torch.device(accelerator()))
    indices = rng.permutation(0, 0, len(plan.train))[:TIMED_IMAGES].tolist()
    make(plan.train.read(indices[0]), indices[0], 0)  # opens what is opened once
    started = time.monotonic()
    for index in indices:
        make(plan.train.read(index), index, 0)
    return (time.monotonic() - started) / len(indices)


def _disk_bytes(plan: Plan, wrapped: Wrapped) -> int:
    model = _bytes(wrapped.model.state_dict())
    # As many again as the optimiser keeps for each trained value.
    kept = 2 if plan.config.optimizer.kind == "adamw" else 1
    trained = sum(value.nbytes for value in wrapped.model.parameters() if value.requires_grad)
    # One more than are kept, while the newest is being written.
    rows = plan.num_steps // plan.config.loop.log_steps
    weights = _bytes(wrapped.model.backbone.state_dict())
    return (KEEP + 1) * (model + kept * trained) + weights + rows * _LOG_BYTES_A_ROW


def _bytes(tensors: dict[str, Any]) -> int:
    return sum(value.nbytes for value in tensors.values())
