"""What the missing cells will take, from a step of each protocol on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.log import say
from bench.sweep.cells import Cell, Column, Places
from bench.sweep.planning import DevicesOf, PlannedCell, Planning, plan_cells

if TYPE_CHECKING:
    from transfer.api import Estimate
    from transfer.run import Plan


@dataclass(frozen=True)
class ColumnCost:
    """A protocol's cells that are to run, and what one takes; without `estimate`, why not.

    Cells of weights that could not be read count, since they take the same.
    """

    column: Column
    num_todo: int
    estimate: Estimate | None
    why_not: str = ""

    @property
    def cell_seconds(self) -> float:
        """Of one cell, on all of its devices at once."""
        return self.estimate.train_seconds + self.estimate.test_seconds if self.estimate else 0.0

    @property
    def device_hours(self) -> float:
        """Of all its cells together."""
        return self.cell_seconds * self.num_todo * self.column.num_devices / 3600

    @property
    def disk_bytes(self) -> int:
        """Of all its cells together."""
        return self.estimate.disk_bytes * self.num_todo if self.estimate else 0


@dataclass(frozen=True)
class Cost:
    """What a start would do; `todo` are the cells whose weights and protocol could be read here."""

    todo: list[PlannedCell]
    num_done: int
    columns: list[ColumnCost]
    planning: Planning

    @property
    def num_todo(self) -> int:
        """Cells that are to run, those that could not be planned here included."""
        return sum(column.num_todo for column in self.columns)

    @property
    def device_hours(self) -> float:
        """Of all cells of known cost."""
        return sum(column.device_hours for column in self.columns)

    @property
    def disk_bytes(self) -> int:
        """In the run folders, of all cells of known cost."""
        return sum(column.disk_bytes for column in self.columns)

    @property
    def memory_bytes(self) -> int:
        """Of one device at its fullest."""
        return max((found.estimate.memory_bytes for found in self.columns if found.estimate), default=0)


def estimate_cells(
    cells: list[Cell],
    places: Places,
    *,
    devices_of: DevicesOf = lambda _column: None,
    room: Callable[[Plan], Estimate] | None = None,
) -> Cost:
    """Plan the cells and time a step of each protocol that has some to run; nothing is written.

    A column that cannot be planned or timed here is a problem of the planning; the others go on.

    Args:
        cells: From `cells_of`.
        places: Where things would go.
        devices_of: As in `plan_cells`.
        room: Estimates, in place of the task's engine, in tests.
    """
    estimates: dict[Column, Estimate] = {}

    nums = Counter(cell.column for cell in cells)
    num_done = Counter[Column]()

    def on_plan(column: Column, plan: Plan, planned: list[PlannedCell]) -> None:
        num_done[column] = sum(cell.record(places.results) is not None for cell in planned)
        if num_done[column] == nums[column]:
            return
        say(f"Estimating {column.label}")
        estimates[column] = (room or _ask_engine)(plan)

    planning = plan_cells(cells, places, devices_of=devices_of, on_plan=on_plan)
    todo = [planned for planned in planning.cells if planned.record(places.results) is None]
    columns = [
        ColumnCost(
            column, num - num_done[column], estimates.get(column), str(planning.problems.get(column, ""))
        )
        for column, num in nums.items()
    ]
    return Cost(todo, num_done.total(), columns, planning)


def _ask_engine(plan: Plan) -> Estimate:
    from transfer.engines import load_engine

    return load_engine(plan.task.spec.engine).estimate_job(plan.job(0))
