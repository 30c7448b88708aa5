"""What any engine counts and times before a trial starts: memory, seconds, disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.core import checkpoint
from bench.core.weights import Weights
from transfer.protocols.transfer import SgdSolver

BYTES_A_PARAMETER = 12
"""Weights, gradients and momentum, fp32 each."""

WORKSPACE_BYTES = 2**30
"""Kept back for the workspaces of CUDA's libraries and for what lies between the tensors."""

_TURNS = 2
"""The first is slow: a GPU chooses its kernels, a CPU takes its memory."""


def possible_parts(solver: SgdSolver, on_device: int) -> list[int]:
    """In how many parts a device's share of a batch could be taken; batch norm needs two images a part."""
    return [
        parts
        for parts in range(1, on_device + 1)
        if parts == solver.accumulation_steps
        or (on_device % parts == 0 and solver.images_per_batch // parts > 1)
    ]


def fixed_storages(model: nn.Module) -> set[int]:
    """The storages of parameters and buffers, which are there anyway."""
    return {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}


def kept_bytes(forward: Callable[[], None], fixed: set[int]) -> list[int]:
    """Sizes of what autograd keeps of a forward pass, each storage once, those in `fixed` left out."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return [tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in fixed]


def peak_bytes(model: nn.Module, kept: Sequence[int], precision: str) -> int:
    """Bytes of one device at the fullest moment of a step.

    Args:
        model: With parameters, gradients and momentum in fp32.
        kept: Sizes of what autograd keeps, in fp32; the gradient of the largest of it comes on top.
        precision: Of the activations.
    """
    # Halved was measured: with bf16 the peak of a whole step is 0.51 of that with fp32.
    activations = (sum(kept) + max(kept)) / (1 if precision == "fp32" else 2)
    return int(activations) + BYTES_A_PARAMETER * sum(parameter.numel() for parameter in model.parameters())


def free_bytes(fabric: Fabric) -> int | None:
    """What a GPU has left for tensors; None for a CPU."""
    if fabric.device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(fabric.device)[0]) - WORKSPACE_BYTES


def disk_bytes(model: nn.Module, weights: Weights | None) -> int:
    """Of a run folder at its fullest: the checkpoints kept, a new one, the converted weights."""
    state = sum(int(tensor.nbytes) for tensor in (*model.parameters(), *model.state_dict().values()))
    converted = 0 if weights is None else sum(array.nbytes for array in weights.tensors.values())
    return (checkpoint.KEEP + 1) * state + converted


@dataclass(frozen=True)
class Times:
    """Seconds: of one image in a training step, of an update, of one image in the test."""

    train_image: float
    update: float
    test_image: float


def times_of(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    losses: Callable[[Any], Mapping[str, Tensor]],
    num_images: int,
    test: Callable[[], Any],
) -> Times:
    """Time real steps, updates and tests on this machine.

    Args:
        fabric: One device, with the precision of the trial.
        model: On its device.
        optimizer: With a rate of 0: an update takes as long, and cannot diverge.
        losses: Of the model as Fabric has it, on so many images.
        num_images: In a step.
        test: Tests one image.
    """
    step_model, step_optimizer = fabric.setup(model, optimizer)

    def step() -> None:
        fabric.backward(torch.stack(list(losses(step_model).values())).sum())

    def update() -> None:
        step_optimizer.step()
        step_optimizer.zero_grad()

    step_model.train()
    # In turns: an update without a step before it is none.
    turns = [(_seconds(fabric, step), _seconds(fabric, update)) for _ in range(_TURNS)]
    model.eval()
    with torch.no_grad():
        test_image = min(_seconds(fabric, test) for _ in range(_TURNS))
    return Times(min(turns)[0] / num_images, min(turn[1] for turn in turns), test_image)


def _seconds(fabric: Fabric, work: Callable[[], Any]) -> float:
    """Wall seconds of a piece of work, and of what a device still does of it."""
    _wait(fabric)
    begun = time.perf_counter()
    work()
    _wait(fabric)
    return time.perf_counter() - begun


def _wait(fabric: Fabric) -> None:
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
