"""The parts of a running pretraining, and how they are saved and brought back: exactly, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from bench.core import checkpoint as checkpoints
from bench.core.errors import CheckpointError, DivergedError
from bench.core.log import say
from bench.core.provenance import package_versions
from pretrain import optimizer_state
from pretrain.api import MethodModel
from pretrain.config import PretrainConfig
from pretrain.data.order import Order

_OPTIMIZER = "optimizer."
"""What names of the optimiser's tensors begin with in a checkpoint."""


@dataclass
class Progress:
    """What a checkpoint must bring back besides tensors.

    Attributes:
        step: Updates made; with fp16, those that its loss scaler left out among them.
        seconds: Spent on them.
        skipped, skipped_in_a_row: Updates that fp16's loss scaler left out.
        monitor: A row for each time that the k-NN classifier was asked.
        commits, machines: Those that this run was trained by: on another processor, or with other threads,
            sums come out otherwise.
    """

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    monitor: list[dict[str, float]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """The parts of one running pretraining.

    `model` and `optimizer` are the plain objects, `step_model` and `step_optimizer` what Fabric made of them;
    `conditions` are those of the plan.
    """

    fabric: Fabric
    config: PretrainConfig[Any]
    order: Order
    model: MethodModel
    optimizer: torch.optim.Optimizer
    step_model: Any
    step_optimizer: Any
    run_dir: Path
    identity: str
    conditions: dict[str, Any]
    seed: int

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.run_dir / "checkpoints"

    @property
    def num_steps(self) -> int:
        """Updates of the whole run."""
        return self.config.epochs * self.order.steps_per_epoch

    @property
    def scaler(self) -> Any:
        """The loss scaler of fp16, or None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)


def save(training: Training, state: Progress) -> None:
    """A checkpoint after `state.step` updates, by the first process alone.

    Raises:
        DivergedError: a tensor is not finite; nothing was saved.
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


def _owner(training: Training) -> dict[str, Any]:
    """What must be equal in a checkpoint and in the run that goes on with it."""
    return {
        "identity": training.identity,
        "seed": training.seed,
        **training.conditions,
        "software": package_versions(),
    }


def _to_checkpoint(training: Training, state: Progress) -> checkpoints.Checkpoint:
    tensors = {f"model.{name}": value.detach().cpu() for name, value in training.model.state_dict().items()}
    remembered = optimizer_state.to_tensors(training.optimizer)
    tensors |= {f"{_OPTIMIZER}{name}": value for name, value in remembered.items()}
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise DivergedError(
            f"step {state.step:,}: {len(bad)} tensors are not finite (first: {bad[0]}); nothing was saved"
        )
    return checkpoints.Checkpoint(
        step=state.step,
        tensors=tensors,
        state={
            **_owner(training),
            "seconds": state.seconds,
            "scaler": training.scaler.state_dict() if training.scaler else {},
            "skipped": [state.skipped, state.skipped_in_a_row],
            "monitor": state.monitor,
            "commits": state.commits,
            "machines": state.machines,
        },
    )


def _from_checkpoint(training: Training, found: checkpoints.Checkpoint) -> Progress:
    state = found.state
    for key, value in _owner(training).items():
        if state.get(key) != value:
            raise CheckpointError(
                f"{training.folder}: its checkpoints are of another run ({key}: {state.get(key)} there, "
                f"{value} here). Give another --out, or remove that folder."
            )
    model = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
    training.model.load_state_dict(model, strict=True)
    optimizer_state.from_tensors(training.optimizer, found.tensors, _OPTIMIZER)
    if training.scaler and state["scaler"]:
        training.scaler.load_state_dict(state["scaler"])
    return Progress(
        step=found.step,
        seconds=state["seconds"],
        skipped=state["skipped"][0],
        skipped_in_a_row=state["skipped"][1],
        monitor=state["monitor"],
        commits=state["commits"],
        machines=state["machines"],
    )
