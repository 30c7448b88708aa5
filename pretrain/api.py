"""The Method contract: all that a new pretraining method must read.

A method is one file in `pretrain/methods` with an `ENTRY`, and one config a length in `configs/pretrain`. The
registry gives it its place in help and listings, and the contract tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.core.registry import Registry
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place, World
from pretrain.modality import Modality, feed


class MethodModel(nn.Module, ABC):
    """A method at work: networks, heads, and whatever it remembers.

    Everything that a step leaves behind is a parameter or a buffer that `state_dict` holds: the contract
    tests stop a run at every step, go on, and compare. The loop calls `forward` and `before_update`, makes
    its update, and calls `after_step`.

    Attributes:
        columns: Names of the numbers that `forward` returns, for the log.
        modality: What of the images the networks are fed.
        fixed_rate: What names of parameters start with whose learning rate follows no schedule.
        trained_later: What names start with whose gradients `before_update` takes away at first.
        world: The processes; the loop sets it.
        memory_format: Of images that networks are fed; the loop sets it.
    """

    columns: tuple[str, ...]
    modality: Modality = "rgb"
    fixed_rate: tuple[str, ...] = ()
    trained_later: tuple[str, ...] = ()
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

    def before_update(self) -> None:
        """What comes between the gradients and the update: some that must not count yet are taken away."""

    def after_step(self) -> None:
        """What comes after the optimiser's update: the momentum copy, the queue."""

    def classify(self, features: Tensor) -> Tensor | None:
        """Class scores of features, [batch, classes], where the method has learnt classes."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.backbone.parameters()).dtype

    def channels(self, images: Tensor) -> Tensor:
        """uint8 RGB to the channels of the modality, [..., 3, height, width]."""
        return feed(images, self.modality, self.dtype)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB to what a network is fed, [..., 3, height, width], in the type of the weights."""
        values = self.channels(images)
        return values.contiguous(memory_format=self.memory_format) if values.ndim == 4 else values


@dataclass(frozen=True)
class Sizes:
    """What a method must know of the data."""

    num_images: int
    num_classes: int

    def steps_per_epoch(self, config: PretrainConfig[Any]) -> int:
        """Updates of one pass over the images."""
        return max(self.num_images // config.batch_size, 1)

    def num_steps(self, config: PretrainConfig[Any]) -> int:
        """Updates of the whole run."""
        return config.epochs * self.steps_per_epoch(config)


@dataclass(frozen=True)
class Preset:
    """The parts of which a method is a combination, in words, as in PyContrast's options.

    `memory` is where what a view is compared with comes from; `encoder` is the one that is transferred.

    Source: HobbitLong/PyContrast `pycontrast/options/base_options.py`.
    """

    modality: str
    jigsaw: bool
    memory: str
    augmentation: str
    head: str
    temperature: float | None
    encoder: Literal["trained", "momentum copy"] = "trained"


def _no_problems(_config: PretrainConfig[Any]) -> list[str]:
    return []


@dataclass(frozen=True)
class Method:
    """What a method is.

    Attributes:
        name: As in the registry, "moco-v2".
        version: Rises whenever equal configs, data and seeds would give other weights.
        summary: One sentence for listings.
        with_labels: Whether it needs classes.
        parts: The model of the config's `[parts]`; it says how many views there are.
        build: Config and sizes to the method; draws initial values from torch's global generator.
        default_config: The file of `configs/pretrain` that the method's bare name stands for.
        preset: What it is made of.
        source: Paper and code.
        problems: What in a config does not fit together, one sentence each.
        published_as: Its names in `results/published/results.csv`.
        min_images: That a part of a batch must have: two where images are compared with each other.
        takes: The optional tables of a config that it has a use for: "second_view", "local_view", "jigsaw".
    """

    name: str
    version: int
    summary: str
    with_labels: bool
    parts: type[MethodParts]
    build: Callable[[PretrainConfig[Any], Sizes], MethodModel]
    default_config: str
    preset: Preset
    source: str
    problems: Callable[[PretrainConfig[Any]], list[str]] = _no_problems
    published_as: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    min_images: int = 1


METHODS: Registry[Method] = Registry("method", "pretrain.methods", Method)
