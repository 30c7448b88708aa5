"""Feeds the detector: Detectron2's own mapper and transforms, in an order that is a function of its place.

Every random number of an image's augmentation is drawn from (seed, iteration, slot), so a run resumed at
any iteration sees what the run that was never stopped saw, with any number of workers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import DecompressionBombError
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.core import rng
from bench.core.errors import DataError
from bench.core.signals import end_workers_at_exit, leave_stopping_to_the_parent
from transfer.adapters.detectron2_config import MaskFormat
from transfer.api import Job
from transfer.data.coco import CocoDataset
from transfer.data.detection import DetectedObject, DetectionDataset, DetectionImage
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.protocols.detection import DetectionProtocol

load_detectron2()

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetFromList, DatasetMapper  # noqa: E402
from detectron2.data.detection_utils import SizeMismatchError  # noqa: E402
from detectron2.structures import BoxMode  # noqa: E402

Place = tuple[int, int, int]
"""(iteration, slot in the whole batch, index of the image)."""


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


def batches(
    shapes: list[tuple[int, int]], *, seed: int, images_per_batch: int, group: bool, start: int
) -> Iterator[tuple[int, list[int]]]:
    """The endless sequence of (iteration, image indices), from iteration `start` on.

    Args:
        shapes: (width, height) of every image.
        seed: Of the trial.
        images_per_batch: Images in a batch, over all devices.
        group: Keep wide and tall images in different batches, as Detectron2's aspect ratio grouping.
        start: Earlier batches are drawn and dropped, which costs no image.
    """
    waiting: tuple[list[int], list[int]] = ([], [])
    iteration = 0
    for epoch in itertools.count():
        for index in rng.permutation(seed, epoch, len(shapes)).tolist():
            width, height = shapes[index]
            bucket = waiting[int(group and width <= height)]
            bucket.append(index)
            if len(bucket) == images_per_batch:
                if iteration >= start:
                    yield iteration, list(bucket)
                iteration += 1
                bucket.clear()


class _Places(Sampler[list[Place]]):
    """The share of one process in each batch: every `num_processes`-th slot."""

    def __init__(self, source: Iterator[tuple[int, list[int]]], rank: int, num_processes: int) -> None:
        self._source, self._rank, self._num_processes = source, rank, num_processes

    def __iter__(self) -> Iterator[list[Place]]:
        for iteration, indices in self._source:
            slots = range(self._rank, len(indices), self._num_processes)
            yield [(iteration, slot, indices[slot]) for slot in slots]


class _Mapped(Dataset[dict[str, Any] | DataError]):
    def __init__(self, dicts: list[dict[str, Any]], mapper: DatasetMapper, seed: int) -> None:
        # Packed into one buffer: of many small objects each worker would soon have a copy, whose counters
        # of references it writes to.
        self._dicts = DatasetFromList(dicts, copy=False, serialize=True)
        self._mapper, self._seed = mapper, seed

    def __getitem__(self, place: Place) -> dict[str, Any] | DataError:
        iteration, slot, index = place
        entry = self._dicts[index]
        # Detectron2's transforms draw from NumPy's global generator: give it the numbers of this place.
        np.random.seed(rng.derive(self._seed, "view", iteration, slot) % 2**32)
        try:
            return map_image(self._mapper, entry)
        except DataError as error:
            # Returned: torch would wrap one that a worker raises in the text of its traceback.
            return error


def _unless_error(batches: Iterator[list[dict[str, Any] | DataError]]) -> Iterator[list[dict[str, Any]]]:
    for batch in batches:
        good = []
        for item in batch:
            if isinstance(item, DataError):
                raise item
            good.append(item)
        yield good


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
    loader: DataLoader[dict[str, Any] | DataError] = DataLoader(
        _Mapped(dicts, DatasetMapper(cfg, is_train=True), seed),
        batch_sampler=_Places(source, rank, num_processes),
        num_workers=num_workers,
        collate_fn=_as_list,
        worker_init_fn=_start_worker,
    )
    end_workers_at_exit()
    return _unless_error(iter(loader))


def _as_list(items: list[dict[str, Any] | DataError]) -> list[dict[str, Any] | DataError]:
    return items


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    leave_stopping_to_the_parent()
