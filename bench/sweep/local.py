"""`--launcher local`: a queue of cells over the devices of this machine.

Several may run at once, on this machine and on others that see the same results store: a cell that another
process has claimed is left to it, and taken over if that process ends without a record.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.core.errors import BenchError, EngineError, Stopped
from bench.core.log import Bar, progress, say
from bench.core.signals import StopRequest, watch
from bench.sweep.cells import Places
from bench.sweep.child import Order, Outcome, Running, keep_reason, start
from bench.sweep.devices import Pool
from bench.sweep.folder import SweepFolder
from bench.sweep.planning import PlannedCell

_TICK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 5.0

OnEnd = Callable[[PlannedCell, Outcome], None]


@dataclass
class Queue:
    """The cells of one start: which wait, run, are left to others, and how the rest ended."""

    places: Places
    folder: SweepFolder
    pool: Pool
    on_end: OnEnd
    engine: Any = None
    waiting: list[PlannedCell] = field(default_factory=list)
    held: list[PlannedCell] = field(default_factory=list)
    running: dict[Running, list[str]] = field(default_factory=dict)
    ended: dict[str, tuple[PlannedCell, Outcome]] = field(default_factory=dict)
    looked: float = 0.0

    def end(self, planned: PlannedCell, outcome: Outcome) -> None:
        """A cell is over, for this start."""
        self.ended[planned.id] = (planned, outcome)
        self.on_end(planned, outcome)

    def start_what_fits(self) -> None:
        """Start each cell, in order, that finds enough devices."""
        for planned in list(self.waiting):
            taken = self.pool.take(planned.cell.column.num_devices)
            if taken is None:
                continue
            self.waiting.remove(planned)
            if planned.claimed(self.places.results):
                self.pool.give_back(taken)
                self.held.append(planned)
                continue
            order = Order(
                planned,
                self.places,
                self.folder,
                cwd=os.getcwd(),
                environment=self.pool.environment(taken),
                num_gpus=planned.cell.column.num_devices if self.pool.gpus else 0,
                has_bf16=planned.known.has_bf16,
            )
            self.folder.forget_failure(planned.id)
            self.running[start(order, self.engine)] = taken

    def look_at_held(self) -> None:
        """Now and then: those that others have finished are done, those they left wait again."""
        if time.monotonic() - self.looked < _LOOK_AGAIN_SECONDS:
            return
        self.looked = time.monotonic()
        for planned in list(self.held):
            # In this order: the record is there before the claim falls.
            claimed = planned.claimed(self.places.results)
            try:
                recorded = planned.record(self.places.results) is not None
            except BenchError as error:
                self.held.remove(planned)
                self.end(planned, Outcome("failed", str(error), error.exit_code))
                continue
            if recorded:
                self.held.remove(planned)
                self.end(planned, Outcome("done", "by another process"))
            elif claimed is None:
                self.held.remove(planned)
                self.waiting.append(planned)

    def reap(self, *, stopping: bool) -> None:
        """Wait a moment for a cell to end; settle those that did."""
        sentinels = [running.sentinel for running in self.running]
        if not sentinels:
            time.sleep(_TICK_SECONDS)
        multiprocessing.connection.wait(sentinels, timeout=_TICK_SECONDS)
        for running in [running for running in self.running if running.wait(0)]:
            self.pool.give_back(self.running.pop(running))
            planned, outcome = running.order.planned, running.outcome(stopping=stopping)
            if outcome.end == "held":
                self.held.append(planned)
                continue
            keep_reason(running.order, outcome)
            self.end(planned, outcome)


def run_local(
    cells: list[PlannedCell],
    places: Places,
    folder: SweepFolder,
    pool: Pool,
    *,
    on_end: OnEnd,
    engine: Any = None,
) -> dict[str, tuple[PlannedCell, Outcome]]:
    """Run every cell that has no record; returns how each ended, by its record's id.

    A cell that fails keeps no other from running.

    Args:
        cells: From `plan_cells`.
        places: Where things go.
        folder: The sweep's own.
        pool: The devices to use.
        on_end: Called for each cell when it is over.
        engine: Stands in for the tasks' own, in tests: a function of a module.

    Raises:
        EngineError: a cell asks for more devices than there are.
        Stopped: a signal came; the cells that ran have saved.
    """
    _check_sizes(cells, pool)
    queue = Queue(places, folder, pool, on_end, engine)
    todo = [planned for planned in cells if planned.record(places.results) is None]
    # Wide ones first, that they need not wait for many narrow ones to end at once; else as in the file.
    queue.waiting = sorted(todo, key=lambda planned: -planned.cell.column.num_devices)
    with watch(pass_on=True) as stop, progress("Cells", len(cells), start=len(cells) - len(todo)) as bar:
        try:
            _work(queue, stop, bar, len(cells) - len(todo))
        finally:
            for running in queue.running:  # left by an error of ours: it saves and ends
                running.ask_to_save()
    if stop:
        counts = Counter(outcome.end for _, outcome in queue.ended.values())
        left = len(todo) - counts["done"] - counts["failed"]
        raise Stopped(
            f"{stop.name}: {counts['done']} cells done, {left} left; what ran is saved; "
            "the same command goes on"
        )
    return queue.ended


def _work(queue: Queue, stop: StopRequest, bar: Bar, num_before: int) -> None:
    told = waits = False
    while queue.running or (not stop and (queue.waiting or queue.held)):
        if not stop:
            queue.look_at_held()
            queue.start_what_fits()
            if queue.held and not queue.running and not queue.waiting and not waits:
                waits = True
                say(f"Waiting for {len(queue.held)} cells that other processes run")
        elif not told:
            # The handler has told those it knew of; one may have been just about to start.
            told = True
            for running in queue.running:
                running.ask_to_save()
        queue.reap(stopping=bool(stop))
        bar.update(num_before + len(queue.ended), f"{len(queue.running)} running")


def _check_sizes(cells: list[PlannedCell], pool: Pool) -> None:
    for planned in cells:
        wanted = planned.cell.column.num_devices
        if pool.gpus and wanted > len(pool.names):
            raise EngineError(f"{planned.label}: devices = {wanted}; there are {len(pool.names)} here to use")
