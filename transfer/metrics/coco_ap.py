"""COCO's average precision of boxes and of masks, by hotcoco or by the reference.

Both are given the same arrays, and give the same precisions bit for bit (tests/transfer/metrics).

Source:
    Lin et al. 2014, Microsoft COCO; cocodataset/cocoapi `PythonAPI/pycocotools/cocoeval.py`.
    Differs: annotations are numbered anew from 1, since the reference takes an object of id 0 for one that
    nobody found. Masks are given without boxes, as facebookresearch/detectron2
    `evaluation/coco_evaluation.py` does, so that the size of a detection is that of its mask.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transfer.metrics.detections import Detections, Float64
from transfer.metrics.instances import InstanceTruth

Kind = Literal["bbox", "segm"]
Evaluator = Literal["hotcoco", "pycocotools"]

SIZES = ("all", "small", "medium", "large")
"""Areas in pixels: any, up to 32 x 32, up to 96 x 96, and above."""

_MAX_DETECTIONS_100 = 2
"""Index of the reference's third limit, 100 detections a class and image."""


@dataclass(frozen=True)
class CocoAP:
    """Precisions of one kind.

    Attributes:
        precision: [threshold, recall, class, size] of 0 to 1, -1 where a class has no object of a size.
    """

    precision: Float64

    def mean(
        self, *, threshold: int | None = None, size: str = "all", label: int | None = None
    ) -> float | None:
        """Average precision in percent; None where there is nothing to take a mean over.

        Args:
            threshold: Index of an IoU of 0.50, 0.55 ... 0.95, or all of them.
            size: One of `SIZES`.
            label: One class, or all that are there.
        """
        values = self.precision[..., SIZES.index(size)]
        if threshold is not None:
            values = values[threshold : threshold + 1]
        if label is not None:
            values = values[:, :, label : label + 1]
        # In the reference's order of axes: a sum of the same numbers otherwise may round otherwise.
        values = values[values > -1]
        return float(np.mean(values)) * 100 if len(values) else None


def coco_ap(
    truth: InstanceTruth, found: Detections, kind: Kind, *, evaluator: Evaluator = "hotcoco"
) -> CocoAP:
    """All precisions of a test split.

    Args:
        truth: Of the whole split.
        found: On its images, with masks for `segm`.
        kind: What is held against what.
        evaluator: Who computes it.
    """
    return CocoAP(np.ascontiguousarray(_EVALUATORS[evaluator](truth, found, kind)[..., _MAX_DETECTIONS_100]))


def _packed(masks: Any, image: np.ndarray, sizes: np.ndarray, *, as_text: bool) -> list[dict[str, Any]]:
    return [
        {"size": sizes[index].tolist(), "counts": mask.decode("ascii") if as_text else mask}
        for index, mask in zip(image, masks, strict=True)
    ]


def _dataset(truth: InstanceTruth, *, as_text: bool) -> dict[str, Any]:
    """As COCO's JSON has it; images and classes are called by their index, from 1 on."""
    outlines = _packed(truth.masks, truth.image, truth.sizes, as_text=as_text)
    columns = (truth.image, truth.label, truth.boxes, truth.area, truth.crowd, outlines)
    return {
        "images": [
            {"id": number, "height": int(height), "width": int(width), "file_name": str(number)}
            for number, (height, width) in enumerate(truth.sizes, start=1)
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(truth.classes, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": int(image) + 1,
                "category_id": int(label) + 1,
                "bbox": box.tolist(),
                "area": float(area),
                "iscrowd": int(crowd),
                "segmentation": outline,
            }
            for number, (image, label, box, area, crowd, outline) in enumerate(
                zip(*columns, strict=True), start=1
            )
        ],
    }


def _results(truth: InstanceTruth, found: Detections, kind: Kind, *, as_text: bool) -> list[dict[str, Any]]:
    boxes = found.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]  # in single precision, as Detectron2 does
    rows: list[dict[str, Any]] = [
        {"image_id": int(image) + 1, "category_id": int(label) + 1, "score": float(score)}
        for image, label, score in zip(found.image, found.label, found.scores, strict=True)
    ]
    if kind == "bbox":
        for row, box in zip(rows, boxes.tolist(), strict=True):
            row["bbox"] = box
        return rows
    if found.masks is None:
        raise ValueError("detections have no masks")
    for row, outline in zip(
        rows, _packed(found.masks, found.image, truth.sizes, as_text=as_text), strict=True
    ):
        row["segmentation"] = outline
    return rows


def _hotcoco(truth: InstanceTruth, found: Detections, kind: Kind) -> np.ndarray:
    import hotcoco

    there = hotcoco.COCO(_dataset(truth, as_text=True))
    run = hotcoco.COCOeval(there, there.load_res(_results(truth, found, kind, as_text=True)), kind)
    run.evaluate()
    run.accumulate()
    accumulated: Any = run.eval
    precision: np.ndarray = accumulated["precision"]
    return precision


def _pycocotools(truth: InstanceTruth, found: Detections, kind: Kind) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = _dataset(truth, as_text=False)
        there.createIndex()
        results = _results(truth, found, kind, as_text=False)
        # It looks at the first result to learn of which kind they are.
        mine = there.loadRes(results) if results else COCO()
        run = COCOeval(there, mine, kind)
        run.evaluate()
        run.accumulate()
    precision: np.ndarray = run.eval["precision"]
    return precision


_EVALUATORS: dict[Evaluator, Callable[[InstanceTruth, Detections, Kind], np.ndarray]] = {
    "hotcoco": _hotcoco,
    "pycocotools": _pycocotools,
}
