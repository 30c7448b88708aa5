"""Runs of the product in float64 on a tiny network, in one process and in two, and what each of them had.

The functions `work_*` run in processes of their own: they change the default type, the network that
"resnet18" stands for and the precision that "fp32" stands for, in themselves alone.
"""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # here, with all that is below: once, and not in each process
import torchvision
from torch import Tensor, nn
from torch.multiprocessing import start_processes

import pretrain.devices
import pretrain.monitor
import pretrain.run
from bench.core.config import read_toml
from bench.synth.generate import Counts, generate
from pretrain.api import METHODS
from pretrain.backbones import half_width
from pretrain.devices import Devices, make_fabric
from pretrain.distributed import World
from pretrain.plan import Options, config_path, make_plan, parse_config
from pretrain.run import Job

SETTINGS = (
    "backbone.arch=resnet18",
    "backbone.zero_init_residual=false",
    "view.crop_px=32",
    "batch_size=8",
    "epochs=1",
    "optimizer.kind=sgd",
    "optimizer.learning_rate=0.05",
    "optimizer.clip_tensor_norm=0.0",
    "schedule.warmup_epochs=0",
    "schedule.floor_ratio=0.1",
    "loop.num_workers=0",
    "loop.log_steps=1",
    "monitor.every_epochs=0",
)
SMALL = {
    "queue_size": 18,  # does not divide by the batch: the pointer wraps inside of one
    "num_negatives": 12,
    "hidden_dim": 16,
    "projection_dim": 8,
    "bottleneck_dim": 8,
    "num_prototypes": 12,
    "frozen_prototype_steps": 2,
    "frozen_head_epochs": 0,
    "queue_start_epoch": 0,
}
SIDES = {"second_view": 32, "local_view": 20}
NUM_STEPS = 5  # 40 images
NAMES = [METHODS.get(name).name.replace("-", "_") for name in METHODS.names()]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        key: Its name.
        method: As on the command line.
        changes: Besides `SETTINGS`.
        parts: Accumulated parts of each process.
        nodes: Among which the processes are divided.
        spoiled: The world gathers nothing.
    """

    key: str
    method: str
    changes: tuple[str, ...]
    parts: int = 1
    nodes: int = 1
    spoiled: bool = False


@dataclass(frozen=True)
class Kept:
    """What one process had.

    Attributes:
        gradients: Of each update, by parameter.
        state: Of the method at the end, momentum copies and queue included.
        losses: Of each update, the mean over processes.
        monitor: Features that the k-NN classifier was asked with, if it was.
    """

    gradients: list[dict[str, Tensor]]
    state: dict[str, Tensor]
    losses: list[float]
    monitor: list[Tensor]


def make_data(root: Path) -> Path:
    """40 images to train on and 20 held out, in ten classes, of 32 px."""
    generate(root, counts=Counts(0, 0, 4, 2), class_size_px=32)
    return root / "folder"


def make_job(case: Case, data: Path, out: Path) -> Job:
    given = read_toml(config_path(case.method, smoke=True))
    changes = [f"parts.{key}={value}" for key, value in SMALL.items() if key in given["parts"]]
    changes += [f"{table}.crop_px={side}" for table, side in SIDES.items() if table in given]
    changes += [*SETTINGS, *case.changes, f"loop.accumulation_steps={case.parts}"]
    options = Options(
        what=case.method,
        data=data,
        out=out / case.key,
        seeds=(3,),
        smoke=True,
        precision="fp32",
        overrides=tuple(changes),
    )
    return pretrain.run.job_of(make_plan(options), 3)


def tiny_resnet(
    *, norm_layer: Callable[[int], nn.Module], in_channels: int = 3, features: int = 512, **_: Any
) -> nn.Sequential:
    """In place of a ResNet-18: convolutions, norms, 512 features of a map of 4 x 4 places."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 32, 3, stride=2, bias=False),
            bn1=norm_layer(32),
            relu=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 3, stride=2, bias=False),
            bn2=norm_layer(64),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(64, features, 1),
            shrink=nn.AdaptiveAvgPool2d(4),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )


def tiny_half(_arch: str, in_channels: int, **values: Any) -> nn.Sequential:
    """In place of a branch of half the width."""
    return tiny_resnet(in_channels=in_channels, features=256, **values)


def run_in_processes(work: Callable[..., None], size: int, *arguments: Any) -> None:
    """`work(rank, size, port, *arguments)` in so many new processes, connected by nothing yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.set_forkserver_preload(["tests.helpers.two_processes"])
    start_processes(work, args=(size, port, *arguments), nprocs=size, start_method="forkserver")


def read_kept(out: Path, case: Case, size: int | str, rank: int = 0) -> Kept:
    """What a process of so many had; of "halves", what it should have had."""
    kept: Kept = torch.load(out / f"{case.key}-{size}-{rank}.pt", weights_only=False)
    return kept


def settle(rank: int, size: int, port: int) -> None:
    """Become one of the processes that torchrun would have started, with a small network in float64."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torchvision.models.resnet18 = tiny_resnet
    half_width.HalfWidthResNet = tiny_half  # type: ignore[misc,assignment]
    pretrain.devices._PRECISIONS["fp32"] = "64-true"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK")
    os.environ |= dict.fromkeys(names, str(rank)) | {"GROUP_RANK": "0"}
    os.environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"), str(size))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": "0"}
    os.environ |= {"TORCHELASTIC_MAX_RESTARTS": "0"}


def work_cases(rank: int, size: int, port: int, cases: list[Case], data: Path, out: Path) -> None:
    """Each case as the product runs it, from its config to its weights."""
    settle(rank, size, port)
    jobs = [make_job(case, data, out / f"runs-{size}") for case in cases]
    devices = Devices.here(1)
    fabric = make_fabric(parse_config(jobs[0].values, "config")[1], devices)
    fabric.launch()
    gather = World.gather
    for case, job in zip(cases, jobs, strict=True):
        World.gather = (lambda self, values: values.detach()) if case.spoiled else gather
        job.run_dir.mkdir(parents=True, exist_ok=True)
        kept = _run_and_keep(
            fabric, replace(job, devices=replace(devices, per_node=size // case.nodes, nodes=case.nodes))
        )
        torch.save(kept, out / f"{case.key}-{size}-{rank}.pt")


def _run_and_keep(fabric: Any, job: Job) -> Kept:
    kept = Kept([], {}, [], [])
    train, knn_predict = pretrain.run.train, pretrain.monitor.knn_predict

    def watched_train(training: Any, *more: Any) -> None:
        keep_gradients(training.model, training.optimizer, kept)
        train(training, *more)
        kept.state.update({name: value.clone() for name, value in training.model.state_dict().items()})

    def watched_knn(features: Tensor, bank: Tensor, *more: Any, **named: Any) -> Tensor:
        kept.monitor.extend([features.clone(), bank.clone()])
        return knn_predict(features, bank, *more, **named)

    pretrain.run.train, pretrain.monitor.knn_predict = watched_train, watched_knn
    try:
        pretrain.run._run(fabric, job)
    finally:
        pretrain.run.train, pretrain.monitor.knn_predict = train, knn_predict
    rows = (job.run_dir / "log.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("loss")
    kept.losses.extend(float(row.split(",")[column]) for row in rows[1:])
    return kept


def keep_gradients(model: nn.Module, optimizer: torch.optim.Optimizer, kept: Kept) -> None:
    """Note every gradient before each update."""

    def note(*_: Any) -> None:
        found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        kept.gradients.append({name: value.clone() for name, value in found.items()})

    optimizer.register_step_pre_hook(note)


def largest(ours: Kept, theirs: Kept) -> tuple[float, str]:
    """The largest difference in all that two processes had, and where it is."""
    losses = [torch.tensor(kept.losses, dtype=torch.float64) for kept in (ours, theirs)]
    pairs = [("loss", *losses)]
    for step, (one, other) in enumerate(zip(ours.gradients, theirs.gradients, strict=True)):
        assert one.keys() == other.keys()
        pairs += [(f"gradient {step} {name}", one[name], other[name]) for name in one]
    assert ours.state.keys() == theirs.state.keys()
    pairs += [(name, value, theirs.state[name]) for name, value in ours.state.items()]
    return max((distance(value, expected), name) for name, value, expected in pairs)


def distance(value: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors of one shape."""
    assert value.shape == expected.shape
    return float((value.double() - expected.double()).abs().max())
