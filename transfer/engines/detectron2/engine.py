"""One job through Detectron2: config, model, proof, training, test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from bench.core import atomic
from transfer.adapters.detectron2 import detectron2_pkl
from transfer.adapters.detectron2_config import detectron2_config
from transfer.api import Estimate, Job, Output
from transfer.engines.detectron2.estimate import estimate
from transfer.engines.detectron2.evaluate import detect, precise_bn
from transfer.engines.detectron2.loader import (
    detection_data,
    detection_protocol,
    mask_format,
    to_dicts,
    train_loader,
)
from transfer.engines.detectron2.model import build_config, build_detector, check_pixels
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.trial import Parts, one_device, run_trial
from transfer.metrics.detections import Detections

load_detectron2()

from detectron2.solver import build_lr_scheduler, build_optimizer  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

_WEIGHTS_FILE = "weights.pkl"


def estimate_job(job: Job) -> Estimate:
    """Memory, time and disk of one trial.

    Raises:
        EngineError: the step that is timed, of one image, is too much for this device.
    """
    with one_device(job) as fabric:
        return estimate(job, _config(fabric, job), fabric)


def run_job(job: Job) -> Output:
    """Train and test one trial. Raises as `run_trial`."""
    return run_trial(job, _build)


def _build(fabric: Fabric, job: Job) -> Parts:
    data, solver = detection_data(job), detection_protocol(job).solver
    cfg = _config(fabric, job)
    if fabric.is_global_zero:
        _write_stock_files(job, cfg)
    model, verified = build_detector(cfg, job.weights, seed=job.seed)
    if job.protocol.run.channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    optimizer = build_optimizer(cfg, model)

    def batches(start: int) -> Iterator[list[Any]]:
        return train_loader(
            cfg,
            to_dicts(data.train, with_objects=True),
            seed=job.seed,
            start=start,
            rank=fabric.global_rank,
            num_processes=fabric.world_size,
            num_workers=job.protocol.run.num_workers,
        )

    def test(check_stop: Callable[[], None]) -> Detections | None:
        precise_bn(
            model,
            batches(solver.iterations),
            num_batches=solver.precise_bn_iterations,
            num_parts=solver.accumulation_steps,
            seed=job.seed,
            check_stop=check_stop,
        )
        return detect(model, cfg, data, check_stop=check_stop)

    return Parts(
        model=model,
        optimizer=optimizer,
        scheduler=build_lr_scheduler(cfg, optimizer),
        verified=verified,
        iterations=solver.iterations,
        batches=batches,
        losses=_losses,
        image_names=lambda batch: [str(entry["image_id"]) for entry in batch],
        test=test,
    )


def _losses(model: Any, part: list[Any]) -> dict[str, Tensor]:
    # Detectron2's heads write figures of their own into a storage that must be there.
    with EventStorage():
        losses: dict[str, Tensor] = model(part)
    return losses


def _config(fabric: Fabric, job: Job) -> Any:
    """Detectron2's config node, held against the card of the weights."""
    data = detection_data(job)
    entries = detectron2_config(
        detection_protocol(job),
        job.card.input,
        num_classes=len(data.classes),
        train_names=data.train_names,
        test_name=data.test_name,
        mask_format=mask_format(data),
        weights_file="",  # the weights are put into the model and proven there, see `build_detector`
        seed=job.seed,
    )
    cfg = build_config(entries, str(fabric.device))
    check_pixels(cfg, job.card.input)
    return cfg


def _write_stock_files(job: Job, cfg: Any) -> None:
    """The YAML and the converted weights that a stock Detectron2 can take."""
    cfg = cfg.clone()
    # A number behind it would put all processes of Detectron2's own launcher on one GPU.
    cfg.MODEL.DEVICE = cfg.MODEL.DEVICE.partition(":")[0]
    if job.weights is not None:
        # Whole: Detectron2 takes a relative path as seen from where it is started.
        path = job.run_dir.resolve() / _WEIGHTS_FILE
        atomic.write_bytes(path, detectron2_pkl(job.weights))
        cfg.MODEL.WEIGHTS = str(path)
    atomic.write_text(job.run_dir / "detectron2.yaml", cfg.dump())
