"""What all tasks of image classification share: the data, accuracies, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.records import DataStamp
from bench.images.sheet import Tile
from transfer.api import MetricSpec, Task
from transfer.data.image_classes import (
    ClassificationDataset,
    classification_departures,
    read_classification,
)
from transfer.metrics.accuracy import ClassTest, measure, unpack
from transfer.metrics.result import Result
from transfer.protocols.transfer import TransferProtocol
from transfer.show_classes import class_tiles

ENGINE = "torchvision"
"""The room of torchvision's ResNet-50."""

ACCURACIES = (
    MetricSpec("top1", "images whose class comes first"),
    MetricSpec("top5", "images whose class is among the first five", may_be_missing=True),
    MetricSpec("mean_per_class", "mean over classes of their top1"),
)


class ClassificationTask(Task):
    """A task on class folders; a subclass says its spec and the kind of its protocols."""

    protocol: ClassVar[type[TransferProtocol]]

    def load_protocol(self, path: Path, overrides: tuple[str, ...]) -> TransferProtocol:
        """The task's kind of protocol from TOML."""
        return load_config(self.protocol, path, overrides)

    def check_input(self, spec: InputSpec) -> None:
        """Torchvision's network is built as the card says; nothing is refused."""

    def load_data(self, root: Path, protocol: Any) -> ClassificationDataset:
        """Every name, size and class; no pixel: an image that cannot be read stops the trial when met."""
        return read_classification(root, protocol.data)

    def stamp_data(self, data: ClassificationDataset) -> DataStamp:
        """Name, fingerprint, counts, classes and notes of the set."""
        return data.stamp()

    def data_departures(self, data: ClassificationDataset, protocol: Any) -> tuple[str, ...]:
        """Other classes, another number of images, another list."""
        return classification_departures(data, protocol.data)

    def measure(self, data: ClassificationDataset, found: ClassTest, protocol: Any) -> Result:
        """Top-1, top-5 and the mean over classes."""
        return measure(found, data.classes)

    def draw(self, data: ClassificationDataset, kept: bytes, sha256: str, where: str) -> list[Tile]:
        """Test images with their class, and the one that was found."""
        return class_tiles(data.test, unpack(kept, sha256, where))

    def embedded_data(self, root: Path) -> Path:
        """The class folders of the embedded set."""
        return root / "folder"
