"""One job through MMSegmentation: config, network, proof, training, test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from bench.core import atomic
from transfer.adapters.convert import torch_zip
from transfer.adapters.mmseg import to_mmseg
from transfer.adapters.mmseg_config import (
    Listed,
    config_file,
    mmseg_config,
    optimizer,
    schedule,
    train_pipeline,
)
from transfer.api import Estimate, Job, Output
from transfer.data.segmentation import Pairs, SegmentationImage
from transfer.engines.mmseg.backbone import check_pixels
from transfer.engines.mmseg.estimate import estimate
from transfer.engines.mmseg.evaluate import label
from transfer.engines.mmseg.loader import segmentation_data, segmentation_protocol, train_loader
from transfer.engines.mmseg.losses import losses_of
from transfer.engines.mmseg.model import build_segmentor
from transfer.engines.mmseg.repairs import load_mmseg
from transfer.engines.trial import Parts, one_device, run_trial
from transfer.metrics.confusion import LabelTest

load_mmseg()

from mmengine.config import Config  # noqa: E402
from mmseg.registry import OPTIMIZERS, PARAM_SCHEDULERS  # noqa: E402

CONFIG_FILE = "mmseg.py"
WEIGHTS_FILE = "weights.pth"


def estimate_job(job: Job) -> Estimate:
    """Memory, time and disk of one trial.

    Raises:
        EngineError: the step that is timed, of two crops, is too much for this device.
    """
    with one_device(job) as fabric:
        return estimate(job, _config(job, norm="BN"), fabric)


def run_job(job: Job) -> Output:
    """Train and test one trial. Raises as `run_trial`."""
    return run_trial(job, _build)


def _build(fabric: Fabric, job: Job) -> Parts:
    data, protocol = segmentation_data(job), segmentation_protocol(job)
    solver = protocol.solver
    if fabric.is_global_zero:
        _write_stock_files(job)
    model, verified = build_segmentor(_config(job), protocol.model, job.weights, seed=job.seed)
    if protocol.run.channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    sgd = OPTIMIZERS.build({**optimizer(solver), "params": list(model.parameters())})

    def batches(start: int) -> Iterator[list[Any]]:
        return train_loader(
            data,
            train_pipeline(protocol.input),
            images_per_batch=solver.images_per_batch,
            seed=job.seed,
            start=start,
            rank=fabric.global_rank,
            num_processes=fabric.world_size,
            num_workers=protocol.run.num_workers,
        )

    def test(check_stop: Callable[[], None]) -> LabelTest | None:
        return label(model, protocol, data, check_stop=check_stop)

    return Parts(
        model=model,
        optimizer=sgd,
        scheduler=PARAM_SCHEDULERS.build({**schedule(solver), "optimizer": sgd}),
        verified=verified,
        iterations=solver.iterations,
        batches=batches,
        losses=losses_of(model),
        image_names=lambda batch: [Path(sample["data_samples"].img_path).stem for sample in batch],
        test=test,
    )


def _config(
    job: Job, *, weights_file: str = "", norm: str | None = None, num_devices: int = 1
) -> dict[str, Any]:
    """MMEngine's config, held against the card of the weights; `norm` instead of the protocol's."""
    data, protocol = segmentation_data(job), segmentation_protocol(job)
    if norm:
        protocol = protocol.model_copy(update={"model": protocol.model.model_copy(update={"norm": norm})})
    config = mmseg_config(
        protocol,
        job.card.input,
        classes=data.classes,
        zero_is_ignored=data.zero_is_ignored,
        train=[Listed(pairs, file) for pairs, file, _ in _lists(job, "train", data.train)],
        test=[Listed(pairs, file) for pairs, file, _ in _lists(job, "test", data.test)],
        weights_file=weights_file,
        seed=job.seed,
        num_devices=num_devices,
    )
    check_pixels(Config({"model": config["model"]}), job.card.input)
    return config


def _lists(
    job: Job, role: str, images: Sequence[SegmentationImage]
) -> Iterator[tuple[Pairs, Path, list[SegmentationImage]]]:
    """The images of a split by where they lie, each kind with the file that lists it."""
    kinds: dict[Pairs, list[SegmentationImage]] = {}
    for image in images:
        kinds.setdefault(image.pairs, []).append(image)
    for number, (pairs, members) in enumerate(kinds.items(), start=1):
        # Whole: MMSegmentation takes a relative path as seen from where it is started.
        folder = Pairs(
            pairs.image_dir.resolve(), pairs.label_dir.resolve(), pairs.image_suffix, pairs.label_suffix
        )
        yield folder, job.run_dir.resolve() / f"{role}-{number}.txt", members


def _write_stock_files(job: Job) -> None:
    """The config, the lists of images and the converted weights that a stock MMSegmentation can take."""
    weights_file = ""
    if job.weights is not None:
        path = job.run_dir.resolve() / WEIGHTS_FILE
        atomic.write_bytes(path, torch_zip(to_mmseg(job.weights)))
        weights_file = str(path)
    data = segmentation_data(job)
    for role, images in (("train", data.train), ("test", data.test)):
        for _, path, members in _lists(job, role, images):
            atomic.write_text(path, "".join(f"{image.image_id}\n" for image in members))
    # Stock MMSegmentation has no norm of ours for processes on CPUs.
    norm = "SyncBN" if segmentation_protocol(job).model.norm == "naiveSyncBN" else None
    config = _config(job, weights_file=weights_file, norm=norm, num_devices=job.num_devices)
    atomic.write_text(job.run_dir / CONFIG_FILE, config_file(config, job.num_devices))
