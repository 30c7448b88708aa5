"""Features of centre crops by a frozen backbone, computed once and kept."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from bench.core.log import progress
from bench.core.provenance import hardware, package_versions
from bench.core.signals import watch
from bench.features.cache import FeatureCache, fill, whole
from bench.features.extract import centre_batches, extract
from bench.images.source import ImageSource
from transfer.api import Job
from transfer.engines.torchvision.network import DIM, Backbone
from transfer.protocols.classification import CentreCrop
from transfer.protocols.transfer import Precision

BATCH_SIZE = 64
"""Images at a time. Not a field: sums must not come out otherwise in the next trial."""


def features_of(
    fabric: Fabric,
    job: Job,
    backbone: Backbone,
    source: ImageSource,
    chosen: npt.NDArray[np.int64],
    crop: CentreCrop,
    precision: Precision,
    *,
    everywhere: bool,
    title: str,
) -> Tensor:
    """[chosen, 2048] float32 on the CPU.

    Args:
        fabric: Its processes share the work.
        job: Whose weights they are.
        backbone: On its device; left in evaluation.
        source: Of the images.
        chosen: Their numbers.
        crop: What is seen of them.
        precision: Of the network; the features are float32.
        everywhere: Give them to every process; else to the first alone, and no rows to the others.
        title: Of the bar.

    Raises:
        DataError: an image cannot be read.
        Stopped: a signal came; whole parts are kept.
    """
    cache = FeatureCache(
        job.cache_dir, _key(fabric, job, source, chosen, crop, precision), num_images=len(chosen)
    )
    backbone.eval()
    with progress(title, len(chosen)) as bar, watch() as stop:

        def compute(part: range) -> Tensor:
            batches = centre_batches(
                source,
                chosen[part.start : part.stop],
                **crop.model_dump(),
                batch_size=BATCH_SIZE,
                num_workers=job.protocol.run.num_workers,
            )
            done = part.start

            def feed(images: Tensor) -> Tensor:
                nonlocal done
                stop.check("the features so far are kept")
                done += len(images)
                bar.update(done)
                return fabric.to_device(images)

            if precision == "fp32":
                return extract(backbone, batches, feed).cpu()
            with fabric.autocast():
                return extract(backbone, batches, feed).cpu()

        fill(cache, compute, rank=fabric.global_rank, num_processes=fabric.world_size)
        stop.check("the features are kept")
    fabric.barrier()
    return whole(cache) if everywhere or fabric.is_global_zero else torch.empty(0, DIM)


def _key(
    fabric: Fabric,
    job: Job,
    source: ImageSource,
    chosen: npt.NDArray[np.int64],
    crop: CentreCrop,
    precision: Precision,
) -> dict[str, object]:
    """Everything that moves a feature: the last bits differ by device, threads and memory layout, too."""
    return {
        "weights": job.card.key,
        # Random weights are of the seed; given ones are not.
        "seed": job.seed if job.weights is None else None,
        # Files of an unpacked kind keep their size when they are mended: their times tell.
        "images": [source.fingerprint, hashlib.sha256(source.times(chosen).tobytes()).hexdigest()],
        "chosen": hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest(),
        "crop": crop.model_dump(),
        "precision": precision,
        "channels_last": job.protocol.run.channels_last,
        "device": fabric.device.type,
        "hardware": hardware(),
        "software": package_versions(),
    }
