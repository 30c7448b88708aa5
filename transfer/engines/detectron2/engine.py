"""One job through Detectron2: config, model, proof, training, test."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric

from bench.core import atomic
from bench.core.errors import EngineError
from bench.core.log import quiet_fabric, say
from bench.core.signals import watch
from transfer.adapters.detectron2 import detectron2_pkl
from transfer.adapters.detectron2_config import detectron2_config
from transfer.api import Job, Output
from transfer.data.voc import Split, VocDataset
from transfer.engines.detectron2.evaluate import evaluate, precise_bn
from transfer.engines.detectron2.loader import to_dicts, train_loader
from transfer.engines.detectron2.model import build_config, build_detector
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.detectron2.train import Progress, Training, train

load_detectron2()

from detectron2.solver import build_lr_scheduler, build_optimizer  # noqa: E402

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def run_job(job: Job) -> Output:
    """Train and test one trial.

    Raises:
        EngineError: fewer devices than asked for, or fp16 without an accelerator.
        BenchError: of the room where something went wrong.
    """
    on_gpu = torch.cuda.is_available()
    if job.protocol.solver.precision == "fp16" and not on_gpu:
        raise EngineError("precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    if on_gpu and job.num_devices > torch.cuda.device_count():
        raise EngineError(f"{job.num_devices} devices asked for, {torch.cuda.device_count()} are here")
    if job.protocol.solver.images_per_batch % job.num_devices:
        raise EngineError(
            f"{job.protocol.solver.images_per_batch} images do not divide by {job.num_devices} devices"
        )
    quiet_fabric()
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=job.num_devices,
        strategy="ddp_spawn" if job.num_devices > 1 else "auto",
        precision=_PRECISIONS[job.protocol.solver.precision],  # type: ignore[arg-type]
    )
    if job.num_devices == 1:
        return _run(fabric, job)
    # Fabric's annotation knows no further arguments; its code and documentation do.
    output = fabric.launch(_run, job)  # type: ignore[arg-type]
    if not isinstance(output, Output):
        raise EngineError("the first process ended without a result")
    return output


def _run(fabric: Fabric, job: Job) -> Output:
    if fabric.world_size > 1 and fabric.device.type == "cpu":
        # Processes that each take every core slow each other down many times over.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // fabric.world_size))
    data = job.data
    if not isinstance(data, VocDataset):
        raise TypeError(f"expected a VocDataset, got {type(data).__name__}")
    cfg = _write_config(fabric, job, data)
    model, verified = build_detector(cfg, job.weights, seed=job.seed)
    if job.protocol.run.channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    step_model, step_optimizer = fabric.setup(model, optimizer)
    training = Training(
        fabric=fabric,
        model=model,
        optimizer=optimizer,
        step_model=step_model,
        step_optimizer=step_optimizer,
        scheduler=scheduler,
        folder=job.run_dir / "checkpoints",
        identity=job.identity,
        weights_key=job.card.key,
        seed=job.seed,
        iterations=job.protocol.solver.iterations,
        checkpoint_iterations=job.protocol.run.checkpoint_iterations,
        log_iterations=job.protocol.run.log_iterations,
    )
    state = training.load() if job.resume else Progress()
    earlier_seconds = state.seconds
    if state.iteration:
        say(f"Going on after iteration {state.iteration:,}.")

    def loader(start: int, stream: str) -> Any:
        return train_loader(
            cfg,
            to_dicts(data.train, with_objects=True),
            seed=job.seed,
            start=start,
            rank=fabric.global_rank,
            num_processes=fabric.world_size,
            num_workers=job.protocol.run.num_workers,
            stream=stream,
        )

    with watch() as stop:
        if state.iteration < training.iterations:
            train(training, loader(state.iteration, "view"), state, stop)
        if fabric.is_global_zero:
            _write_log(job, state)
        num_batches = job.protocol.solver.precise_bn_iterations
        precise_bn(model, loader(training.iterations, "view"), num_batches=num_batches, seed=job.seed)
        metrics = evaluate(model, cfg, data, ap_rule=job.protocol.metric.ap_rule)
    details = {
        "verified": verified,
        "final_loss": state.log[-1] if state.log else {},
        "num_devices": fabric.world_size,
        "tested_in": "fp32",
    }
    return Output(metrics=metrics, details=details, earlier_seconds=earlier_seconds)


def _write_config(fabric: Fabric, job: Job, data: VocDataset) -> Any:
    """Detectron2's config, and beside it the YAML and the converted weights a stock Detectron2 can take."""
    weights_file = job.run_dir / "weights.pkl"
    entries = detectron2_config(
        job.protocol,
        job.card.input,
        num_classes=len(data.classes),
        train_names=tuple(_engine_name(split) for split in data.train_splits),
        test_name=_engine_name(data.test_split),
        weights_file=str(weights_file) if job.weights is not None else "",
        seed=job.seed,
    )
    cfg = build_config(entries, str(fabric.device))
    if fabric.is_global_zero:
        if job.weights is not None:
            atomic.write_bytes(weights_file, detectron2_pkl(job.weights))
        atomic.write_text(job.run_dir / "detectron2.yaml", cfg.dump())
    return cfg


def _engine_name(split: Split) -> str:
    """`voc_2007_trainval` for VOC2007/trainval, as Detectron2 registers it."""
    folder = split.folder.resolve().name
    year = folder.removeprefix("VOC")
    return f"voc_{year if folder != year else folder}_{split.name}"


def _write_log(job: Job, state: Progress) -> None:
    if not state.log:
        return
    # Sorted, since rows that came back from a checkpoint have another order.
    columns = ["iteration", "learning_rate", *sorted(state.log[0].keys() - {"iteration", "learning_rate"})]
    lines = [",".join(columns)]
    lines += [",".join(repr(row[column]) for column in columns) for row in state.log]
    atomic.write_text(job.run_dir / "log.csv", "\n".join(lines) + "\n")
