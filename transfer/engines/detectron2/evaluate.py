"""Tests a detector: precise batch norm, then what it finds on each test image, in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from pycocotools import mask as coco_mask
from torch import nn

from bench.core import rng
from bench.core.errors import DivergedError, EngineError
from bench.core.log import progress
from transfer.data.detection import DetectionDataset
from transfer.engines.detectron2.loader import map_image, to_dicts
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.train import parts_of
from transfer.engines.verify import check_finite
from transfer.metrics.detections import Detections, ImageDetections

load_detectron2()

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetMapper  # noqa: E402
from detectron2.utils import comm  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402


def precise_bn(
    model: nn.Module,
    loader: Iterator[list[Any]],
    *,
    num_batches: int,
    num_parts: int,
    seed: int,
    check_stop: Callable[[], None],
) -> None:
    """Estimate the batch norm statistics again, as a true mean over `num_batches` training batches.

    Args:
        model: The bare detector, on its device; it is put into train mode for this.
        loader: Training batches, augmented as in training.
        num_batches: 0 does nothing.
        num_parts: Each batch goes through in so many parts, as in training.
        seed: Of the trial.
        check_stop: Called before each batch; may raise.

    Raises:
        DivergedError: the detector gives boxes that are not finite.

    Source:
        fvcore `nn/precise_bn.py`; MoCo's configs switch it on with Detectron2's count of 200.
    """
    model.train()
    if num_batches == 0 or not get_bn_modules(model):
        return
    torch.manual_seed(rng.derive(seed, "noise", num_batches))
    with EventStorage(), progress("Precise batch norm", num_batches) as bar:

        def counted() -> Iterator[list[Any]]:
            for done in range(num_batches):
                check_stop()
                bar.update(done)
                yield from parts_of(next(loader), num_parts)

        try:
            update_bn_stats(model, counted(), num_batches * num_parts)
        except FloatingPointError as error:  # as in training
            raise DivergedError(
                f"precise batch norm: {' '.join(str(error).split())}. The training is saved."
            ) from error
        bar.update(num_batches)


@torch.no_grad()
def detect(
    model: nn.Module, cfg: CfgNode, data: DetectionDataset, *, check_stop: Callable[[], None]
) -> Detections | None:
    """What the detector finds on the test split, in the order of the split.

    Each process takes every n-th image; the first one has the result, the others None.

    Raises:
        EngineError: a score or a box is not finite.
    """
    mapper = DatasetMapper(cfg, is_train=False)
    entries = list(enumerate(to_dicts(data.test, with_objects=False)))[
        comm.get_rank() :: comm.get_world_size()
    ]
    check_finite(model)
    model.eval()
    found = []
    with progress("Testing", len(entries)) as bar:
        for done, (index, entry) in enumerate(entries, start=1):
            check_stop()
            (output,) = model([map_image(mapper, entry)])
            instances = output["instances"].to("cpu")
            scores, boxes = instances.scores.numpy(), instances.pred_boxes.tensor.numpy()
            if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
                raise EngineError(
                    f"{entry['file_name']}: the detector gives scores or boxes that are not finite. "
                    "Nothing was recorded."
                )
            masks = _packed(instances.pred_masks) if cfg.MODEL.MASK_ON else None
            found.append(ImageDetections(index, instances.pred_classes.numpy(), scores, boxes, masks))
            bar.update(done)
    gathered = comm.gather(found, dst=0)
    if not comm.is_main_process():
        return None
    return Detections.of_images([item for share in gathered for item in share], with_masks=cfg.MODEL.MASK_ON)


def _packed(masks: torch.Tensor) -> tuple[bytes, ...]:
    """Packed run lengths of [m, height, width] masks in the size of the image."""
    columns = np.asfortranarray(masks.numpy().transpose(1, 2, 0), dtype=np.uint8)
    return tuple(mask["counts"] for mask in coco_mask.encode(columns))
