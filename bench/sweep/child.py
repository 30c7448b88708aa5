"""One cell in a process of its own: claim it, look whether it is done, plan it, run it, say how it ended.

Nothing heavy is imported at the top: the process sets its threads and GPUs before torch is loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from bench.core.errors import BenchError, ConfigError, EngineError, Stopped
from bench.core.lock import InUse
from bench.core.log import say
from bench.core.signals import leave_with_the_parent
from bench.sweep.cells import Places
from bench.sweep.claims import claim
from bench.sweep.folder import Failure, SweepFolder
from bench.sweep.planning import PlannedCell
from bench.sweep.redirect import redirect_output

End = Literal["done", "held", "failed", "stopped"]
_KILLED = EngineError.exit_code
_STOPPING = (signal.SIGTERM, signal.SIGINT)

# Of a task of Slurm, for which Fabric and MMEngine would take our process.
_RANK_VARIABLES = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS_PER_NODE")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. `held`: another process runs it. `stopped`: by a signal, and saved."""

    end: End
    text: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Order:
    """All that a process needs to run one cell.

    Attributes:
        planned: The cell.
        places: Where things go, relative to `cwd`.
        folder: The sweep's own.
        cwd: What relative paths of the file are relative to.
        environment: Variables to set first.
        num_gpus: How many the process must see; 0 on a CPU.
        has_bf16: Whether the cell was planned for a CPU that has it; see `bench.core.cpu`.
        wait_seconds: For another holder of the cell.
    """

    planned: PlannedCell
    places: Places
    folder: SweepFolder
    cwd: str
    environment: tuple[tuple[str, str], ...] = ()
    num_gpus: int = 0
    has_bf16: bool = True
    wait_seconds: float = 0.0


def run_order(order: Order, engine: Any = None) -> Outcome:
    """Run one cell in this process; `engine` stands in for the task's own, in tests.

    Raises:
        InUse: another process runs it, now or by `bench transfer`.
        Stopped: a signal came.
        BenchError: as `bench transfer` raises it.
    """
    planned, places = order.planned, order.places
    with claim(places.results, planned.id, wait_seconds=order.wait_seconds):
        if planned.record(places.results) is not None:
            return Outcome("done", "recorded already")
        from transfer.api import TASKS
        from transfer.comparability import Devices
        from transfer.run import execute, make_plan

        _check_gpus(order)
        devices = Devices(planned.cell.column.num_devices, order.num_gpus, order.has_bf16)
        plan = make_plan(TASKS.get(planned.task), planned.cell.options(places), devices=devices)
        for line in plan.lines():
            say(line)
        if (found := _id_of(plan, planned.cell.seed)) != planned.id:
            raise ConfigError(
                f"{planned.label}: its record would be {found}, not {planned.id} as planned: weights, data, "
                "protocol or devices are others than when the sweep began. Start the sweep again"
            )
        execute(plan, engine)
    return Outcome("done")


def _id_of(plan: Any, seed: int) -> str:
    from bench.core.records import record_id

    spec = plan.task.spec
    return record_id(plan.card.key, spec.name, spec.version, plan.identity, seed)


def _check_gpus(order: Order) -> None:
    if not order.num_gpus:
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < order.num_gpus:
        raise EngineError(f"{os.uname().nodename}: PyTorch sees {seen} GPUs; {order.num_gpus} were asked for")


def _main(order: Order, sending: Connection, engine: Any) -> None:
    leave_with_the_parent()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        # A scheduler may send them to every process. Here the parent answers; a training listens by itself.
        signal.signal(number, signal.SIG_IGN)
    os.chdir(order.cwd)
    for name in _RANK_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(order.environment)
    if not order.num_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # planned for a CPU, and so it runs, whatever this node has
    sys.argv = order.planned.cell.command(order.places)
    try:
        redirect_output(order.folder.log(order.planned.id))
        say(f"$ {order.planned.cell.command_text(order.places)}")
        outcome = run_order(order, engine)
    except InUse as error:
        outcome = Outcome("held", str(error))
    except (Stopped, KeyboardInterrupt) as error:
        outcome = Outcome("stopped", str(error), Stopped.exit_code)
    except BenchError as error:
        outcome = Outcome("failed", str(error), error.exit_code)
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome("failed", f"our own fault: {type(error).__name__}: {error}", 1)
    say(f"{outcome.end}: {outcome.text}" if outcome.text else outcome.end)
    sending.send(outcome)


class Running:
    """A cell's process, as its parent sees it."""

    def __init__(self, order: Order, process: SpawnProcess, receiving: Connection) -> None:
        self.order = order
        self._process, self._receiving = process, receiving

    @property
    def sentinel(self) -> int:
        """For `multiprocessing.connection.wait`."""
        return self._process.sentinel

    def ask_to_save(self) -> None:
        """SIGTERM: it saves and ends at its next iteration, or at once where there is nothing to save."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGTERM)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, after at most so long."""
        self._process.join(seconds)
        return not self._process.is_alive()

    def kill(self) -> None:
        """At once; the last checkpoint is whole."""
        self._process.kill()
        self._process.join()

    def outcome(self, *, stopping: bool) -> Outcome:
        """How it ended; the results store has the last word.

        Args:
            stopping: Whether it was asked to end, so that its death by that signal is no failure.
        """
        self._process.join()
        said = _received(self._receiving)
        code = self._process.exitcode or 0
        try:
            recorded = self.order.planned.record(self.order.places.results) is not None
        except BenchError as error:
            return Outcome("failed", str(error), error.exit_code)
        if recorded:
            return Outcome("done", said.text if said and said.end == "done" else "")
        if said is not None and said.end != "done":
            return said
        if stopping and (code == 1 or -code in _STOPPING):
            return Outcome("stopped", "before it trained", Stopped.exit_code)
        if code < 0:
            return Outcome("failed", f"its process was killed by {signal.Signals(-code).name}", _KILLED)
        return Outcome("failed", f"its process ended with exit code {code} and left no record", _KILLED)


def _received(receiving: Connection) -> Outcome | None:
    try:
        found = receiving.recv() if receiving.poll() else None
    except (EOFError, OSError):
        return None
    finally:
        receiving.close()
    return found if isinstance(found, Outcome) else None


def start(order: Order, engine: Callable[..., Any] | None = None) -> Running:
    """Start a cell's process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(order, sending, engine), name=f"cell {order.planned.id}")
    process.start()
    sending.close()
    return Running(order, process, receiving)


def keep_reason(order: Order, outcome: Outcome) -> None:
    """Put down why a cell failed, or that it did not. Raises DiskError."""
    id_ = order.planned.id
    if outcome.end == "failed":
        order.folder.write_failure(id_, Failure(outcome.text, outcome.exit_code, order.planned.label))
    else:
        order.folder.forget_failure(id_)
