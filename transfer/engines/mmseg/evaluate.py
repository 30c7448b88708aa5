"""Tests a network: the label map it gives each test image, in the image's size, counted in fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from bench.core.errors import EngineError
from bench.core.log import progress
from transfer.adapters.mmseg_config import test_pipeline
from transfer.data.segmentation import SegmentationDataset, SegmentationImage
from transfer.engines.mmseg.loader import build_transforms, load_image, truth_of
from transfer.engines.verify import check_finite
from transfer.metrics.confusion import MAX_SAMPLES, ImageLabels, LabelTest
from transfer.protocols.segmentation import SegmentationProtocol


@torch.no_grad()
def label(
    model: nn.Module,
    protocol: SegmentationProtocol,
    data: SegmentationDataset,
    *,
    check_stop: Callable[[], None],
) -> LabelTest | None:
    """What the network says of each pixel of the test split, beside what is there.

    Each process takes every n-th image; the first one has the result, the others None.

    Raises:
        EngineError: a score is not finite, or an image is too large for the device.
        DataError: an image cannot be read any more.
    """
    rank, num_processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    transforms = build_transforms(test_pipeline(protocol.input))
    shown = {place * len(data.test) // MAX_SAMPLES for place in range(MAX_SAMPLES)}
    share = range(rank, len(data.test), num_processes)
    check_finite(model)
    model.eval()
    found = []
    with progress("Testing", len(share)) as bar:
        for done, index in enumerate(share, start=1):
            check_stop()
            image = data.test[index]
            sample = load_image(image, transforms=transforms, zero_is_ignored=data.zero_is_ignored)
            truth = truth_of(sample["data_samples"])
            labels = _predicted(model, sample, image)
            if labels is None:
                raise EngineError(
                    f"{image.path}: the network gives scores that are not finite. Nothing was recorded."
                )
            found.append(
                ImageLabels.of(
                    index,
                    truth,
                    labels,
                    len(data.classes),
                    keep_maps=index in shown,
                    where=str(image.label_path),
                )
            )
            bar.update(done)
    shares = _gathered(found, num_processes)
    if rank != 0:
        return None
    every = [item for part in shares for item in part]
    return LabelTest.of_images(every, [image.image_id for image in data.test], data.classes)


def _predicted(model: nn.Module, sample: Mapping[str, Any], image: SegmentationImage) -> np.ndarray | None:
    try:
        return predict(model, sample)
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"{image.path}: scores of {image.width} x {image.height} px are too large for the device. "
            "What was trained is saved: --resume tests it on a larger one, or on a CPU."
        ) from error


def predict(model: nn.Module, sample: Mapping[str, Any]) -> np.ndarray | None:
    """The label of each pixel, [height, width] in the size of the image; None if a score is not finite.

    Args:
        model: In eval mode.
        sample: One image, from the transforms of a test.
    """
    batch = {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}
    network: Any = model
    (result,) = network.predict(**network.data_preprocessor(batch, False))
    scores = result.seg_logits.data
    # By their extremes, which nan passes through: a mask would take a quarter of their memory again.
    if not bool(torch.isfinite(torch.stack([scores.amin(), scores.amax()])).all()):
        return None
    labels: np.ndarray = result.pred_sem_seg.data[0].to(torch.uint8).cpu().numpy()
    return labels


def _gathered(found: list[ImageLabels], num_processes: int) -> list[list[ImageLabels]]:
    if num_processes == 1:
        return [found]
    shares: list[Any] = [None] * num_processes
    dist.all_gather_object(shares, found)
    return shares
