"""How far a sweep is: from records, claims, checkpoints and the queue, with no look into the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.checkpoint import newest_step
from bench.core.errors import BenchError
from bench.core.records import Record
from bench.sweep.cells import Cell, Places
from bench.sweep.folder import Known, SweepFolder
from bench.sweep.planning import PlannedCell
from bench.sweep.squeue import has_slurm, queued_jobs
from bench.sweep.stamps import changed

State = Literal["done", "running", "queued", "stopped", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "queued", "stopped", "failed", "missing")


@dataclass(frozen=True)
class CellStatus:
    """One cell. `text` is its number, its progress or its reason."""

    cell: Cell
    weights: str
    state: State
    text: str = ""
    record_id: str | None = None
    metric: float | None = None


@dataclass(frozen=True)
class SweepStatus:
    """All cells, in the order of the file, and what a reader should know of how this was found out."""

    cells: list[CellStatus]
    notes: list[str]

    def counts(self) -> dict[State, int]:
        """How many are in each state."""
        found = [status.state for status in self.cells]
        return {state: found.count(state) for state in STATES}


def status_of(cells: list[Cell], places: Places, folder: SweepFolder) -> SweepStatus:
    """Look at every cell.

    Raises:
        StoreError: a file in the sweep's folder is damaged.
        EngineError: Slurm has jobs of this sweep and does not answer.
    """
    known, stamps = folder.read_plan()
    jobs, notes = folder.read_jobs(), []
    alive: dict[str, str] = {}
    if jobs and has_slurm():
        alive = queued_jobs()
    elif jobs:
        notes.append("no squeue on the PATH: jobs in the queue are not shown")
    if not known:
        notes.append("not planned yet: cells count as missing, whether their records are there or not")
    elif any(cell.key not in known for cell in cells):
        notes.append("the file has changed since the last start; new cells are not planned yet")
    notes += [
        f"{path}: has changed since the last start; the next one plans anew, and records of the old may not "
        "count any more"
        for path in changed(stamps)
    ]
    found = [
        _status(cell, known[cell.key], places, folder, alive.get(jobs.get(known[cell.key].id, "")))
        if cell.key in known
        else CellStatus(cell, cell.weights.label, "missing", "not planned yet")
        for cell in cells
    ]
    return SweepStatus(found, notes)


def _status(
    cell: Cell, known: Known, places: Places, folder: SweepFolder, job_state: str | None
) -> CellStatus:
    planned = PlannedCell(cell, cell.column.task, known)

    def status(state: State, text: str) -> CellStatus:
        return CellStatus(cell, known.weights_name, state, text, known.id)

    try:
        # In this order: the record is there before the claim falls.
        holder = planned.claimed(places.results)
        record = planned.record(places.results)
        failure = folder.read_failure(known.id)
    except BenchError as error:
        return status("failed", str(error))
    if record is not None:
        value = record.metrics[record.main_metric].value
        return CellStatus(cell, known.weights_name, "done", metric_text(record), known.id, value)
    step = newest_step(Path(known.run_dir) / "checkpoints")
    at = f"{step or 0:,} of {known.iterations:,} iterations"
    if holder is not None:
        return status("running", f"saved at {at}, {holder}" if known.iterations else holder)
    if job_state is not None:
        return status("queued", f"{job_state}{f', saved at {at}' if step else ''}")
    if failure is not None:
        return status("failed", failure.reason.splitlines()[0] if failure.reason else "no reason known")
    return status("stopped", f"saved at {at}") if step else status("missing", "")


def metric_text(record: Record) -> str:
    """AP50 81.23."""
    return f"{record.main_metric} {record.metrics[record.main_metric].value:.2f}"
