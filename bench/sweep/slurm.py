"""`--launcher slurm`: the cells as jobs of an array, each on one node, through submitit.

A job starts its cell as a process of its own. Before the time limit Slurm sends SIGUSR2; submitit then calls
`checkpoint`, which asks the cell to save and waits, and puts the job back into the queue. A preemption begins
with SIGTERM: the cell saves, and Slurm puts the job back. The nodes need Python and the folders, and no
network.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.core import lock
from bench.core.errors import EngineError, Stopped
from bench.core.log import say
from bench.sweep.cells import Places
from bench.sweep.child import Order, Outcome, Running, keep_reason, start
from bench.sweep.config import SlurmTable
from bench.sweep.folder import SweepFolder
from bench.sweep.planning import PlannedCell
from bench.sweep.squeue import queued_jobs

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

SIGNAL_SECONDS = 180
"""Between Slurm's signal and its kill."""
_SAVE_SECONDS = SIGNAL_SECONDS - 30
_CLAIM_SECONDS = 600.0
"""How long a job waits for the claim of a node that died, whose lock falls late on a network file system."""
_LINGER_SECONDS = 900.0


class CellJob:
    """What a node runs: submitit calls it, and `checkpoint` when Slurm is about to end it."""

    def __init__(self, order: Order, engine: Any = None) -> None:
        self._order, self._engine = order, engine
        self._running: Running | None = None
        self._told = False

    def __call__(self) -> str:
        """Run the cell; what it returns or raises is in submitit's files and in Slurm's accounting."""
        os.chdir(self._order.cwd)
        _remove_leftovers()
        with self._terminated():
            self._running = start(self._order, self._engine)
            while not self._running.wait(1.0):
                pass
            outcome = self._running.outcome(stopping=self._told)
            keep_reason(self._order, outcome)
            say(f"{self._order.planned.label}: {outcome.end} {outcome.text}".rstrip())
            if outcome.end == "stopped":
                self._linger()
        return _settled(outcome)

    def checkpoint(self) -> DelayedSubmission:
        """Ask the cell to save, wait for it, and say what to run when the job starts again."""
        from submitit.core.utils import DelayedSubmission

        if self._running is not None:
            self._running.ask_to_save()
            if not self._running.wait(_SAVE_SECONDS):
                # Its lock must be free when the job starts again; the last checkpoint is whole.
                self._running.kill()
        _remove_leftovers()
        return DelayedSubmission(CellJob(self._order, self._engine))

    @contextmanager
    def _terminated(self) -> Iterator[None]:
        """Pass SIGTERM on, by which Slurm announces a preemption or a cancellation: the cell saves.

        The job does not put itself back then: a cancelled one must not come again, and a preempted one is
        put back by Slurm, or told by SIGUSR2, too.
        """

        def tell(_number: int, _frame: Any) -> None:
            self._told = True
            if self._running is not None:
                self._running.ask_to_save()

        before = signal.signal(signal.SIGTERM, tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _linger(self) -> None:
        """The cell has saved: wait for Slurm's next signal, since a job that ends well is not put back."""
        end = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < end:
            time.sleep(1.0)


def _settled(outcome: Outcome) -> str:
    if outcome.end == "done":
        return outcome.text or "done"
    kind = {"stopped": Stopped, "held": lock.InUse}.get(outcome.end, EngineError)
    raise kind(outcome.text)


def _remove_leftovers() -> None:
    """What a kill in the middle of submitit's saving left would make its next saving fail."""
    from submitit.core.job_environment import JobEnvironment

    try:
        paths = JobEnvironment().paths
    except RuntimeError:  # not inside a job
        return
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.with_suffix(path.suffix + ".save_tmp").unlink(missing_ok=True)


def submit(
    cells: list[PlannedCell],
    places: Places,
    folder: SweepFolder,
    table: SlurmTable,
    *,
    name: str,
    cluster: str = "slurm",
    engine: Any = None,
) -> dict[str, str]:
    """Put every cell into the queue that is not done, claimed or there already.

    Args:
        cells: From `plan_cells`, planned for the devices of a node.
        places: Where things go; every node must see them.
        folder: The sweep's own, likewise.
        table: What to ask for.
        name: Of the jobs.
        cluster: "slurm"; "local" for tests, where submitit runs the jobs on this machine.
        engine: Stands in for the tasks' own, in tests: a function of a module.

    Returns:
        The job number of each cell submitted now, by its record's id.

    Raises:
        EngineError: there is no Slurm here, it cannot be asked, or it refuses.
        InUse: another process submits this sweep at this moment.
    """
    with lock.hold(folder.root):
        known = folder.read_jobs()
        alive = queued_jobs() if cluster == "slurm" else {}
        todo = [
            planned
            for planned in cells
            if planned.record(places.results) is None
            and planned.claimed(places.results) is None
            and known.get(planned.id) not in alive
        ]
        jobs = {id_: job for id_, job in known.items() if job in alive}
        new: dict[str, str] = {}

        def width(planned: PlannedCell) -> int:
            return planned.cell.column.num_devices

        for num_devices, group in groupby(sorted(todo, key=width), key=width):
            orders = [_order(planned, places, folder, table) for planned in group]
            try:
                found = _submit_array(orders, folder, table, num_devices, name, cluster, engine)
            finally:
                folder.write_jobs({**jobs, **new})
            new.update(found)
            folder.write_jobs({**jobs, **new})
    return new


def _order(planned: PlannedCell, places: Places, folder: SweepFolder, table: SlurmTable) -> Order:
    return Order(
        planned,
        places,
        folder,
        cwd=os.getcwd(),
        num_gpus=planned.cell.column.num_devices if table.devices == "gpu" else 0,
        has_bf16=planned.known.has_bf16,
        wait_seconds=_CLAIM_SECONDS,
    )


def _submit_array(
    orders: list[Order],
    folder: SweepFolder,
    table: SlurmTable,
    num_devices: int,
    name: str,
    cluster: str,
    engine: Any,
) -> dict[str, str]:
    import submitit

    executor = submitit.AutoExecutor(
        folder.jobs_root.absolute(), cluster=cluster, slurm_max_num_timeout=table.max_timeouts
    )
    executor.update_parameters(**_parameters(table, num_devices, name))
    for order in orders:
        folder.forget_failure(order.planned.id)
    try:
        with executor.batch():
            jobs = [executor.submit(CellJob(order, engine)) for order in orders]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise EngineError(f"sbatch refused the jobs: {lines[-1] if lines else error}") from error
    return {order.planned.id: job.job_id for order, job in zip(orders, jobs, strict=True)}


def _parameters(table: SlurmTable, num_devices: int, name: str) -> dict[str, Any]:
    cpus = table.cpus_per_device * num_devices
    more: dict[str, Any] = {"requeue": True}  # also after a preemption or a failure that only Slurm sees
    slurm = {
        "partition": table.partition,
        "account": table.account,
        "qos": table.qos,
        "constraint": table.constraint,
        "exclude": table.exclude,
        "array_parallelism": table.max_parallel,
        "signal_delay_s": SIGNAL_SECONDS,
        "setup": list(table.setup) or None,
        "additional_parameters": more,
        # Since 22.05, srun does not take it from sbatch.
        "srun_args": [f"--cpus-per-task={cpus}"],
    }
    return {
        "name": f"bench-{name}",
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": cpus,
        "gpus_per_node": num_devices if table.devices == "gpu" else None,
        "mem_gb": table.memory_gib_per_device * num_devices,
        "timeout_min": table.time_limit_minutes,
        **{f"slurm_{key}": value for key, value in slurm.items() if value is not None},
    }
