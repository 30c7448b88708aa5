"""The fine-tuning loop, top to bottom: one visible step, exact resume, a stop before any bad update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.core import checkpoint as checkpoints
from bench.core import rng
from bench.core.errors import CheckpointError, DivergedError, Stopped
from bench.core.log import progress, say
from bench.core.signals import StopRequest
from transfer.engines.detectron2.repairs import load_detectron2

load_detectron2()

from detectron2.utils.events import EventStorage  # noqa: E402


@dataclass
class Progress:
    """What a checkpoint must bring back besides tensors."""

    iteration: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """The parts of one running trial.

    `model` and `optimizer` are the plain objects, `step_model` and `step_optimizer` what Fabric made of them.
    """

    fabric: Fabric
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step_model: Any
    step_optimizer: Any
    scheduler: Any
    folder: Path
    identity: str
    weights_key: str
    seed: int
    iterations: int
    checkpoint_iterations: int
    log_iterations: int

    def save(self, state: Progress) -> None:
        """A checkpoint after `state.iteration` iterations, by the first process alone."""
        if self.fabric.is_global_zero:
            checkpoints.save(self.folder, _to_checkpoint(self, state))
        self.fabric.barrier()

    def load(self) -> Progress:
        """The newest whole checkpoint, or the start of the run.

        Raises:
            CheckpointError: it belongs to another run.
        """
        found, damaged = checkpoints.newest(self.folder)
        for line in damaged:
            say(f"{line}; an older one is looked for")
        return Progress() if found is None else _from_checkpoint(self, found)


def train(training: Training, loader: Iterator[list[Any]], state: Progress, stop: StopRequest) -> None:
    """Run from `state.iteration` to the end; `state` is kept up to date.

    Raises:
        DivergedError: a loss or the gradient is not finite; the update was not made.
        Stopped: a signal came; the state was saved.
    """
    fabric = training.fabric
    training.step_model.train()
    begun, before = time.monotonic(), state.seconds
    title = f"Fine-tuning, seed {training.seed}"
    with (
        progress(title, training.iterations, start=state.iteration) as bar,
        EventStorage(state.iteration) as storage,
    ):
        while state.iteration < training.iterations:
            batch = next(loader)
            # The RPN and the ROI head draw which regions are trained on.
            torch.manual_seed(rng.derive(training.seed, "step", state.iteration, fabric.global_rank))
            losses = training.step_model(batch)
            loss = torch.stack(list(losses.values())).sum()
            fabric.backward(loss)
            _guard(training, state, losses, loss, batch)
            rate = training.optimizer.param_groups[0]["lr"]
            training.step_optimizer.step()
            training.step_optimizer.zero_grad()
            training.scheduler.step()
            storage.step()
            state.iteration += 1
            state.seconds = before + time.monotonic() - begun
            at_end = state.iteration == training.iterations
            if at_end or state.iteration % training.log_iterations == 0:
                values = {name: float(value.detach()) for name, value in losses.items()}
                state.log.append({"iteration": state.iteration, "learning_rate": rate, **values})
            bar.update(state.iteration, f"loss {float(loss.detach()):.3f}")
            if _any_process(fabric, bool(stop)):
                training.save(state)
                raise Stopped(
                    f"{stop.name or 'a signal'}: saved after iteration {state.iteration:,}; --resume goes on"
                )
            if at_end or state.iteration % training.checkpoint_iterations == 0:
                training.save(state)


def _any_process(fabric: Fabric, flag: bool) -> bool:
    if fabric.world_size == 1:
        return flag
    total = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    return bool(float(total) > 0) if isinstance(total, Tensor) else flag


def _guard(
    training: Training, state: Progress, losses: dict[str, Tensor], loss: Tensor, batch: list[Any]
) -> None:
    """Stop before the update if it would spoil the weights."""
    if math.isfinite(float(loss.detach())) and _gradient_is_finite(training):
        return
    parts = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
    images = ", ".join(str(entry["image_id"]) for entry in batch)
    last = f"step-{(state.iteration // training.checkpoint_iterations) * training.checkpoint_iterations:08d}"
    raise DivergedError(
        f"iteration {state.iteration + 1:,}: the loss or a gradient is not finite ({parts}; images {images}; "
        f"learning rate {training.optimizer.param_groups[0]['lr']:.4g}). Nothing of it was saved; the last "
        f"checkpoint is at or before {training.folder / last}."
    )


def _gradient_is_finite(training: Training) -> bool:
    if training.fabric.strategy.precision.precision == "16-mixed":
        # The loss scaler finds overflow in its own scaled gradients, and skips that update itself.
        return True
    gradients = [item.grad for item in training.model.parameters() if item.grad is not None]
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))


def _to_checkpoint(training: Training, state: Progress) -> checkpoints.Checkpoint:
    tensors = {f"model.{name}": value.detach().cpu() for name, value in training.model.state_dict().items()}
    for index, entry in training.optimizer.state_dict()["state"].items():
        if entry.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = entry["momentum_buffer"].detach().cpu()
    scaler = getattr(training.fabric.strategy.precision, "scaler", None)
    return checkpoints.Checkpoint(
        step=state.iteration,
        tensors=tensors,
        state={
            "identity": training.identity,
            "weights": training.weights_key,
            "seed": training.seed,
            "num_processes": training.fabric.world_size,
            "seconds": state.seconds,
            "log": state.log,
            "scheduler": training.scheduler.state_dict(),
            "rates": [group["lr"] for group in training.optimizer.param_groups],
            "scaler": scaler.state_dict() if scaler is not None else {},
        },
    )


def _from_checkpoint(training: Training, found: checkpoints.Checkpoint) -> Progress:
    state = found.state
    mine = {
        "identity": training.identity,
        "weights": training.weights_key,
        "seed": training.seed,
        "num_processes": training.fabric.world_size,
    }
    for key, value in mine.items():
        if state.get(key) != value:
            raise CheckpointError(
                f"{training.folder}: its checkpoints are of another run ({key} {state.get(key)!r} there, "
                f"{value!r} here). Give another --out, or remove that folder."
            )
    model = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
    training.model.load_state_dict(model, strict=True)
    own = training.optimizer.state_dict()
    own["state"] = {
        int(name.removeprefix("momentum.")): {"momentum_buffer": value}
        for name, value in found.tensors.items()
        if name.startswith("momentum.")
    }
    training.optimizer.load_state_dict(own)
    training.scheduler.load_state_dict(state["scheduler"])
    for group, rate in zip(training.optimizer.param_groups, state["rates"], strict=True):
        group["lr"] = rate
    scaler = getattr(training.fabric.strategy.precision, "scaler", None)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return Progress(iteration=found.step, seconds=state["seconds"], log=state["log"])
