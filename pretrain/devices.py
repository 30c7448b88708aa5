"""Processes and devices of a run, started by us, torchrun or Slurm; what they cannot do is refused."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from bench.core.errors import ConfigError, EngineError
from pretrain.config import PretrainConfig

# Its new name, forward_sync_buffers, is not in all versions of torch that we run on.
warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")

MAX_WORKERS = 16
BF16_CPU_MIN_PX = 17
"""Smaller images are one pixel where the last stage halves them. Of such a map, torch 2.14's bf16 convolution
of stride 2 on a CPU fills some of the gradient of its filters with what was in memory; fp32's does not."""
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Devices:
    """Who computes.

    Attributes:
        per_node: GPUs, or processes where there is none, of each node.
        nodes: Machines.
        started_by: Who starts the processes.
        rank: This process among all of them before they are connected; 0 where we start them.
    """

    per_node: int
    nodes: int
    started_by: Literal["us", "torchrun", "Slurm"]
    rank: int

    @property
    def total(self) -> int:
        """All processes."""
        return self.per_node * self.nodes

    def alone(self) -> Devices:
        """One of them by itself, to time a step on."""
        return Devices(1, 1, "us", 0)

    @staticmethod
    def here(per_node: int) -> Devices:
        """As torchrun or Slurm say, where one of them started this process; else `per_node`, here."""
        environment = os.environ
        if TorchElasticEnvironment.detect():
            size, local = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
            return Devices(local, size // local, "torchrun", int(environment["RANK"]))
        if SLURMEnvironment.detect() and int(environment.get("SLURM_NTASKS", "1")) > 1:
            size, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", "1"))
            return Devices(size // nodes, nodes, "Slurm", int(environment["SLURM_PROCID"]))
        return Devices(per_node, 1, "us", 0)

    def num_workers(self, config: PretrainConfig[Any]) -> int:
        """Processes that read images, for each device: as the config says, or as there are cores."""
        if config.loop.num_workers is not None:
            return config.loop.num_workers
        if not torch.cuda.is_available():
            return 1  # the network needs the cores itself
        return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) // self.per_node))


def accelerator() -> Literal["cuda", "cpu"]:
    """What there is."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_fabric(config: PretrainConfig[Any], devices: Devices) -> Fabric:
    """Fabric for these processes; each must launch it.

    Buffers are not sent around at each step: batch norm's running statistics are those of the first process,
    whose weights are written, and the queue is equal in all of them.
    """
    strategy: Any = "auto"
    if devices.total > 1:
        ours = devices.started_by == "us"
        strategy = DDPStrategy(
            start_method="spawn" if ours else "popen",
            # Inside of one task of Slurm, Fabric would take each process of ours for that task.
            cluster_environment=LightningEnvironment() if ours else None,
            broadcast_buffers=False,
        )
    return Fabric(
        accelerator=accelerator(),
        devices=devices.per_node,
        num_nodes=devices.nodes,
        strategy=strategy,
        precision=_PRECISIONS[config.loop.precision],  # type: ignore[arg-type]
    )


def check_devices(config: PretrainConfig[Any], devices: Devices) -> None:
    """Refuse what would run as something else, or not at all.

    Raises:
        EngineError: there are not so many GPUs, or what is asked for needs one.
        ConfigError: the batch does not divide.
    """
    found = torch.cuda.device_count()
    if found and devices.per_node > found:
        raise EngineError(f"--devices {devices.per_node}: this machine has {found} GPUs")
    if devices.started_by == "Slurm" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise EngineError(
            f"Slurm started {devices.total} tasks and does not say how many a node has; give srun or sbatch "
            "--ntasks-per-node and not --ntasks alone"
        )
    if config.loop.precision == "fp16" and not found:
        # Fabric would take bf16 in its place, without a word.
        raise EngineError("precision fp16 needs a GPU; bf16 and fp32 run on a CPU")
    smallest = min(view.crop_px for view in config.views)
    if config.jigsaw:
        smallest = min(smallest, config.jigsaw.patch_px)
    if config.loop.precision == "bf16" and not found and smallest < BF16_CPU_MIN_PX:
        raise EngineError(
            f"bf16 on a CPU gives wrong gradients for images of {smallest} px; expected {BF16_CPU_MIN_PX} or "
            "more, or --precision fp32"
        )
    if config.backbone.norm == "sync_batch" and devices.total > 1 and not found:
        raise EngineError(
            "SyncBN over several processes needs GPUs; here --set backbone.norm=batch, or one device"
        )
    parts = devices.total * config.loop.accumulation_steps
    if config.batch_size % parts:
        raise ConfigError(
            f"batch_size {config.batch_size:,} does not divide by {devices.total} devices times "
            f"{config.loop.accumulation_steps} parts"
        )
    if config.batch_size // parts < 2 and config.backbone.norm != "group":
        raise ConfigError(
            f"batch_size {config.batch_size:,} leaves each part one image, of which batch norm has no "
            "statistics; expected two or more"
        )
