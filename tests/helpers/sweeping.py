"""A sweep with a stand-in engine, as a process of its own: `python -m tests.helpers.sweeping FILE OUT JOBS`.

The engine takes `ITERATIONS` short iterations, saves after each, hears SIGTERM, and writes what it does into
the folder `OUT/journal`, where a test sees who ran what, how often, and whether two ran one cell at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from bench.core.errors import BenchError, DivergedError, Stopped
from bench.core.signals import watch
from bench.sweep.cells import Places, cells_of
from bench.sweep.child import Outcome
from bench.sweep.config import load_sweep
from bench.sweep.devices import Pool
from bench.sweep.folder import SweepFolder
from bench.sweep.local import run_local
from bench.sweep.planning import PlannedCell, plan_cells
from transfer.api import Job, Output
from transfer.comparability import Devices

ITERATIONS = 8
JOURNAL = "BENCH_TEST_JOURNAL"
SECONDS = "BENCH_TEST_SECONDS"
FAILING = "BENCH_TEST_FAILING"
METRICS = {"AP": 1.0, "AP50": 2.0, "AP75": 3.0, "mIoU": 4.0, "pixel_accuracy": 5.0, "mean_accuracy": 6.0}


def _metrics(job: Job) -> dict[str, float]:
    names = (
        ("mIoU", "pixel_accuracy", "mean_accuracy") if "fcn" in job.protocol.slug else ("AP", "AP50", "AP75")
    )
    return {name: METRICS[name] + job.seed for name in names}


def engine(job: Job) -> Output:
    """Named by its module, so that a spawned process finds it."""
    journal = Path(os.environ[JOURNAL])
    name = "-".join(job.run_dir.parts[-4:])
    note(journal, name, "start")
    active = journal / f"{name}.active"
    if active.exists() and Path(f"/proc/{active.read_text()}").exists():
        note(journal, name, "OVERLAP")
    active.write_text(str(os.getpid()))
    steps = job.run_dir / "checkpoints"
    saved = max((int(path.name[5:]) for path in steps.glob("step-*")), default=0)
    note(journal, name, f"from {saved}")
    try:
        with watch() as stop:
            for step in range(saved + 1, ITERATIONS + 1):
                time.sleep(float(os.environ.get(SECONDS, "0.05")))
                (steps / f"step-{step:08d}").mkdir(parents=True)
                if (
                    step > saved + 1
                    and name.split("-")[0] + str(job.seed) in os.environ.get(FAILING, "").split()
                ):
                    raise DivergedError(f"iteration {step}: loss is nan")
                stop.check("saved")
    except Stopped:
        note(journal, name, "stopped")
        raise
    note(journal, name, "end")
    return Output(metrics=_metrics(job))


def note(journal: Path, name: str, text: str) -> None:
    journal.mkdir(parents=True, exist_ok=True)
    with open(journal / "lines", "a") as file:
        file.write(f"{name}\t{os.getpid()}\t{text}\n")


def lines(journal: Path, text: str) -> list[str]:
    """The names of the cells that wrote this."""
    path = journal / "lines"
    rows = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
    return sorted(name for name, _, found in rows if found == text)


def pids(journal: Path) -> set[int]:
    path = journal / "lines"
    return {int(line.split("\t")[1]) for line in path.read_text().splitlines()} if path.exists() else set()


def planned(file: Path, out: Path) -> tuple[list[PlannedCell], Places, SweepFolder]:
    sweep = load_sweep(file)
    places = Places(out / "runs", out / "results")
    # Not asked of PyTorch, whose import takes longer than all the rest.
    planning = plan_cells(
        cells_of(sweep, str(file)), places, devices_of=lambda column: Devices(column.num_devices, 0)
    )
    planning.check()
    folder = SweepFolder.of(places.out, sweep.name)
    folder.write_plan({cell.cell.key: cell.known for cell in planning.cells}, planning.stamps)
    return planning.cells, places, folder


def main(file: Path, out: Path, jobs: int) -> int:
    os.environ[JOURNAL] = str(out / "journal")
    cells, places, folder = planned(file, out)
    ends: dict[str, str] = {}

    def on_end(cell: PlannedCell, outcome: Outcome) -> None:
        ends[cell.id] = outcome.end

    pool = Pool(tuple(map(str, range(jobs))), gpus=False)
    try:
        run_local(cells, places, folder, pool, on_end=on_end, engine=engine)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(ends))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
