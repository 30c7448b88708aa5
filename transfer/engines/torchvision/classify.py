"""Tests a classifier: the five best classes of each test image, in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.core.errors import EngineError
from bench.core.log import progress
from bench.features.extract import centre_batches
from transfer.api import Job
from transfer.data.image_classes import ClassificationDataset
from transfer.engines.torchvision.features import BATCH_SIZE
from transfer.engines.verify import check_finite
from transfer.metrics.accuracy import RANKS, ClassTest
from transfer.protocols.classification import CentreCrop


def ranked(scores: Tensor) -> Tensor:
    """[images, up to 5] classes by score from high to low; of equal ones the lower class first.

    Raises:
        EngineError: a score is not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise EngineError("the classifier gives scores that are not finite. Nothing was recorded.")
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :RANKS].cpu()


def class_test(data: ClassificationDataset, chunks: Iterable[Tensor], facts: dict[str, Any]) -> ClassTest:
    """A test of every image of the test split.

    Args:
        data: The set.
        chunks: Scores [some images, classes], in the order of the split.
        facts: For the record.
    """
    found = [ranked(scores) for scores in chunks]
    return ClassTest(
        truth=data.test_labels,
        ranked=torch.cat(found).numpy(),
        names=tuple(data.test.name(index) for index in range(len(data.test))),
        classes=data.classes,
        facts=facts,
    )


@torch.no_grad()
def test_images(
    fabric: Fabric,
    job: Job,
    model: nn.Module,
    data: ClassificationDataset,
    crop: CentreCrop,
    *,
    check_stop: Callable[[], None],
) -> ClassTest | None:
    """What a whole network says of the test split; each process takes a share, the first has the result.

    Raises:
        EngineError: a score is not finite.
        DataError: an image cannot be read.
    """
    check_finite(model)
    model.eval()
    share = -(-len(data.test) // fabric.world_size)
    # The last process repeats some: all must have as many.
    mine = np.resize(np.arange(fabric.global_rank * share, len(data.test)), share)
    if fabric.global_rank * share >= len(data.test):
        mine = np.zeros(share, np.int64)
    batches = centre_batches(
        data.test,
        mine,
        **crop.model_dump(),
        batch_size=BATCH_SIZE,
        num_workers=job.protocol.run.num_workers,
    )
    found = []
    with progress("Testing", len(mine)) as bar:
        for images in batches:
            check_stop()
            found.append(model(fabric.to_device(images)).float())
            bar.update(sum(len(scores) for scores in found))
    scores = torch.cat(found)
    if fabric.world_size > 1:
        gathered = torch.as_tensor(fabric.all_gather(scores))
        scores = gathered.reshape(-1, scores.shape[1])[: len(data.test)]
    if not fabric.is_global_zero:
        return None
    return class_test(data, torch.split(scores, BATCH_SIZE), {})
