"""`bench sweep FILE`: weights times protocols times seeds, of which only the missing ones run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.sweep.cells import Cell, Column, Places
    from bench.sweep.child import Outcome
    from bench.sweep.config import SweepFile
    from bench.sweep.folder import SweepFolder
    from bench.sweep.planning import PlannedCell
    from transfer.comparability import Devices

_PATH = click.Path(path_type=Path)


@click.command("sweep")
@click.argument("file", type=_PATH, metavar="FILE.toml")
@click.option("--out", type=_PATH, default=Path("runs"), show_default=True, help="Run folders.")
@click.option("--results", type=_PATH, default=Path("results/runs"), show_default=True, help="Results store.")
@click.option(
    "--launcher",
    type=click.Choice(("local", "slurm")),
    default="local",
    show_default=True,
    help="Run cells on this machine, or submit a job for each.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Of this machine: so many GPUs, or so many cells at once on a CPU. [default: all GPUs, or 1 cell]",
)
@click.option("--status", is_flag=True, help="Say of each cell how far it is; nothing runs, no data is read.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what it would take, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what comes out as JSON.")
def command(
    file: Path,
    out: Path,
    results: Path,
    launcher: str,
    jobs: int | None,
    status: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a table of transfers from a file: weights, tasks, protocols, seeds; see configs/sweeps.

    A cell is one set of weights under one protocol with one seed. It is done when its record is in the
    results store, and runs if not: after a stop, a kill or a failure the same command goes on where each
    cell was. Sweeps on one results store never run a cell twice.

    \b
    Examples:
      bench sweep configs/sweeps/voc.toml --dry-run
      bench sweep configs/sweeps/voc.toml
      bench sweep configs/sweeps/voc.toml --launcher slurm
      bench sweep configs/sweeps/voc.toml --status
      bench sweep configs/sweeps/smoke.toml --jobs 2
    """
    from bench.commands import _sweep_text as text
    from bench.core.errors import UsageError
    from bench.sweep.cells import Places, cells_of
    from bench.sweep.config import load_sweep
    from bench.sweep.folder import SweepFolder

    if status and dry_run:
        raise UsageError("--status and --dry-run: expected one of them")
    if launcher == "slurm" and jobs:
        raise UsageError(
            "--jobs is for --launcher local; of a cluster, max_parallel in [slurm] says how many"
        )
    sweep = load_sweep(file)
    cells = cells_of(sweep, str(file))
    folder = SweepFolder.of(out, sweep.name)
    if status:
        from bench.sweep.status import status_of

        found = status_of(cells, Places(out, results), folder)
        text.print_status(found, as_json=as_json)
        return
    places = Places(out, results, _embedded(cells, write=not dry_run))
    if dry_run:
        if places.embedded is None:
            cells = _without_embedded(cells)
        if cells:
            _dry_run(sweep, cells, places, launcher, as_json=as_json)
        return
    _run(sweep, cells, places, folder, launcher, jobs, as_json=as_json)


def _embedded(cells: list[Cell], *, write: bool) -> Path | None:
    """The embedded data set, if a cell needs it; generated if it is not there and may be."""
    from bench.synth.embedded import DEFAULT_ROOT, embedded_data

    if all(cell.column.data is not None for cell in cells) or not (write or DEFAULT_ROOT.exists()):
        return None
    return embedded_data()


def _without_embedded(cells: list[Cell]) -> list[Cell]:
    """The cells that name their data, where the embedded set is not there and a dry run may not make it."""
    from bench.core.log import say
    from bench.synth.embedded import DEFAULT_ROOT

    rest = [cell for cell in cells if cell.column.data is not None]
    if len(rest) < len(cells):
        num = len(cells) - len(rest)
        say(f"Dry run: would first generate data in {DEFAULT_ROOT}, for {num} cells; they are not estimated.")
    return rest


def _devices_of(sweep: SweepFile, launcher: str, column: Column) -> Devices | None:
    """Those of a node, since a login node has none; None for this machine's."""
    from bench.core.cpu import has_bf16
    from transfer.comparability import Devices

    if launcher == "local":
        return None
    count = column.num_devices
    # As the nodes' CPUs are not seen from here, this one's stand for them.
    return Devices(count, count if sweep.slurm.devices == "gpu" else 0, has_bf16())


def _dry_run(sweep: SweepFile, cells: list[Cell], places: Places, launcher: str, *, as_json: bool) -> None:
    from bench.commands import _sweep_text as text
    from bench.sweep.estimate import estimate_cells

    cost = estimate_cells(cells, places, devices_of=lambda column: _devices_of(sweep, launcher, column))
    text.print_cost(cost, as_json=as_json)
    cost.planning.check()


def _run(
    sweep: SweepFile,
    cells: list[Cell],
    places: Places,
    folder: SweepFolder,
    launcher: str,
    jobs: int | None,
    *,
    as_json: bool,
) -> None:
    from bench.commands import _sweep_text as text
    from bench.core.log import say
    from bench.sweep.planning import plan_cells

    planning = plan_cells(cells, places, devices_of=lambda column: _devices_of(sweep, launcher, column))
    planning.check()
    folder.write_plan({planned.cell.key: planned.known for planned in planning.cells}, planning.stamps)
    num_done = sum(planned.record(places.results) is not None for planned in planning.cells)
    logs = folder.root / "logs"
    say(f"Sweep {sweep.name}: {len(cells):,} cells, {num_done:,} recorded already, logs in {logs}")
    if launcher == "slurm":
        from bench.sweep.slurm import submit

        submitted = submit(planning.cells, places, folder, sweep.slurm, name=sweep.name)
        text.print_submitted(planning.cells, submitted, as_json=as_json)
        return
    from bench.sweep.devices import devices_here
    from bench.sweep.local import run_local

    def on_end(planned: PlannedCell, outcome: Outcome) -> None:
        if not as_json:
            text.print_end(planned, outcome, places.results)

    ended = run_local(planning.cells, places, folder, devices_here(jobs), on_end=on_end)
    if as_json:
        text.print_ended(planning.cells, ended, places.results)
    _raise_first(ended, folder)


def _raise_first(ended: dict[str, tuple[PlannedCell, Outcome]], folder: SweepFolder) -> None:
    """The error of the first cell that failed, with a line for each."""
    from bench.core import errors

    failed = [(planned, outcome) for planned, outcome in ended.values() if outcome.end == "failed"]
    if not failed:
        return
    lines = [f"{planned.label}: {outcome.text}" for planned, outcome in failed]
    hint = f"{len(failed)} of {len(ended)} cells failed; {folder.root / 'logs'} has all they said. The same "
    hint += "command tries them again."
    code = failed[0][1].exit_code
    kinds = {kind.exit_code: kind for kind in vars(errors).values() if _is_kind(kind)}
    if code not in kinds:
        raise RuntimeError("\n".join([*lines, hint]))
    raise kinds[code].of(lines, hint=hint)


def _is_kind(value: object) -> bool:
    from bench.core.errors import BenchError

    return isinstance(value, type) and issubclass(value, BenchError) and value is not BenchError
