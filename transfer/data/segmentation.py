"""What a checked set for semantic segmentation is, whatever layout it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transfer.data.dataset import DataImage, TransferDataset

IGNORED = 255
"""The label of pixels that are neither trained on nor counted, in every layout."""


@dataclass(frozen=True)
class Pairs:
    """Where images and label maps of one kind lie; both have the image's id in their names.

    Attributes:
        image_dir, label_dir: An id may have folders of its own below them.
        image_suffix, label_suffix: What follows the id, `_leftImg8bit.png`.
    """

    image_dir: Path
    label_dir: Path
    image_suffix: str
    label_suffix: str


@dataclass(frozen=True, eq=False)
class SegmentationImage(DataImage):
    """One image with its label map, of the same size; `values` are those in the map's file."""

    pairs: Pairs
    values: frozenset[int]

    @property
    def label_path(self) -> Path:
        """Its label map: one channel of 8 bits."""
        return self.pairs.label_dir / f"{self.image_id}{self.pairs.label_suffix}"


@dataclass(frozen=True)
class SegmentationDataset(TransferDataset[SegmentationImage]):
    """A checked set.

    Attributes:
        layout: The word by which `bench data check` knows it.
        zero_is_ignored: 0 in a label map is no class but ignored, and 1 is the first class (ADE20K, NYU-v2).
    """

    layout: str
    zero_is_ignored: bool
