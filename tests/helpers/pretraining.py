"""A pretraining at toy size: images, a config of each method, a job, runs of it, and what they left."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from bench.core import checkpoint as checkpoints
from bench.core.config import read_toml
from bench.core.errors import Stopped
from bench.core.paths import CONFIGS
from bench.core.safe_json import read_json
from bench.core.weights import WEIGHTS_FILE
from bench.synth.generate import Counts, generate
from pretrain import devices
from pretrain import run as product
from pretrain import step as one_step
from pretrain.api import METHODS
from pretrain.backbones import half_width
from pretrain.backbones.half_width import HalfWidthResNet
from pretrain.data.batch import Batch
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import train_batches
from pretrain.data.order import Order
from pretrain.plan import Options, Plan, config_path, make_plan, parse_config
from pretrain.run import Job
from pretrain.samples import Views
from pretrain.step import gradients, update
from pretrain.training import Progress, Training

NAMES = METHODS.names()
SOME = ["infomin", "moco-v1", "pirl", "simclr", "swav", "supervised"]
"""One of each kind of memory; of what holds for the loop, whatever the method, these are asked."""
WITH_QUEUE = ["infomin", "moco-v1"]
EPOCHS, BATCH_SIZE = 2, 12
STEPS_PER_EPOCH = 5
"""Of 60 images."""
STEPS = EPOCHS * STEPS_PER_EPOCH
Rows = list[dict[str, float]]


def make_images(root: Path) -> Path:
    """Ten classes of six images to train on and two held out, at 32 px; returns the folder of both."""
    generate(root / "data", class_size_px=32, counts=Counts(0, 0, 6, 2))
    return root / "data" / "folder"


def toy_overrides(name: str, *more: str) -> tuple[str, ...]:
    """What makes a config of a method a toy; `more` comes last and wins."""
    overrides = [
        f"epochs={EPOCHS}",
        f"batch_size={BATCH_SIZE}",
        "backbone.arch='resnet18'",
        "view.crop_px=32",
        # No step without effect, as those of a smoke config's rise and end are.
        "schedule.warmup_epochs=0",
        "schedule.floor_ratio=0.1",
        "loop.precision='fp32'",
        "loop.num_workers=0",
        "loop.log_steps=1",
        "monitor.every_epochs=1",
        "monitor.neighbours=5",
        "monitor.resize_px=32",
        "monitor.crop_px=32",
        "monitor.batch_size=40",
    ]
    # Twelve does not divide the queue: its pointer wraps inside a batch.
    small = {"queue_size": 32, "hidden_dim": 32, "projection_dim": 16, "num_negatives": 24}
    small |= {"bottleneck_dim": 8, "num_prototypes": 20, "frozen_prototype_steps": 2, "queue_start_epoch": 0}
    given = read_toml(config_path(name, smoke=True))
    overrides += [f"parts.{key}={value}" for key, value in small.items() if key in given["parts"]]
    if "jigsaw" in given:
        overrides += ["jigsaw.crop_px=36", "jigsaw.patch_px=12"]
    if "second_view" in given:
        overrides.append("second_view.crop_px=32")
    if "local_view" in given:
        overrides += ["local_view.crop_px=20", "num_local_views=2"]
    return (*overrides, *more)


def published_optimizer(name: str) -> tuple[str, ...]:
    """Overrides: the optimiser of the method's own config in place of the smoke config's."""
    values = read_toml(CONFIGS / "pretrain" / f"{METHODS.get(name).default_config}.toml")["optimizer"]
    return tuple(f"optimizer.{key}={json.dumps(value)}" for key, value in values.items())


def toy_plan(out: Path, images: Path, name: str, *more: str, **options: Any) -> Plan:
    """The plan of a toy run; `more` are overrides, `options` those of `Options`."""
    values: dict[str, Any] = {"what": name, "data": images, "out": out, "seeds": (0,), "smoke": True}
    return make_plan(Options(**{**values, "overrides": toy_overrides(name, *more), **options}))


def toy_job(out: Path, images: Path, name: str, *more: str, **options: Any) -> Job:
    """The job of a toy run, with its files in `out`."""
    plan = toy_plan(out, images, name, *more, **options)
    return move(product.job_of(plan, 0), out)


def move(job: Job, out: Path) -> Job:
    """The same job with its files in `out`."""
    return replace(job, run_dir=out / "run", weights_path=out / "run" / WEIGHTS_FILE)


def copy_run(job: Job, out: Path) -> Job:
    """The same job, and what it has left so far, in `out`."""
    shutil.copytree(job.run_dir, out / "run")
    return move(job, out)


class _Narrow(ResNet):
    def _make_layer(
        self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        layer: nn.Sequential = super()._make_layer(block, planes // 4, blocks, stride, dilate)
        return layer


def _narrow_resnet18(*, weights: None, **values: Any) -> ResNet:
    return _Narrow(Bottleneck, [1, 1, 1, 1], width_per_group=16, **values)


class _NarrowHalf(HalfWidthResNet):
    def __init__(self, arch: str, in_channels: int, **values: Any) -> None:
        super().__init__(arch, in_channels, width_per_group=16, **values)

    def _make_layer(
        self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        layer: nn.Sequential = super()._make_layer(block, planes // 4, blocks, stride, dilate)
        return layer


@contextmanager
def narrow_networks() -> Iterator[None]:
    """On a CPU, with one bottleneck a stage for `resnet18`: 512 features, too, and a fiftieth of the weights.

    For tests that write many checkpoints, which are of 200 MB otherwise.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "resnet18", _narrow_resnet18)
        patch.setitem(half_width._BLOCKS, "resnet18", (Bottleneck, [1, 1, 1, 1]))
        patch.setattr(half_width, "HalfWidthResNet", _NarrowHalf)
        patch.setattr(devices, "accelerator", lambda: "cpu")
        yield


def run(job: Job) -> Rows:
    """Run a job in this process; returns the rows of its monitor."""
    product._run_job(job)
    rows: Rows = result(job)["monitor"]
    return rows


def resume(job: Job) -> Rows:
    """As `run`, from the newest checkpoint."""
    return run(replace(job, resume=True))


def result(job: Job) -> dict[str, Any]:
    """`result.json` of a job that has ended."""
    found: dict[str, Any] = read_json(job.run_dir / "result.json")
    return found


def saved_step(job: Job) -> int | None:
    """The step of the newest checkpoint."""
    return checkpoints.newest_step(job.run_dir / "checkpoints")


def run_until(job: Job, step: int, number: int = signal.SIGTERM) -> None:
    """Run or go on, with a signal to this process in the given step, counted from 1."""
    with pytest.MonkeyPatch.context() as patch:
        real = one_step._forward_and_backward

        def interrupted(training: Training, parts: list[Batch], done: int) -> dict[str, Tensor]:
            if done + 1 == step:
                os.kill(os.getpid(), number)
            return real(training, parts, done)

        patch.setattr(one_step, "_forward_and_backward", interrupted)
        with pytest.raises(Stopped, match=f"saved after step {step};"):
            product._run_job(replace(job, resume=True))
    assert saved_step(job) == step
    assert not job.weights_path.exists()


def last_tensors(job: Job) -> dict[str, Tensor]:
    """The tensors of the newest checkpoint: networks, queue, pointer, optimiser."""
    found, damaged = checkpoints.newest(job.run_dir / "checkpoints")
    assert found is not None
    assert damaged == []
    return found.tensors


def differences(ours: Job, theirs: Job) -> list[str]:
    """What differs in all that two finished runs have left: names of tensors, files, results."""
    mine, other = last_tensors(ours), last_tensors(theirs)
    found = sorted(mine.keys() ^ other.keys())
    found += sorted(name for name in mine.keys() & other.keys() if not torch.equal(mine[name], other[name]))
    for name in ("log.csv", WEIGHTS_FILE):
        if (ours.run_dir / name).read_bytes() != (theirs.run_dir / name).read_bytes():
            found.append(name)
    return found + [key for key in ("steps", "monitor") if result(ours)[key] != result(theirs)[key]]


def losses(job: Job) -> list[float]:
    """The losses of a run's log."""
    lines = [line.split(",") for line in (job.run_dir / "log.csv").read_text().splitlines()]
    place = lines[0].index("loss")
    return [float(line[place]) for line in lines[1:]]


def at_call(number: int, function: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    """The function, which calls `then` when it returns for the n-th time."""
    calls = iter(range(1, 1_000_000))

    def called(*arguments: Any, **values: Any) -> Any:
        found = function(*arguments, **values)
        if next(calls) == number:
            then()
        return found

    return called


def prepare(job: Job, *, dtype: torch.dtype = torch.float32) -> Training:
    """Networks and optimiser of a job, on a CPU, drawn and kept in `dtype`."""
    method, config = parse_config(job.values, "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "accelerator", lambda: "cpu")
        fabric = devices.make_fabric(config, job.devices)
    fabric.launch()
    order = Order(len(job.train), config.batch_size, job.seed)
    torch.set_default_dtype(dtype)
    try:
        return product.prepare(fabric, job, method, config, order)
    finally:
        torch.set_default_dtype(torch.float32)


def batches(job: Job, training: Training, start: int, end: int) -> list[list[Batch]]:
    """What the steps from `start` up to before `end` see."""
    method, config = parse_config(job.values, "config")
    loader = train_batches(
        job.train,
        Views(config.views, config.jigsaw, job.seed),
        training.order,
        start_step=start,
        end_step=end,
        rank=0,
        world_size=1,
        accumulation=config.loop.accumulation_steps,
        num_workers=0,
        feed=DeviceFeed(torch.device("cpu")),
        with_labels=method.with_labels,
    )
    return list(loader)


def step(training: Training, parts: list[Batch], number: int) -> dict[str, Tensor]:
    """One step as the loop makes it; returns the method's numbers."""
    _, scalars, norm = gradients(training, parts, number)
    update(training, Progress(step=number), norm)
    return scalars


def first_losses(job: Job, num_steps: int, *, dtype: torch.dtype = torch.float32) -> list[float]:
    """The losses of the first steps of a job; `dtype` as in `prepare`."""
    now = prepare(job, dtype=dtype)
    return [float(step(now, parts, at)["loss"]) for at, parts in enumerate(batches(job, now, 0, num_steps))]


def hidden_tensors(model: nn.Module) -> list[str]:
    """Where a model keeps tensors that are no parameter and no buffer, and not empty."""
    found = []
    for place, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            found += [f"{place}.{key}"] * _count_tensors(value)
    return found


def _count_tensors(value: Any) -> int:
    if isinstance(value, Tensor):
        return int(value.numel() > 0)
    inner = list(value.values()) if isinstance(value, dict) else value
    return sum(map(_count_tensors, inner)) if isinstance(inner, list | tuple | set) else 0
