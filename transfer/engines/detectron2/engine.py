"""One job through Detectron2: config, model, proof, training, test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from bench.core import atomic
from bench.core.log import quiet_fabric, say
from bench.core.processes import in_any_process, launch, out_of_memory, threads_of_a_process
from bench.core.provenance import git_state, hardware
from bench.core.records import MACHINE
from bench.core.signals import watch
from transfer.adapters.detectron2 import detectron2_pkl
from transfer.adapters.detectron2_config import detectron2_config
from transfer.api import Estimate, Job, Output
from transfer.engines.detectron2.estimate import estimate
from transfer.engines.detectron2.evaluate import detect, precise_bn
from transfer.engines.detectron2.loader import detection_data, mask_format, to_dicts, train_loader
from transfer.engines.detectron2.model import build_config, build_detector, check_pixels
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.detectron2.train import train
from transfer.engines.detectron2.training import Progress, Training, load
from transfer.metrics.result import Result

load_detectron2()

from detectron2.solver import build_lr_scheduler, build_optimizer  # noqa: E402

_WEIGHTS_FILE = "weights.pkl"
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def estimate_job(job: Job) -> Estimate:
    """Memory, time and disk of one trial.

    Raises:
        EngineError: the step that is timed, of one image, is too much for this device.
    """
    quiet_fabric()
    fabric = _fabric(job, num_devices=1)
    try:
        with threads_of_a_process(fabric, job.num_devices):
            return estimate(job, _config(fabric, job), fabric)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(str(error)) from error
    finally:
        # The training that follows, in this process or in others, needs the memory.
        gc.collect()
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()


def run_job(job: Job) -> Output:
    """Train and test one trial.

    Raises:
        EngineError: the device has too little memory.
        BenchError: of the room where something went wrong.
    """
    quiet_fabric()
    fabric = _fabric(job, num_devices=job.num_devices)
    if job.num_devices > 1:
        return launch(fabric, _run, job)
    try:
        return _run(fabric, job)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(str(error)) from error


def _spawning() -> DDPStrategy:
    # Inside of one task of Slurm, Fabric would take each process of ours for that task.
    return DDPStrategy(start_method="spawn", cluster_environment=LightningEnvironment())


def _fabric(job: Job, *, num_devices: int) -> Fabric:
    return Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=num_devices,
        strategy=_spawning() if num_devices > 1 else "auto",
        precision=_PRECISIONS[job.protocol.solver.precision],  # type: ignore[arg-type]
    )


def _run(fabric: Fabric, job: Job) -> Output:
    data = detection_data(job)
    cfg = _config(fabric, job)
    if fabric.is_global_zero:
        _write_stock_files(job, cfg)
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
        accumulation_steps=job.protocol.solver.accumulation_steps,
        checkpoint_iterations=job.protocol.run.checkpoint_iterations,
        log_iterations=job.protocol.run.log_iterations,
    )
    state = load(training) if job.resume else Progress()
    earlier_seconds = state.seconds
    _note_where(state)

    def loader(start: int) -> Iterator[list[Any]]:
        return train_loader(
            cfg,
            to_dicts(data.train, with_objects=True),
            seed=job.seed,
            start=start,
            rank=fabric.global_rank,
            num_processes=fabric.world_size,
            num_workers=job.protocol.run.num_workers,
        )

    with watch() as stop:

        def check_stop() -> None:
            # One of several processes that left alone would keep the others waiting for its detections.
            if fabric.world_size == 1:
                stop.check("the training is saved, its test is not done")

        if state.iteration < training.iterations:
            train(training, loader(state.iteration), state, stop)
        if fabric.is_global_zero:
            _write_log(job, state)
        precise_bn(
            model,
            loader(training.iterations),
            num_batches=job.protocol.solver.precise_bn_iterations,
            num_parts=training.accumulation_steps,
            seed=job.seed,
            check_stop=check_stop,
        )
        found = detect(model, cfg, data, check_stop=check_stop)
        stopped_by = (stop.name or "a signal") if any(in_any_process(fabric, bool(stop))) else ""
    if found is None:  # not the first process
        return Output(metrics={})
    result = job.measure(found)
    return Output(
        metrics=result.metrics,
        details=_details(training, state, verified, result),
        predictions=result.predictions,
        earlier_seconds=earlier_seconds,
        stopped_by=stopped_by,
    )


def _note_where(state: Progress) -> None:
    """Put down commit and machine, and say where a run goes on."""
    commit = git_state()[0]
    if commit and commit not in state.commits:
        state.commits.append(commit)
    facts = hardware()
    machine = (
        ", ".join(facts[key] for key in ("gpu", "cpu") if key in facts) + f", {facts['threads']} threads"
    )
    if state.iteration:
        say(f"Going on after iteration {state.iteration:,}.")
        if machine not in state.machines:
            say(
                f"Note      so far on {state.machines[-1]}, now on {machine}: sums may come out otherwise, "
                "so that the end is near that of a run in one piece, not equal to it"
            )
    if machine not in state.machines:
        state.machines.append(machine)


def _details(training: Training, state: Progress, verified: dict[str, Any], result: Result) -> dict[str, Any]:
    details: dict[str, Any] = {
        "verified": verified,
        "final_loss": state.log[-1] if state.log else {},
        "num_devices": training.fabric.world_size,
        "tested_in": "fp32",
        **result.details,
    }
    if training.scaler:
        details["skipped_updates"] = state.skipped
    details[MACHINE] = dict(result.machine)
    for name, values in (("commits", state.commits), ("machines", state.machines)):
        if len(values) > 1:
            details[MACHINE][name] = values
    return details


def _config(fabric: Fabric, job: Job) -> Any:
    """Detectron2's config node, held against the card of the weights."""
    data = detection_data(job)
    entries = detectron2_config(
        job.protocol,
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


def _write_log(job: Job, state: Progress) -> None:
    if not state.log:
        return
    # Sorted, since rows that came back from a checkpoint have another order.
    columns = ["iteration", "learning_rate", *sorted(state.log[0].keys() - {"iteration", "learning_rate"})]
    lines = [",".join(columns)]
    lines += [",".join(repr(row[column]) for column in columns) for row in state.log]
    atomic.write_text(job.run_dir / "log.csv", "\n".join(lines) + "\n")
