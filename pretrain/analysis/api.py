"""The Study contract: all that a new study of views must read.

A study is one file in `pretrain/analysis/studies` with an `ENTRY`, and its configs in three sizes in
`configs/views`. A cell of it is one setting with one seed; `pretrain/analysis/run.py` trains it, stops and
resumes it, and keeps its record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from bench.core.records import DataStamp
from bench.core.registry import Registry
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.pictures import Sources, whole_images


@dataclass(frozen=True)
class Setting:
    """Which views: `name` in tables, `series` of points that belong together, `knob` where it is a number."""

    name: str
    series: str
    knob: float | None = None


@dataclass(frozen=True)
class Measured:
    """What came out of a cell; see `bench.core.study.StudyRecord` for the fields."""

    i_nce: float
    num_candidates: int
    critic: str
    scores: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One setting with one seed.

    Attributes:
        config: Of the study.
        setting: Which views.
        seed: Of weights and draws.
        data: What the study's `data` gave.
        device: Where it is computed.
    """

    config: StudyConfig[Any]
    setting: Setting
    seed: int
    data: Any
    device: torch.device


class Stamped(Protocol):
    """What a study works on; the rest is between its `data` and its trainer."""

    @property
    def stamp(self) -> DataStamp:
        """For the record."""


class Trainer(ABC):
    """A cell at work. Whatever a step leaves behind is in `module` or in `optimizers`.

    Attributes:
        module: All networks.
        optimizers: By name.
        num_steps: Updates in all.
        steps_per_epoch: After how many a checkpoint may be due.
    """

    module: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]
    num_steps: int
    steps_per_epoch: int

    @abstractmethod
    def step(self, number: int) -> dict[str, float]:
        """One update, from 0 on; whatever is drawn is a function of (seed, number). Numbers for the bar.

        Raises:
            DivergedError: the loss is not finite; no weight was moved.
        """

    @abstractmethod
    def measure(self) -> Measured:
        """What the trained networks give; draws nothing that depends on how they were trained."""

    def files(self) -> dict[str, bytes]:
        """What else is worth keeping, by the end of its name: weights, pictures."""
        return {}


@dataclass(frozen=True)
class Study:
    """What a study is.

    Attributes:
        name: As in the registry, "moving-digits".
        version: Rises whenever equal configs, data and seeds would give other numbers.
        summary: One sentence for listings.
        source: Paper and section; what is known of its numbers and what is not.
        views: The model of the config's `[views]`.
        knob_name: What is turned, with its unit; empty where settings are no numbers.
        scores: The names of scores, the main one first, to what they are called on an axis.
        settings: All of them, in order.
        trainer: A cell to what trains it.
        data: Config and folders to what a cell is given.
        takes_data: Whether --data means something to it.
    """

    name: str
    version: int
    summary: str
    source: str
    views: type[ViewsConfig]
    knob_name: str
    scores: Mapping[str, str]
    settings: Callable[[StudyConfig[Any]], tuple[Setting, ...]]
    trainer: Callable[[Cell], Trainer]
    data: Callable[[StudyConfig[Any], Sources], Stamped] = whole_images
    takes_data: bool = True


STUDIES: Registry[Study] = Registry("study", "pretrain.analysis.studies", Study)
"""All studies, by name."""
