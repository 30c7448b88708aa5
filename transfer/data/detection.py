"""What a checked set for detection is, whatever layout it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from transfer.data.dataset import DataImage, TransferDataset

Edges = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels from the image's upper left corner: where a box's sides lie."""


class DetectedObject(Protocol):
    """One object of an image."""

    @property
    def class_index(self) -> int:
        """Index into the set's classes."""

    @property
    def edges(self) -> Edges:
        """Its box."""

    @property
    def is_crowd(self) -> bool:
        """Many of one class under one outline, which no detector is trained on."""

    @property
    def segmentation(self) -> Any:
        """Its outline as COCO's JSON has it, polygons or run lengths; None in a set of boxes."""


@dataclass(frozen=True, eq=False)
class DetectionImage(DataImage):
    """One image with its objects."""

    objects: tuple[Any, ...]

    @property
    def is_trained_on(self) -> bool:
        """Whether training shows it; Detectron2 leaves out images without objects, or with crowds alone."""
        return any(not item.is_crowd for item in self.objects)


@dataclass(frozen=True)
class DetectionDataset(TransferDataset[DetectionImage]):
    """A checked set; `train_names` and `test_name` are how the engine's config and tools call its splits."""

    train_names: tuple[str, ...]
    test_name: str
