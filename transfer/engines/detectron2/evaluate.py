"""Tests a detector: precise batch norm, inference in fp32, AP by Detectron2's own VOC evaluator."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from bench.core import rng
from bench.core.errors import EngineError
from bench.core.log import progress
from transfer.data.voc import VocDataset
from transfer.engines.detectron2.loader import map_image, to_dicts
from transfer.engines.detectron2.repairs import load_detectron2

load_detectron2()

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetMapper, MetadataCatalog  # noqa: E402
from detectron2.evaluation import PascalVOCDetectionEvaluator  # noqa: E402
from detectron2.utils import comm  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

AP_RULE_YEARS = {"voc07_11point": 2007, "area": 2012}
"""Detectron2 chooses the rule by the year of the data set."""


def precise_bn(
    model: nn.Module,
    loader: Iterator[list[Any]],
    *,
    num_batches: int,
    seed: int,
    check_stop: Callable[[], None],
) -> None:
    """Estimate the batch norm statistics again, as a true mean over `num_batches` training batches.

    Args:
        model: The bare detector, on its device; it is put into train mode for this.
        loader: Training batches, augmented as in training.
        num_batches: 0 does nothing.
        seed: Of the trial.
        check_stop: Called before each batch; may raise.

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
                yield next(loader)

        update_bn_stats(model, counted(), num_batches)
        bar.update(num_batches)


@torch.no_grad()
def evaluate(
    model: nn.Module, cfg: CfgNode, data: VocDataset, *, ap_rule: str, check_stop: Callable[[], None]
) -> dict[str, float]:
    """AP, AP50 and AP75 in percent on the test split.

    Each process takes every n-th image; the first one has the result, the others an empty dict.

    Source:
        facebookresearch/detectron2 `evaluation/pascal_voc_evaluation.py`, used as it is. A class that has no
        object in the split counts as AP 0 under the 11-point rule; the area rule is nan there if anything was
        detected, so the task refuses such a split before the training.

    Raises:
        EngineError: an AP is not finite.
    """
    name = f"bench-test-{uuid.uuid4().hex}"
    MetadataCatalog.get(name).set(
        dirname=str(data.test_split.folder),
        split=data.test_split.name,
        year=AP_RULE_YEARS[ap_rule],
        thing_classes=list(data.classes),
    )
    try:
        evaluator = PascalVOCDetectionEvaluator(name)
        evaluator.reset()
        mapper = DatasetMapper(cfg, is_train=False)
        entries = to_dicts(data.test, with_objects=False)[comm.get_rank() :: comm.get_world_size()]
        model.eval()
        with progress("Testing", len(entries)) as bar:
            for done, entry in enumerate(entries, start=1):
                check_stop()
                inputs = [map_image(mapper, entry)]
                evaluator.process(inputs, model(inputs))
                bar.update(done)
        with np.errstate(invalid="ignore"):  # a class without objects: 0 of 0 found
            results = evaluator.evaluate()
    finally:
        MetadataCatalog.remove(name)
    if results is None:
        return {}
    metrics = {key: float(value) for key, value in results["bbox"].items()}
    for key, value in metrics.items():
        if not 0.0 <= value <= 100.0:
            raise EngineError(
                f"{key} came out as {value} on {data.test_split.label} by the rule {ap_rule}; expected a "
                "percentage. Nothing was recorded."
            )
    return metrics
