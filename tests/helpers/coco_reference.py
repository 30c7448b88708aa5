"""Made-up instances as COCO's JSON, for the reference and Detectron2's evaluator; without code under test."""

from __future__ import annotations

import contextlib
import io
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from transfer.engines.detectron2.repairs import load_detectron2
from transfer.metrics.coco_ap import Kind
from transfer.metrics.detections import Detections
from transfer.metrics.instances import InstanceTruth


def json_ids(truth: InstanceTruth) -> list[int]:
    """The ids of classes in a JSON file, with gaps as COCO's."""
    return [3 * label + 2 for label in range(len(truth.classes))]


def json_dataset(truth: InstanceTruth) -> dict[str, Any]:
    """An annotation file with other ids, the images not in their order and the objects not by image.

    What matters is kept: the order of an image's objects.
    """
    images, annotations = [], []
    places: dict[int, int] = {}
    for row in range(len(truth.image)):
        index = int(truth.image[row])
        place = places[index] = places.get(index, 0) + 1
        annotation = {
            "id": 7000 - row,
            "image_id": truth.image_ids[index],
            "category_id": json_ids(truth)[truth.label[row]],
            "iscrowd": int(truth.crowd[row]),
            "area": float(truth.area[row]),
            "bbox": [float(value) for value in truth.boxes[row]],
            "segmentation": {
                "size": [int(side) for side in truth.sizes[index]],
                "counts": truth.masks[row].decode(),
            },
        }
        annotations.append((place, annotation))
    for index, image_id in enumerate(truth.image_ids):
        height, width = truth.sizes[index].tolist()
        images.append({"id": image_id, "height": height, "width": width, "file_name": f"{image_id}.jpg"})
    return {
        "images": images[::-1],
        "annotations": [annotation for _, annotation in sorted(annotations, key=lambda item: item[0])],
        "categories": [
            {"id": number, "name": name} for number, name in zip(json_ids(truth), truth.classes, strict=True)
        ],
    }


def json_results(truth: InstanceTruth, found: Detections, kind: Kind) -> list[dict[str, Any]]:
    """As Detectron2's `instances_to_coco_json` writes them and its evaluator hands them to the reference."""
    import torch

    load_detectron2()
    from detectron2.structures import BoxMode

    boxes = BoxMode.convert(torch.from_numpy(found.boxes), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    scores = torch.from_numpy(found.scores).tolist()
    assert found.masks is not None
    results: list[dict[str, Any]] = []
    for row, index in enumerate(found.image.tolist()):
        mask = {"size": truth.sizes[index].tolist(), "counts": found.masks[row].decode()}
        result = {
            "image_id": truth.image_ids[index],
            "category_id": json_ids(truth)[found.label[row]],
            "score": scores[row],
        }
        results.append(result | ({"bbox": boxes[row]} if kind == "bbox" else {"segmentation": mask}))
    return results


def reference(dataset: dict[str, Any], results: list[dict[str, Any]], kind: Kind) -> Any:
    """A finished run of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = dataset
        there.createIndex()
        run = COCOeval(there, there.loadRes(results), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def detectron2_evaluator(folder: Path, truth: InstanceTruth) -> Any:
    """Detectron2's own evaluator with the reference under it."""
    load_detectron2()
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation.coco_evaluation import COCOEvaluator

    file = folder / "instances.json"
    file.write_text(json.dumps(json_dataset(truth)))
    name = f"made-{uuid.uuid4().hex}"
    MetadataCatalog.get(name).set(
        json_file=str(file),
        thing_classes=list(truth.classes),
        thing_dataset_id_to_contiguous_id={number: label for label, number in enumerate(json_ids(truth))},
    )
    evaluator = COCOEvaluator(name, tasks=("bbox", "segm"), distributed=False, use_fast_impl=False)
    evaluator.reset()
    return evaluator


def hand_over(evaluator: Any, truth: InstanceTruth, found: Detections) -> None:
    """Give the detections to it image by image, with drawn masks, as its trainer does."""
    import torch
    from detectron2.structures import Boxes, Instances
    from pycocotools import mask as coco_mask

    assert found.masks is not None
    bounds = np.searchsorted(found.image, np.arange(len(truth.image_ids) + 1))
    for index, image_id in enumerate(truth.image_ids):
        mine = slice(bounds[index], bounds[index + 1])
        size = truth.sizes[index].tolist()
        drawn = [
            coco_mask.decode({"size": size, "counts": found.masks[row]})
            for row in range(*mine.indices(10**6))
        ]
        instances = Instances(tuple(size))
        instances.pred_boxes = Boxes(torch.from_numpy(found.boxes[mine].copy()))
        instances.scores = torch.from_numpy(found.scores[mine])
        instances.pred_classes = torch.from_numpy(found.label[mine])
        instances.pred_masks = torch.from_numpy(np.array(drawn, np.bool_).reshape(-1, *size))
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])


def detectron2_metrics(folder: Path, truth: InstanceTruth, found: Detections) -> dict[str, dict[str, float]]:
    """What Detectron2 prints, by `bbox` and `segm`."""
    evaluator = detectron2_evaluator(folder, truth)
    hand_over(evaluator, truth, found)
    with contextlib.redirect_stdout(io.StringIO()):
        metrics: dict[str, dict[str, float]] = evaluator.evaluate()
    return metrics
