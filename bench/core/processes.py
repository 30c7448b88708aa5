"""Several processes for one training: started by Fabric, stopped together, their errors brought home."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bench.core import errors
from bench.core.errors import BenchError, EngineError, Stopped
from bench.core.log import silence
from bench.core.signals import leave_with_the_parent, watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

J = TypeVar("J")
R = TypeVar("R")

_ERROR_LINE = re.compile(r"^bench\.core\.errors\.(\w+): (.*)", re.MULTILINE | re.DOTALL)


def launch(fabric: Fabric, run: Callable[[Fabric, J], R], job: J) -> R:
    """Run `job` in every process of `fabric`; returns what the first one brings back.

    Raises:
        BenchError: what a process raised, as itself.
        Stopped: a signal came; all processes were told, and saved together.
        EngineError: a process was killed, or a device has too little memory.
    """
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    with watch(pass_on=True) as stop:
        try:
            # The job travels inside the function and the output as bytes: Fabric walks through what it
            # sees, and refuses frozen dataclasses.
            data: bytes = fabric.launch(partial(_run_child, run=run, job=job))
        except ProcessRaisedException as error:
            raise _as_raised(str(error)) from error
        except ProcessExitedException as error:
            if stop:
                raise Stopped(
                    f"{stop.name}: a process ended before it could save; --resume goes on"
                ) from error
            raise EngineError(f"a process of the training was killed: {error}") from error
    output: R = pickle.loads(data)  # noqa: S301  (our own child wrote it, a moment ago)
    return output


def _run_child(fabric: Fabric, *, run: Callable[[Fabric, J], R], job: J) -> bytes:
    leave_with_the_parent()
    if not fabric.is_global_zero:
        silence()
    with threads_of_a_process(fabric, fabric.world_size):
        return pickle.dumps(run(fabric, job))


@contextmanager
def threads_of_a_process(fabric: Fabric, num_processes: int) -> Iterator[None]:
    """Take no more threads than are there for each of so many processes on a CPU; one takes what it has.

    Processes that each take every core slow each other down many times over.
    """
    import torch

    before = torch.get_num_threads()
    if fabric.device.type == "cpu" and num_processes > 1:
        torch.set_num_threads(min(before, max(1, (os.cpu_count() or 1) // num_processes)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_any_process(fabric: Fabric, *flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is set in one of the processes; all of them must ask."""
    import torch

    if fabric.world_size == 1:
        return flags
    total = fabric.all_reduce(
        torch.tensor([float(flag) for flag in flags], device=fabric.device), reduce_op="sum"
    )
    return tuple(bool(value > 0) for value in torch.as_tensor(total).tolist())


def _as_raised(text: str) -> BenchError:
    """The error of a child from the traceback it left; what is not ours stays our own fault."""
    found = _ERROR_LINE.search(text)
    kind = getattr(errors, found[1], None) if found else None
    if found and isinstance(kind, type) and issubclass(kind, BenchError):
        return kind(found[2].strip())
    if "OutOfMemoryError" in text:
        return out_of_memory(text.strip().splitlines()[-1])
    if lost := lost_peer(text):
        return lost
    raise RuntimeError(text)


def lost_peer(text: str) -> EngineError | None:
    """The error of a process that waits for one that is gone, by what gloo or NCCL said; None for others."""
    found = re.search(r"^.*(gloo/|DistBackendError|DistNetworkError|NCCL error).*$", text, re.MULTILINE)
    if found is None:
        return None
    return EngineError(
        f"a process of the training was killed or lost its connection: {found[0].strip()}; --resume goes on"
    )


def out_of_memory(reason: str) -> EngineError:
    """What to say, and what helps, when a device is full."""
    return EngineError(
        f"the device has too little memory: {reason.splitlines()[0]} What was trained is saved. Another run, "
        "with the batch in two parts, --precision bf16 or more --devices, needs about half"
    )
