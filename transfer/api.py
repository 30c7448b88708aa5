"""The Task contract: all that a new transfer task must read.

A task is one file in `transfer/tasks` with an `ENTRY`, and one config a protocol in `configs/transfer`. The
registry gives it a subcommand, its help, listings and the contract tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.card import Card, InputSpec
from bench.core.records import DataStamp
from bench.core.registry import Registry
from bench.core.store import Attachment
from bench.core.weights import Weights
from bench.images.sheet import Tile
from transfer.metrics.result import Result
from transfer.protocols.transfer import TransferProtocol


@dataclass(frozen=True)
class MetricSpec:
    """A metric's name as in the published results, and its direction; all metrics are in percent.

    `may_be_missing`: it is a mean over what a data set need not have, and has no value then.
    """

    name: str
    meaning: str
    higher_is_better: bool = True
    may_be_missing: bool = False


@dataclass(frozen=True)
class Layout:
    """A kind of data set, by the word of `bench data check`.

    `protocol` names the published set it is held against; `overrides` are as in `--set`.
    """

    name: str
    protocol: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """What a task is.

    `version` rises whenever its numbers would move for equal weights, protocol and data. `remark` is for its
    help; `unpublished` says why no published row is of the default protocol, where there is none.
    """

    name: str
    version: int
    summary: str
    layouts: tuple[Layout, ...]
    engine: str
    metrics: tuple[MetricSpec, ...]
    main_metric: str
    default_protocol: str
    source: str
    remark: str = ""
    unpublished: str = ""


@dataclass(frozen=True)
class Job:
    """One trial, handed to an engine.

    Args:
        protocol: As it will be run, substitutions made.
        data: What the task read; the engine and the task know its type.
        weights: The backbone, or None for random initialisation.
        measure: Makes numbers of what a detector found on the test split.
        card: The weights' card.
        seed: Of the trial.
        identity: The protocol identity, which a checkpoint to resume must share.
        run_dir: Where configs, checkpoints and logs of this trial go.
        cache_dir: Where features are kept that several trials can share.
        num_devices: Accelerators, or processes on a machine without one.
        resume: Go on from the newest checkpoint in `run_dir`.
    """

    protocol: TransferProtocol
    data: Any
    measure: Callable[[Any], Result]
    weights: Weights | None
    card: Card
    seed: int
    identity: str
    run_dir: Path
    cache_dir: Path
    num_devices: int = 1
    resume: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a trial will take; each figure is rough and says of what it was made.

    Attributes:
        memory_bytes: Of one device at its fullest.
        memory_by_accumulation: The same, were the batch taken in so many parts.
        device_bytes: What a device has for tensors, or None for a CPU.
        train_seconds, test_seconds: Of one trial, input not counted.
        disk_bytes: In the run folder at its fullest.
        basis: What was measured or counted, for a person.
    """

    memory_bytes: int
    memory_by_accumulation: dict[int, int]
    device_bytes: int | None
    train_seconds: float
    test_seconds: float
    disk_bytes: int
    basis: str


@dataclass(frozen=True)
class Output:
    """What an engine brings back.

    Args:
        metrics: In percent.
        details: Facts for the record.
        predictions: The file of what was predicted and what is there, to be kept beside the record, or None.
        earlier_seconds: Spent before a resume.
        stopped_by: A signal that came too late to stop this trial; no other is to be started.
    """

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    predictions: Attachment | None = None
    earlier_seconds: float = 0.0
    stopped_by: str = ""


class Task(ABC):
    """One transfer task. It never imports an engine.

    A task knows the types of its own protocol and data, so its methods are given `Any`.
    """

    spec: TaskSpec

    @abstractmethod
    def load_protocol(self, path: Path, overrides: tuple[str, ...]) -> TransferProtocol:
        """The checked protocol of a config file. Raises ConfigError."""

    @abstractmethod
    def check_input(self, spec: InputSpec) -> None:
        """Refuse an input spec that the engine cannot serve. Raises WeightsError."""

    @abstractmethod
    def load_data(self, root: Path, protocol: Any) -> Any:
        """Read and check the data before anything trains.

        Every pixel, but for the image folders of classification: a million of them would take hours, and
        `bench data check images` does that. Raises DataError with every problem.
        """

    @abstractmethod
    def stamp_data(self, data: Any) -> DataStamp:
        """What a record says of the data."""

    @abstractmethod
    def data_departures(self, data: Any, protocol: Any) -> tuple[str, ...]:
        """In what this differs from the published data set, as far as can be told."""

    @abstractmethod
    def measure(self, data: Any, found: Any, protocol: Any) -> Result:
        """The numbers of a test, and the file to keep.

        Args:
            data: From `load_data`.
            found: What the engine brings back of the test split.
            protocol: As it was run.
        """

    @abstractmethod
    def draw(self, data: Any, kept: bytes, sha256: str, where: str) -> list[Tile]:
        """Pictures of test images with what is there and what was found.

        Args:
            data: From `load_data`.
            kept: The file that `measure` gave to be kept.
            sha256: Of its content, from the record.
            where: Its name, for messages.

        Raises:
            DataError: damaged, not the file that the record means, or an image cannot be read.
        """

    @abstractmethod
    def embedded_data(self, root: Path) -> Path:
        """Where the task's layout lies in an embedded data set generated at `root`."""


TASKS: Registry[Task] = Registry("task", "transfer.tasks", Task)  # type: ignore[type-abstract]
