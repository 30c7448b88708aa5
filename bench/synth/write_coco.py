"""Scenes as COCO instances: polygons for objects, run lengths for crowds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.core.atomic import StagedFolder
from bench.synth.layout import CLASS_NAMES
from bench.synth.outline import polygons, run_lengths
from bench.synth.scene import Scene


def annotations_of(scene: Scene) -> list[dict[str, Any]]:
    """COCO's annotations of one scene, without `id` and `image_id`; areas and boxes in whole pixels."""
    height, width = scene.labels.shape
    found = []
    for item in scene.objects:
        left, top, right, bottom = item.box
        outline: Any = polygons(item.mask)
        if item.crowd:
            outline = {"size": [height, width], "counts": run_lengths(item.mask)}
        found.append(
            {
                "category_id": item.class_index + 1,
                "bbox": [left, top, right - left + 1, bottom - top + 1],
                "area": int(np.count_nonzero(item.mask)),
                "iscrowd": int(item.crowd),
                "segmentation": outline,
            }
        )
    return found


def instances_json(
    split: str, image_ids: Sequence[str], annotations: Sequence[list[dict[str, Any]]], size_px: int
) -> bytes:
    """The `instances_<split>.json` of a split.

    Args:
        split: For the description.
        image_ids: Numbers as text, which are the names of the image files too.
        annotations: Those of each image, from `annotations_of`.
        size_px: Side of all images.
    """
    images = [
        {"id": int(image_id), "file_name": f"{image_id}.jpg", "width": size_px, "height": size_px}
        for image_id in image_ids
    ]
    flat = [
        {"image_id": int(image_id), **annotation}
        for image_id, of_image in zip(image_ids, annotations, strict=True)
        for annotation in of_image
    ]
    value = {
        "info": {"description": f"transfer-bench synth, {split}", "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": [{"id": number, **item} for number, item in enumerate(flat, start=1)],
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"}
            for number, name in enumerate(CLASS_NAMES, start=1)
        ],
    }
    return (json.dumps(value, separators=(",", ":")) + "\n").encode()


def write_lists(
    folder: StagedFolder,
    splits: Mapping[str, tuple[Sequence[str], Sequence[list[dict[str, Any]]]]],
    size_px: int,
) -> None:
    """Write `coco/annotations/instances_<split>.json` for each split, and `coco/classes.txt`."""
    for split, (image_ids, found) in splits.items():
        data = instances_json(split, image_ids, found, size_px)
        folder.write(f"coco/annotations/instances_{split}.json", data)
    folder.write("coco/classes.txt", "".join(f"{name}\n" for name in CLASS_NAMES).encode())
