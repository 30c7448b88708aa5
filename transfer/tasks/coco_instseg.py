"""COCO instance segmentation: Mask R-CNN fine-tuned on train2017, tested on val2017.

One run gives the boxes' AP (`coco-det` among the published rows) and the masks'. Two families of pyramid
detectors share the name "R50-FPN" in publications and differ by 0.8 box AP for the same weights:
`coco-r50fpn4conv-*` (4conv1fc box head, SyncBN in the heads: InfoMin's table) and `coco-r50fpn-*` (2fc box
head, no norm in the heads: MoCo's). They never share a column. Any set in COCO layout can stand in; its
record is then `custom`.

Source:
    Tian et al. 2020, What Makes for Good Views, and HobbitLong/PyContrast `pycontrast/detection/`; He et al.
    2020, Momentum Contrast, section 4.2.2, and facebookresearch/moco `detection/`.
    Differs: data order and augmentation are drawn from (seed, iteration, slot), so that a resumed run is the
    run that was not stopped. An AP over no object is left out, where the reference prints -1. Objects with
    run lengths for an outline, of which COCO has none, make all be trained on as bit masks.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.log import progress
from bench.core.records import DataStamp
from bench.images.sheet import Tile
from transfer.adapters.detectron2_config import check_input
from transfer.api import Layout, MetricSpec, Task, TaskSpec
from transfer.data.coco import CocoDataset, read_coco, truth_of
from transfer.data.coco_classes import COCO_CLASSES
from transfer.data.dataset import split_departures
from transfer.metrics.coco_result import measure
from transfer.metrics.detections import Detections
from transfer.metrics.instances import unpack
from transfer.metrics.result import Result
from transfer.protocols.coco import CocoProtocol
from transfer.show_boxes import box_tiles


def _metrics(kind: str, what: str) -> tuple[MetricSpec, ...]:
    return (
        MetricSpec(f"{kind}_ap", f"mean AP of {what} over IoU 0.50:0.05:0.95"),
        MetricSpec(f"{kind}_ap50", "at IoU 0.50"),
        MetricSpec(f"{kind}_ap75", "at IoU 0.75"),
        MetricSpec(f"{kind}_ap_small", "of objects up to 32 x 32 px", may_be_missing=True),
        MetricSpec(f"{kind}_ap_medium", "up to 96 x 96 px", may_be_missing=True),
        MetricSpec(f"{kind}_ap_large", "above", may_be_missing=True),
    )


class CocoInstanceSegmentation(Task):
    """The task `coco-instseg`."""

    spec = TaskSpec(
        name="coco-instseg",
        version=1,
        summary="Instance segmentation, Mask R-CNN in Detectron2, COCO.",
        layouts=(Layout("coco", "coco-r50fpn4conv-1x"),),
        engine="detectron2",
        metrics=(*_metrics("mask", "masks"), *_metrics("box", "boxes")),
        main_metric="mask_ap",
        default_protocol="coco-r50fpn4conv-1x",
        source="HobbitLong/PyContrast pycontrast/detection/configs/R_50_FPN_1x_infomin.yaml",
        remark=(
            "coco-r50fpn4conv-* (box head 4conv1fc, SyncBN in the heads: the InfoMin table, PixPro, SlotCon) "
            "and coco-r50fpn-* (box head 2fc: the MoCo paper, DetCo) are both called R50-FPN in print. For "
            "the same supervised weights they differ by 0.8 box AP (39.7 and 38.9 at 1x): never one column."
        ),
    )

    def load_protocol(self, path: Path, overrides: tuple[str, ...]) -> CocoProtocol:
        """A `CocoProtocol` from TOML."""
        return load_config(CocoProtocol, path, overrides)

    def check_input(self, spec: InputSpec) -> None:
        """Detectron2's ResNet pads as PyTorch does."""
        check_input(spec)

    def load_data(self, root: Path, protocol: CocoProtocol) -> CocoDataset:
        """Every annotation and image read, every fault named."""
        with progress("Checking the data", 1) as bar:

            def update(done: int, total: int) -> None:
                bar.update(done, total=total)

            return read_coco(root, train=protocol.data.train, test=protocol.data.test, progress=update)

    def stamp_data(self, data: CocoDataset) -> DataStamp:
        """Name, fingerprint, counts, classes and notes of the set."""
        return data.stamp()

    def data_departures(self, data: CocoDataset, protocol: CocoProtocol) -> tuple[str, ...]:
        """Other splits, other classes, another number of images in one of them."""
        labels = (data.train_split.label, data.test_split.label)
        return split_departures(data, labels, COCO_CLASSES, protocol.data)

    def measure(self, data: CocoDataset, found: Detections, protocol: CocoProtocol) -> Result:
        """COCO's AP of boxes and masks."""
        return measure(truth_of(data.test, data.classes), found, evaluator=protocol.metric.evaluator)

    def draw(self, data: CocoDataset, kept: bytes, sha256: str, where: str) -> list[Tile]:
        """Boxes and masks that are there, and those that were found."""
        return box_tiles(data.test, *unpack(kept, sha256, where))

    def embedded_data(self, root: Path) -> Path:
        """The COCO folder of the embedded set."""
        return root / "coco"


ENTRY = CocoInstanceSegmentation()
