"""Made-up truth and detections, and the folder and calls by which Detectron2's own evaluator takes them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.engines.detectron2.repairs import load_detectron2
from transfer.metrics.detections import Detections, Truth

OBJECT = (
    "<object><name>{}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>{:d}</difficult>"
    "<bndbox><xmin>{:.0f}</xmin><ymin>{:.0f}</ymin><xmax>{:.0f}</xmax><ymax>{:.0f}</ymax></bndbox></object>"
)
SIDE_PX = 500


def make_boxes(
    seed: int,
    *,
    num_images: int,
    num_classes: int,
    num_objects: int,
    num_detections: int,
    num_score_digits: int = 3,
) -> tuple[Truth, Detections]:
    """A third of the detections lie near an object of their class; every seventh object is difficult.

    Args:
        seed: Equal seeds, equal boxes.
        num_images: Of SIDE_PX pixels.
        num_classes: Named `class00`, ...
        num_objects: Of the truth.
        num_detections: Of the detector; of each image as many, give or take one.
        num_score_digits: The fewer, the more scores are equal.
    """
    random = np.random.default_rng(seed)
    corner = random.integers(1, SIDE_PX - 60, (num_objects, 2))
    size = random.integers(5, 300, (num_objects, 2))
    truth = Truth(
        image_ids=tuple(f"{index:06}" for index in range(num_images)),
        classes=tuple(f"class{index:02}" for index in range(num_classes)),
        image=np.sort(random.integers(0, num_images, num_objects)),
        label=random.integers(0, num_classes, num_objects),
        boxes=np.concatenate([corner, np.minimum(corner + size, SIDE_PX)], axis=1).astype(np.float64),
        difficult=random.random(num_objects) < 1 / 7,
    )
    image = np.sort(np.arange(num_detections) % num_images)
    label = random.integers(0, num_classes, num_detections)
    start = random.random((num_detections, 2)) * (SIDE_PX - 10)
    boxes = np.concatenate([start, start + 1 + random.random((num_detections, 2)) * 200], axis=1)
    of_image = np.searchsorted(truth.image, np.arange(num_images + 1))
    for index in np.flatnonzero(random.random(num_detections) < 1 / 3).tolist():
        first, last = of_image[image[index]], of_image[image[index] + 1]
        if first < last:
            near = int(random.integers(first, last))
            label[index] = truth.label[near]
            shift = random.normal(0, 0.06, 4) * np.tile(truth.boxes[near, 2:] - truth.boxes[near, :2], 2)
            boxes[index] = truth.boxes[near] - (1, 1, 0, 0) + shift
    scores = np.round(random.random(num_detections), num_score_digits)
    return truth, Detections(image, label, scores.astype(np.float32), boxes.astype(np.float32))


def write_folder(root: Path, truth: Truth) -> None:
    """The truth as a folder in VOC layout with a split `test`; no pictures."""
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{name}\n" for name in truth.image_ids))
    objects: list[list[str]] = [[] for _ in truth.image_ids]
    for image, label, box, difficult in zip(
        truth.image.tolist(), truth.label.tolist(), truth.boxes, truth.difficult.tolist(), strict=True
    ):
        objects[image].append(OBJECT.format(truth.classes[label], difficult, *box))
    for name, lines in zip(truth.image_ids, objects, strict=True):
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><folder>VOC2007</folder><filename>{name}.jpg</filename><source><database>made"
            f"</database></source><size><width>{SIDE_PX}</width><height>{SIDE_PX}</height><depth>3</depth>"
            f"</size><segmented>0</segmented>{''.join(lines)}</annotation>"
        )


def detectron2_evaluator(root: Path, classes: Sequence[str], year: int) -> Any:
    """Detectron2's own evaluator of the split `test` of a folder."""
    load_detectron2()
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation import PascalVOCDetectionEvaluator

    name = f"made-{uuid.uuid4().hex}"
    MetadataCatalog.get(name).set(dirname=str(root), split="test", year=year, thing_classes=list(classes))
    evaluator = PascalVOCDetectionEvaluator(name)
    evaluator.reset()
    return evaluator


def hand_over(evaluator: Any, truth: Truth, detections: Detections) -> None:
    """Give the detections to Detectron2's evaluator, image by image, as its trainer does."""
    import torch
    from detectron2.structures import Boxes, Instances

    bounds = np.searchsorted(detections.image, np.arange(len(truth.image_ids) + 1))
    for index, name in enumerate(truth.image_ids):
        mine = slice(bounds[index], bounds[index + 1])
        found = Instances((SIDE_PX, SIDE_PX))
        found.pred_boxes = Boxes(torch.from_numpy(detections.boxes[mine].copy()))
        found.scores = torch.from_numpy(detections.scores[mine])
        found.pred_classes = torch.from_numpy(detections.label[mine])
        evaluator.process([{"image_id": name}], [{"instances": found}])
