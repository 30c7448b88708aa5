"""The Method contract: all that a new pretraining method must read.

A method is one file in `pretrain/methods` with an `ENTRY`, and one config a length in `configs/pretrain`. The
registry gives it its place in help and listings, and the contract tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.config import Section
from bench.core.registry import Registry
from pretrain.config import PretrainConfig
from pretrain.data.loader import Batch
from pretrain.distributed import Place, World

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet in RGB on the 0-255 scale, as a card's default input spec says; every method feeds this."""


class MethodModel(nn.Module, ABC):
    """A method at work: networks, heads, and whatever it remembers.

    Everything that a step leaves behind is a parameter or a buffer that `state_dict` holds: the contract
    tests stop a run at every step, go on, and compare. The loop calls `forward`, makes its update, and calls
    `after_step`.

    Attributes:
        columns: Names of the numbers that `forward` returns, for the log.
        world: The processes; the loop sets it.
        memory_format: Of images that networks are fed; the loop sets it.
    """

    columns: tuple[str, ...]
    world: World = World()
    memory_format: torch.memory_format = torch.contiguous_format

    @property
    @abstractmethod
    def backbone(self) -> nn.Module:
        """The network whose tensors are written as weights."""

    @abstractmethod
    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """One part of a batch to its loss.

        Args:
            batch: Of this process; views as `ENTRY` asks for them.
            place: What is drawn here is a function of it.

        Returns:
            The loss, [], and numbers for the log, [] each, without gradient. `loss` and, for contrastive
            methods, `i_nce` (nats) are among them.
        """

    def after_step(self) -> None:
        """What comes after the optimiser's update: the momentum copy, the queue."""

    def classify(self, features: Tensor) -> Tensor | None:
        """Class scores of features, [batch, classes], where the method has learnt classes."""
        return None

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB to what a network is fed, [..., 3, height, width], in the type of the weights.

        In float32 on a CPU equal to torchvision's ToTensor and Normalize, bit for bit.
        """
        weight = next(self.backbone.parameters())
        mean, std = (
            torch.tensor(values, dtype=torch.float64)
            .div(255.0)
            .to(weight.dtype)
            .to(images.device)
            .view(3, 1, 1)
            for values in (MEAN, STD)
        )
        values = images.to(weight.dtype).div(255.0).sub_(mean).div_(std)
        return values.contiguous(memory_format=self.memory_format) if values.ndim == 4 else values


@dataclass(frozen=True)
class Sizes:
    """What a method must know of the data."""

    num_images: int
    num_classes: int


@dataclass(frozen=True)
class Preset:
    """The parts of which a method is a combination, in words, as in PyContrast's options.

    Source: HobbitLong/PyContrast `pycontrast/options/base_options.py`.
    """

    modality: str
    jigsaw: bool
    memory: str
    augmentation: str
    head: str
    temperature: float | None


@dataclass(frozen=True)
class Method:
    """What a method is.

    Attributes:
        name: As in the registry, "moco-v2".
        version: Rises whenever equal configs, data and seeds would give other weights.
        summary: One sentence for listings.
        num_views: Views of each image in a batch.
        with_labels: Whether it needs classes.
        parts: The model of the config's `[parts]`.
        build: Config and sizes to the method; draws initial values from torch's global generator.
        problems: What in a config does not fit together, one sentence each.
        default_config: The file of `configs/pretrain` that the method's bare name stands for.
        preset: What it is made of.
        source: Paper and code.
    """

    name: str
    version: int
    summary: str
    num_views: int
    with_labels: bool
    parts: type[Section]
    build: Callable[[PretrainConfig[Any], Sizes], MethodModel]
    problems: Callable[[PretrainConfig[Any]], list[str]]
    default_config: str
    preset: Preset
    source: str


METHODS: Registry[Method] = Registry("method", "pretrain.methods", Method)
