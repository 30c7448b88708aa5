"""Feeds the network: MMSegmentation's own transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from bench.core.errors import DataError
from transfer.api import Job
from transfer.data.segmentation import SegmentationDataset, SegmentationImage
from transfer.engines.feed import Views, batches, feed
from transfer.engines.mmseg.repairs import load_mmseg
from transfer.protocols.segmentation import SegmentationProtocol

load_mmseg()

from mmseg.registry import TRANSFORMS  # noqa: E402


def segmentation_data(job: Job) -> SegmentationDataset:
    """The data of a job of this engine."""
    if not isinstance(job.data, SegmentationDataset):
        raise TypeError(f"expected a SegmentationDataset, got {type(job.data).__name__}")
    return job.data


def segmentation_protocol(job: Job) -> SegmentationProtocol:
    """The protocol of a job of this engine."""
    if not isinstance(job.protocol, SegmentationProtocol):
        raise TypeError(f"expected a SegmentationProtocol, got {type(job.protocol).__name__}")
    return job.protocol


def build_transforms(pipeline: Sequence[dict[str, Any]]) -> list[Callable[[Any], Any]]:
    """The transforms of a config, in order."""
    return [TRANSFORMS.build(dict(entry)) for entry in pipeline]


def load_image(
    image: SegmentationImage, *, transforms: Sequence[Callable[[Any], Any]], zero_is_ignored: bool
) -> dict[str, Any]:
    """One image with its label map as the network takes them: `inputs` and `data_samples`.

    Raises:
        DataError: one of them cannot be decoded, or they are not of the size that was checked.
    """
    sample: Any = {
        "img_path": str(image.path),
        "seg_map_path": str(image.label_path),
        "label_map": None,
        "reduce_zero_label": zero_is_ignored,
        "seg_fields": [],
    }
    try:
        for transform in transforms:
            sample = transform(sample)
    except (OSError, SyntaxError, ValueError, AttributeError, cv2.error) as error:
        # AttributeError: OpenCV gives None for what it cannot decode.
        reason = " ".join(str(error).split())
        raise DataError(f"{image.path}: it or its label map cannot be read any more: {reason}") from error
    size = sample["data_samples"].ori_shape
    if tuple(size) != (image.height, image.width):
        raise DataError(
            f"{image.path}: is {size[1]} x {size[0]} px now; it was {image.width} x {image.height} when the "
            "data were checked"
        )
    result: dict[str, Any] = sample
    return result


def train_loader(
    data: SegmentationDataset,
    pipeline: Sequence[dict[str, Any]],
    *,
    images_per_batch: int,
    seed: int,
    start: int,
    rank: int,
    num_processes: int,
    num_workers: int,
) -> Iterator[list[Any]]:
    """Transformed crops of this process from iteration `start` on, without end.

    Raises:
        DataError: an image cannot be read; when its batch comes.
    """
    shapes = [(image.width, image.height) for image in data.train]
    source = batches(shapes, seed=seed, images_per_batch=images_per_batch, group=False, start=start)
    load = partial(load_image, transforms=build_transforms(pipeline), zero_is_ignored=data.zero_is_ignored)
    views = Views(data.train, load, seed)
    return feed(views, source, rank=rank, num_processes=num_processes, num_workers=num_workers)


def truth_of(sample: Any) -> np.ndarray:
    """The label map of a test image, [height, width] uint8, in its own size."""
    labels: np.ndarray = sample.gt_sem_seg.data[0].numpy().astype(np.uint8)
    return labels
