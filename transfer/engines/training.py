"""The parts of a running trial, and how they are saved and brought back: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.core import checkpoint as checkpoints
from bench.core.errors import CheckpointError
from bench.core.log import say
from bench.core.provenance import package_versions


@dataclass
class Progress:
    """What a checkpoint must bring back besides tensors.

    `skipped` counts updates that fp16's loss scaler left out; `commits` and `machines` are those that this
    run was trained by: on another processor, or with other threads, sums come out otherwise.
    """

    iteration: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    commits: list[str] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """The parts of one running trial.

    Attributes:
        model, optimizer: The plain objects.
        step_model, step_optimizer: What Fabric made of them.
        losses: Of `step_model` and one part of a batch, each by its name; their sum is what is minimised.
        image_names: Of a batch, for a message.
    """

    fabric: Fabric
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step_model: Any
    step_optimizer: Any
    scheduler: Any
    losses: Callable[[Any, list[Any]], dict[str, Tensor]]
    image_names: Callable[[list[Any]], list[str]]
    folder: Path
    identity: str
    weights_key: str
    seed: int
    iterations: int
    accumulation_steps: int
    checkpoint_iterations: int
    log_iterations: int

    @property
    def scaler(self) -> Any:
        """The loss scaler of fp16, or None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)


_PLACE = ("last_epoch", "last_step", "_global_step", "_last_value")
"""Where a schedule is, in PyTorch's words and in MMEngine's; the rest of its state is made from the protocol.

Not all of that survives JSON: MMEngine counts its steps in a dict, whose keys would come back as text, and a
resumed run would keep its rate to the end.
"""


def save(training: Training, state: Progress) -> None:
    """A checkpoint after `state.iteration` iterations, by the first process alone.

    Raises:
        DiskError: it cannot be written; the earlier ones are untouched.
    """
    if training.fabric.is_global_zero:
        checkpoints.save(training.folder, _to_checkpoint(training, state))
    training.fabric.barrier()


def load(training: Training) -> Progress:
    """Bring back the newest whole checkpoint; without one, the start of the run.

    Raises:
        CheckpointError: it belongs to another run, or was made by other versions of what moves a number.
    """
    found, damaged = checkpoints.newest(training.folder)
    for line in damaged:
        say(f"{line}; an older one is looked for")
    return Progress() if found is None else _from_checkpoint(training, found)


def _to_checkpoint(training: Training, state: Progress) -> checkpoints.Checkpoint:
    tensors = {f"model.{name}": value.detach().cpu() for name, value in training.model.state_dict().items()}
    for index, entry in training.optimizer.state_dict()["state"].items():
        if entry.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = entry["momentum_buffer"].detach().cpu()
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
            "scheduler": _place_of(training.scheduler),
            "rates": [group["lr"] for group in training.optimizer.param_groups],
            "scaler": training.scaler.state_dict() if training.scaler else {},
            "skipped": [state.skipped, state.skipped_in_a_row],
            "commits": state.commits,
            "machines": state.machines,
            "software": package_versions(),
        },
    )


def _place_of(scheduler: Any) -> dict[str, Any]:
    state = scheduler.state_dict()
    return {key: state[key] for key in _PLACE if key in state}


def _from_checkpoint(training: Training, found: checkpoints.Checkpoint) -> Progress:
    state = found.state
    mine = {
        "identity": training.identity,
        "weights": training.weights_key,
        "seed": training.seed,
        "num_processes": training.fabric.world_size,
        "software": package_versions(),
    }
    for key, value in mine.items():
        if state.get(key) != value:
            raise CheckpointError(
                f"{training.folder}: its checkpoints are of another run ({key}: {state.get(key)} there, "
                f"{value} here). Give another --out, or remove that folder."
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
    training.scheduler.load_state_dict({**training.scheduler.state_dict(), **state["scheduler"]})
    for group, rate in zip(training.optimizer.param_groups, state["rates"], strict=True):
        group["lr"] = rate
    if training.scaler and state["scaler"]:
        training.scaler.load_state_dict(state["scaler"])
    return Progress(
        iteration=found.step,
        seconds=state["seconds"],
        skipped=state["skipped"][0],
        skipped_in_a_row=state["skipped"][1],
        commits=state["commits"],
        machines=state["machines"],
        log=state["log"],
    )
