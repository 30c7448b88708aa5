"""One trial, whatever the engine: devices, training with exact resume, test, what the record is told."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from bench.core import atomic
from bench.core.log import quiet_fabric, say
from bench.core.processes import in_any_process, launch, out_of_memory, threads_of_a_process
from bench.core.provenance import git_state, hardware
from bench.core.records import MACHINE
from bench.core.signals import watch
from transfer.api import Job, Output
from transfer.engines.train import train
from transfer.engines.training import Progress, Training, load
from transfer.metrics.result import Result
from transfer.protocols.transfer import SgdSolver, TrainedProtocol

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Parts:
    """What an engine makes of a job.

    Attributes:
        model: On its device, the weights in it and proven.
        optimizer, scheduler: Of all its parameters.
        verified: What was proven, for the record.
        iterations: Updates of the whole training.
        batches: This process's share of each batch from an iteration on, without end.
        losses: Of the model as Fabric has it and one part of a batch, each by its name.
        image_names: Of a batch, for a message.
        test: What the trained model finds on the test split; None in all processes but the first. It calls
            what it is given before each image.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    verified: dict[str, Any]
    iterations: int
    batches: Callable[[int], Iterator[list[Any]]]
    losses: Callable[[Any, list[Any]], dict[str, Tensor]]
    image_names: Callable[[list[Any]], list[str]]
    test: Callable[[Callable[[], None]], Any]


Build = Callable[[Fabric, Job], Parts]
"""Makes the parts of a job in one process; the first process also writes what the stock tools need."""


def run_trial(job: Job, build: Build) -> Output:
    """Train and test one trial, in as many processes as the job says.

    Args:
        job: The trial.
        build: A function of an engine's module: other processes find it by its name.

    Raises:
        EngineError: the device has too little memory.
        BenchError: of the room where something went wrong.
    """
    return in_processes(job, partial(_run, build=build))


def in_processes(job: Job, run: Callable[[Fabric, Job], Output]) -> Output:
    """Run a job in as many processes as it says; what the first one brings back. Raises as `run_trial`."""
    quiet_fabric()
    fabric = _fabric(job, num_devices=job.num_devices)
    if job.num_devices > 1:
        return launch(fabric, run, job)
    try:
        return run(fabric, job)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(str(error)) from error


@contextmanager
def one_device(job: Job) -> Iterator[Fabric]:
    """One device with the threads and the precision of the trial, to estimate on; its memory is given back.

    Raises:
        EngineError: it has too little of that.
    """
    quiet_fabric()
    fabric = _fabric(job, num_devices=1)
    try:
        with threads_of_a_process(fabric, job.num_devices):
            yield fabric
    except torch.OutOfMemoryError as error:
        raise out_of_memory(str(error)) from error
    finally:
        # The training that follows, in this process or in others, needs the memory.
        gc.collect()
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()


def _spawning() -> DDPStrategy:
    # Inside of one task of Slurm, Fabric would take each process of ours for that task.
    return DDPStrategy(start_method="spawn", cluster_environment=LightningEnvironment())


def _fabric(job: Job, *, num_devices: int) -> Fabric:
    return Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=num_devices,
        strategy=_spawning() if num_devices > 1 else "auto",
        precision=_PRECISIONS[job.protocol.precision],  # type: ignore[arg-type]
    )


def _solver(job: Job) -> SgdSolver:
    if not isinstance(job.protocol, TrainedProtocol):
        raise TypeError(f"{job.protocol.slug} does not train")
    return job.protocol.solver


def _run(fabric: Fabric, job: Job, *, build: Build) -> Output:
    parts = build(fabric, job)
    step_model, step_optimizer = fabric.setup(parts.model, parts.optimizer)
    training = Training(
        fabric=fabric,
        model=parts.model,
        optimizer=parts.optimizer,
        step_model=step_model,
        step_optimizer=step_optimizer,
        scheduler=parts.scheduler,
        losses=parts.losses,
        image_names=parts.image_names,
        folder=job.run_dir / "checkpoints",
        identity=job.identity,
        weights_key=job.card.key,
        seed=job.seed,
        iterations=parts.iterations,
        accumulation_steps=_solver(job).accumulation_steps,
        checkpoint_iterations=job.protocol.run.checkpoint_iterations,
        log_iterations=job.protocol.run.log_iterations,
    )
    state = load(training) if job.resume else Progress()
    earlier_seconds = state.seconds
    _note_where(state)
    with watch() as stop:

        def check_stop() -> None:
            # One of several processes that left alone would keep the others waiting for its findings.
            if fabric.world_size == 1:
                stop.check("the training is saved, its test is not done")

        if state.iteration < training.iterations:
            train(training, parts.batches(state.iteration), state, stop)
        if fabric.is_global_zero:
            _write_log(job, state)
        found = parts.test(check_stop)
        stopped_by = (stop.name or "a signal") if any(in_any_process(fabric, bool(stop))) else ""
    if found is None:  # not the first process
        return Output(metrics={})
    result = job.measure(found)
    return Output(
        metrics=result.metrics,
        details=_details(training, state, parts.verified, result),
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


def _write_log(job: Job, state: Progress) -> None:
    if not state.log:
        return
    # Sorted, since rows that came back from a checkpoint have another order.
    columns = ["iteration", "learning_rate", *sorted(state.log[0].keys() - {"iteration", "learning_rate"})]
    lines = [",".join(columns)]
    lines += [",".join(repr(row[column]) for column in columns) for row in state.log]
    atomic.write_text(job.run_dir / "log.csv", "\n".join(lines) + "\n")
