"""Before a sweep: every protocol planned once, every set of weights read once, every record's id known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.card import Card
from bench.core.config import find_config
from bench.core.errors import BenchError, ConfigError
from bench.core.paths import CONFIGS
from bench.core.records import Record, record_id
from bench.core.store import Store
from bench.sweep.cells import Cell, Column, Places, data_of
from bench.sweep.claims import claimed_by
from bench.sweep.config import WeightsEntry
from bench.sweep.folder import Known
from bench.sweep.stamps import stamps

if TYPE_CHECKING:
    from transfer.comparability import Devices
    from transfer.run import Plan

DevicesOf = Callable[[Column], "Devices | None"]
"""The devices a column will run on; None for those of this machine."""

OnPlan = Callable[[Column, "Plan", list["PlannedCell"]], None]
"""Called with each column's plan while its data is in memory, and with its cells."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell whose record's id is known."""

    cell: Cell
    task: str
    known: Known

    @property
    def id(self) -> str:
        """Of its record."""
        return self.known.id

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.known.weights_name}, {self.cell.column.label}, seed {self.cell.seed}"

    def claimed(self, results: Path) -> str | None:
        """Process and host that run it now, or None. Raises DiskError where there are no locks."""
        return claimed_by(results, self.id, Path(self.known.run_dir))

    def record(self, results: Path) -> Record | None:
        """Its record, if it is done. Raises StoreError if that cannot be read."""
        return Store(results).find(self.known.weights_name, self.task, self.id)


@dataclass
class Planning:
    """What came out: the cells that may run, in order, and what keeps others from it."""

    cells: list[PlannedCell] = field(default_factory=list)
    problems: dict[WeightsEntry | Column, BenchError] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises the error of the first weights or column that cannot be planned, with a line for each."""
        if not self.problems:
            return
        lines = [f"{what.label}: {line}" for what, error in self.problems.items() for line in error.problems]
        first = next(iter(self.problems.values()))
        raise type(first).of(lines, hint="Nothing was started; mend these, or take them out of the file.")


def plan_cells(
    cells: list[Cell],
    places: Places,
    *,
    devices_of: DevicesOf = lambda _column: None,
    on_plan: OnPlan | None = None,
) -> Planning:
    """Plan every cell.

    Args:
        cells: From `cells_of`.
        places: Where things go.
        devices_of: What to plan for, where another machine runs it.
        on_plan: Sees each column's plan; a BenchError that it raises is a problem of that column.

    Raises:
        ConfigError: two cells would write one record.
        StoreError: something else than a folder is in the place of the store.
    """
    Store(places.results).check()
    planning = Planning()
    cards: dict[WeightsEntry, Card] = {}
    for weights in dict.fromkeys(cell.weights for cell in cells):
        try:
            cards[weights] = read_card(weights)
        except BenchError as error:
            planning.problems[weights] = error
    known: dict[Cell, Known] = {}
    for column in dict.fromkeys(cell.column for cell in cells):
        mine = [cell for cell in cells if cell.column == column and cell.weights in cards]
        try:
            found = _plan_column(column, mine, cards, places, devices_of(column), on_plan)
        except BenchError as error:
            planning.problems[column] = error
        else:
            known.update(found)
    planning.cells = [PlannedCell(cell, cell.column.task, known[cell]) for cell in cells if cell in known]
    _refuse_equal(planning.cells)
    planning.stamps = stamps(sorted(set(_inputs(cells, places))))
    return planning


def _plan_column(
    column: Column,
    cells: list[Cell],
    cards: dict[WeightsEntry, Card],
    places: Places,
    devices: Devices | None,
    on_plan: OnPlan | None,
) -> dict[Cell, Known]:
    from transfer.api import TASKS
    from transfer.comparability import Devices
    from transfer.run import RANDOM, make_plan

    devices = devices or Devices.here(column.num_devices)
    task = TASKS.get(column.task)
    # Weights are no part of a protocol's identity: random ones will do, and the data is read once.
    options = Cell(WeightsEntry(checkpoint=RANDOM), column, 0).options(places)
    plan = make_plan(task, options, devices=devices)
    for weights in dict.fromkeys(cell.weights for cell in cells):
        task.check_input(cards[weights].input)
    bf16 = devices.has_bf16
    known = {cell: _known(plan, cards[cell.weights], cell.seed, bf16) for cell in cells}
    if on_plan is not None:
        on_plan(column, plan, [PlannedCell(cell, column.task, known[cell]) for cell in cells])
    return known


def _known(plan: Plan, card: Card, seed: int, has_bf16: bool) -> Known:
    spec = plan.task.spec
    return Known(
        id=record_id(card.key, spec.name, spec.version, plan.identity, seed),
        weights_name=card.name,
        run_dir=str(replace(plan, card=card).run_dir(seed)),
        iterations=_iterations(plan),
        has_bf16=has_bf16,
    )


def _iterations(plan: Plan) -> int:
    """How many updates a trial has; 0 for what is not trained by them."""
    from transfer.protocols.transfer import TrainedProtocol

    if not isinstance(plan.protocol, TrainedProtocol):
        return 0
    return plan.protocol.solver.num_iterations(plan.task.stamp_data(plan.data).counts["train"])


def read_card(weights: WeightsEntry) -> Card:
    """The card of one row, its file read and checked as `bench transfer` does. Raises as that."""
    from transfer.run import load_weights

    spec = Path(weights.input_spec) if weights.input_spec else None
    return load_weights(weights.checkpoint, name=weights.name, encoder=weights.encoder, input_spec=spec)[1]


def _refuse_equal(cells: list[PlannedCell]) -> None:
    first: dict[str, PlannedCell] = {}
    twice = []
    for planned in cells:
        other = first.setdefault(planned.id, planned)
        if other is not planned:
            twice.append(f"{planned.label}: the same weights, protocol and seed as {other.label}")
    if twice:
        raise ConfigError.of(twice, hint="Each would be one record; take one of them out of the file.")


def _inputs(cells: list[Cell], places: Places) -> Iterator[Path]:
    for weights in {cell.weights for cell in cells}:
        names = (weights.checkpoint, weights.input_spec)
        yield from (Path(name) for name in names if name and name != "random")
    for column in {cell.column for cell in cells}:
        try:
            yield find_config(CONFIGS / ("smoke" if column.smoke else "transfer"), column.protocol)
            yield data_of(column, places)
        except BenchError:  # told by the plan
            continue
