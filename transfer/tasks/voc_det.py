"""VOC detection: Faster R-CNN fine-tuned on VOC07+12 trainval, tested on VOC07 test.

In the published protocol, R50-C4, the backbone's stem and first four stages feed the RPN and its last stage
is the head's, so every one of its tensors is trained and counts. `voc0712-r50fpn-24k`, with a pyramid, is
ours. Any set in VOC layout can stand in; its record is then `custom`.

Source:
    He et al. 2020, Momentum Contrast, section 4.2.1; facebookresearch/moco `detection/`.
    Differs: data order and augmentation are drawn from (seed, iteration, slot) and not from one running
    generator, so that a resumed run is the run that was not stopped. Of detections with equal scores, the
    headline number takes them by image id; by Detectron2's order of them it is in the record's details.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.records import DataStamp
from bench.images.sheet import Tile
from transfer.adapters.detectron2_config import check_input
from transfer.api import Layout, MetricSpec, Task, TaskSpec
from transfer.data.dataset import split_departures
from transfer.data.voc import VOC_CLASSES, VocDataset, absent_classes, read_voc, truth_of
from transfer.metrics.detections import Detections, unpack
from transfer.metrics.result import Result
from transfer.metrics.voc_result import measure
from transfer.protocols.voc import VocProtocol
from transfer.show_boxes import box_tiles


class VocDetection(Task):
    """The task `voc-det`."""

    spec = TaskSpec(
        name="voc-det",
        version=2,
        summary="Object detection, Faster R-CNN in Detectron2, PASCAL VOC.",
        layouts=(Layout("voc", "voc0712-r50c4-24k"),),
        engine="detectron2",
        metrics=(
            MetricSpec("AP", "mean AP over IoU 0.50:0.05:0.95"),
            MetricSpec("AP50", "AP at IoU 0.50"),
            MetricSpec("AP75", "AP at IoU 0.75"),
        ),
        main_metric="AP50",
        default_protocol="voc0712-r50c4-24k",
        source="facebookresearch/moco detection/configs/pascal_voc_R_50_C4_24k_moco.yaml",
    )

    def load_protocol(self, path: Path, overrides: tuple[str, ...]) -> VocProtocol:
        """A `VocProtocol` from TOML."""
        return load_config(VocProtocol, path, overrides)

    def check_input(self, spec: InputSpec) -> None:
        """Detectron2's ResNet pads as PyTorch does."""
        check_input(spec)

    def load_data(self, root: Path, protocol: VocProtocol) -> VocDataset:
        """Every annotation and image read, every fault named; classes the AP rule cannot take, too."""
        with progress("Checking the data", 1) as bar:

            def update(done: int, total: int) -> None:
                bar.update(done, total=total)

            data = read_voc(root, train=protocol.data.train, test=protocol.data.test, progress=update)
        absent = absent_classes(data.classes, data.test)
        if protocol.metric.ap_rule == "area" and absent:
            raise DataError(
                f"{root}: no test object of {', '.join(absent)}, where the area rule has no value; "
                "metric.ap_rule voc07_11point counts such a class as 0"
            )
        return data

    def stamp_data(self, data: VocDataset) -> DataStamp:
        """Name, fingerprint, counts, classes and notes of the set."""
        return data.stamp()

    def data_departures(self, data: VocDataset, protocol: VocProtocol) -> tuple[str, ...]:
        """Other splits, other classes, another number of images in one of them."""
        splits = (*(split.label for split in data.train_splits), data.test_split.label)
        return split_departures(data, splits, VOC_CLASSES, protocol.data)

    def measure(self, data: VocDataset, found: Detections, protocol: VocProtocol) -> Result:
        """AP by the protocol's rule."""
        return measure(truth_of(data.test, data.classes), found, protocol.metric.ap_rule)

    def draw(self, data: VocDataset, kept: bytes, sha256: str, where: str) -> list[Tile]:
        """Boxes that are there, and those that were found."""
        return box_tiles(data.test, *unpack(kept, sha256, where))

    def embedded_data(self, root: Path) -> Path:
        """The VOC folder of the embedded set."""
        return root / "voc"


ENTRY = VocDetection()
