"""Feeds the detector: Detectron2's own mapper and transforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from PIL.Image import DecompressionBombError

from bench.core.errors import DataError
from transfer.adapters.detectron2_config import MaskFormat
from transfer.api import Job
from transfer.data.coco import CocoDataset
from transfer.data.detection import DetectedObject, DetectionDataset, DetectionImage
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.feed import Views, batches, feed
from transfer.protocols.detection import DetectionProtocol

load_detectron2()

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetFromList, DatasetMapper  # noqa: E402
from detectron2.data.detection_utils import SizeMismatchError  # noqa: E402
from detectron2.structures import BoxMode  # noqa: E402


def detection_data(job: Job) -> DetectionDataset:
    """The data of a job of this engine."""
    if not isinstance(job.data, DetectionDataset):
        raise TypeError(f"expected a DetectionDataset, got {type(job.data).__name__}")
    return job.data


def detection_protocol(job: Job) -> DetectionProtocol:
    """The protocol of a job of this engine."""
    if not isinstance(job.protocol, DetectionProtocol):
        raise TypeError(f"expected a DetectionProtocol, got {type(job.protocol).__name__}")
    return job.protocol


def mask_format(data: DetectionDataset) -> MaskFormat:
    """`polygon`, unless an object that is trained on has none."""
    return "bitmask" if isinstance(data, CocoDataset) and data.has_run_lengths else "polygon"


def to_dicts(images: Sequence[DetectionImage], *, with_objects: bool) -> list[dict[str, Any]]:
    """Detectron2's dataset dicts; boxes are edges, from the image's corner.

    Images without objects, or with crowds alone, are left out where objects are asked for.

    Source:
        facebookresearch/detectron2 `data/build.py`, filter_images_with_only_crowd_annotations; its mapper
        leaves out crowds and empty boxes.
    """
    dicts = []
    for image in images:
        if with_objects and not image.is_trained_on:
            continue
        entry: dict[str, Any] = {
            "file_name": str(image.path),
            "image_id": image.image_id,
            "height": image.height,
            "width": image.width,
        }
        if with_objects:
            entry["annotations"] = [_annotation(item) for item in image.objects if not item.is_crowd]
        dicts.append(entry)
    return dicts


def _annotation(item: DetectedObject) -> dict[str, Any]:
    annotation = {
        "category_id": item.class_index,
        "bbox": list(item.edges),
        "bbox_mode": BoxMode.XYXY_ABS,
    }
    if item.segmentation is not None:
        annotation["segmentation"] = item.segmentation
    return annotation


def map_image(mapper: DatasetMapper, entry: dict[str, Any]) -> dict[str, Any]:
    """One image as the detector takes it.

    Raises:
        DataError: the image cannot be decoded or is not of the size its annotation says.
    """
    try:
        mapped: dict[str, Any] = mapper(entry)
    except (OSError, SyntaxError, ValueError, DecompressionBombError, SizeMismatchError) as error:
        # SyntaxError is what Pillow raises for some broken PNG files.
        raise DataError(f"{entry['file_name']}: cannot be read as an image: {error}") from error
    return mapped


def train_loader(
    cfg: CfgNode,
    dicts: list[dict[str, Any]],
    *,
    seed: int,
    start: int,
    rank: int,
    num_processes: int,
    num_workers: int,
) -> Iterator[list[dict[str, Any]]]:
    """Mapped batches of this process from iteration `start` on, without end.

    Raises:
        DataError: an image cannot be read; when its batch comes.
    """
    shapes = [(entry["width"], entry["height"]) for entry in dicts]
    source = batches(
        shapes,
        seed=seed,
        images_per_batch=cfg.SOLVER.IMS_PER_BATCH,
        group=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        start=start,
    )
    # Packed into one buffer: of many small objects each worker would soon have a copy, whose counters of
    # references it writes to.
    entries = DatasetFromList(dicts, copy=False, serialize=True)
    views = Views(entries, partial(map_image, DatasetMapper(cfg, is_train=True)), seed)
    return feed(views, source, rank=rank, num_processes=num_processes, num_workers=num_workers)
