"""Semantic segmentation: the backbone, perhaps dilated, under a decode head, fine-tuned on label maps.

One task for VOC, Cityscapes, ADE20K and NYU-v2; the protocol says which. The backbone is the plain ResNet-50
that checkpoints are of, never ResNetV1c, whose stem none of them has. Any folder of images and label maps can
stand in; its record is then `custom`.

Source:
    open-mmlab/mmselfsup 0.x `configs/benchmarks/mmsegmentation`; CVMI-Lab/SlotCon `transfer/segmentation`;
    open-mmlab/mmsegmentation `configs/_base_`.
    Differs: data order and augmentation are drawn from (seed, iteration, slot) and not from running
    generators, so that a resumed run is the run that was not stopped. mIoU is the mean over the classes that
    are in the truth of the test split, in full precision; MMSegmentation's own number is in the record's
    details. Both are equal to its two decimals where every class is in the truth.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.log import progress
from bench.core.records import DataStamp
from bench.images.sheet import Tile
from transfer.adapters.mmseg_config import check_input
from transfer.api import Layout, MetricSpec, Task, TaskSpec
from transfer.data.label_set import label_departures, read_segmentation
from transfer.data.segmentation import SegmentationDataset
from transfer.metrics.confusion import LabelTest
from transfer.metrics.label_result import measure, unpack
from transfer.metrics.result import Result
from transfer.protocols.segmentation import SegmentationProtocol
from transfer.show_labels import label_tiles


class SemanticSegmentation(Task):
    """The task `semseg`."""

    spec = TaskSpec(
        name="semseg",
        version=1,
        summary="Semantic segmentation in MMSegmentation: VOC, Cityscapes, ADE20K, NYU-v2.",
        layouts=(
            Layout("voc-seg", "voc12aug-fcn-d8"),
            Layout("cityscapes", "cityscapes-fcn-d8-769-40k"),
            Layout("ade20k", "ade20k-fcn-d8-80k"),
            Layout("nyuv2", "nyuv2-fcn-40k"),
            Layout("folder", "voc12aug-fcn-d8", ("data.layout=folder",)),
        ),
        engine="mmseg",
        metrics=(
            MetricSpec("mIoU", "mean intersection over union of the classes in the truth"),
            MetricSpec("pixel_accuracy", "pixels that are right"),
            MetricSpec("mean_accuracy", "mean over these classes of their pixels that are right"),
        ),
        main_metric="mIoU",
        default_protocol="voc12aug-fcn-d8",
        source="open-mmlab/mmselfsup configs/benchmarks/mmsegmentation/voc12aug/",
        remark=(
            "The protocol says the data: voc12aug-*, cityscapes-*, ade20k-*, nyuv2-*; their results join the "
            "published rows of voc-seg, cityscapes-seg, ade20k-seg and nyu-seg. Published rows of "
            "ResNetV1c, a network with another stem, have slugs that end in -v1c and never join. Of the "
            "recipes of ade20k-* and nyuv2-*, a part or all is ours: their files say which."
        ),
    )

    def load_protocol(self, path: Path, overrides: tuple[str, ...]) -> SegmentationProtocol:
        """A `SegmentationProtocol` from TOML."""
        return load_config(SegmentationProtocol, path, overrides)

    def check_input(self, spec: InputSpec) -> None:
        """MMSegmentation's ResNet pads as PyTorch does."""
        check_input(spec)

    def load_data(self, root: Path, protocol: SegmentationProtocol) -> SegmentationDataset:
        """Every image and every label read, every fault named."""
        with progress("Checking the data", 1) as bar:

            def update(done: int, total: int) -> None:
                bar.update(done, total=total)

            return read_segmentation(root, layout=protocol.data.layout, progress=update)

    def stamp_data(self, data: SegmentationDataset) -> DataStamp:
        """Name, fingerprint, counts, classes and notes of the set."""
        return data.stamp()

    def data_departures(self, data: SegmentationDataset, protocol: SegmentationProtocol) -> tuple[str, ...]:
        """Another layout, other classes, another number of images in a split."""
        return label_departures(data, protocol.data)

    def measure(self, data: SegmentationDataset, found: LabelTest, protocol: SegmentationProtocol) -> Result:
        """Mean IoU by the protocol's rule, and pixel accuracy."""
        return measure(found, data.classes, protocol.metric.miou_rule)

    def draw(self, data: SegmentationDataset, kept: bytes, sha256: str, where: str) -> list[Tile]:
        """The label maps that are there, and those that were found."""
        return label_tiles(data.test, unpack(kept, sha256, where))

    def embedded_data(self, root: Path) -> Path:
        """The VOC folder of the embedded set, whose objects have label maps, too."""
        return root / "voc"


ENTRY = SemanticSegmentation()
