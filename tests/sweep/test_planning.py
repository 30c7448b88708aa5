"""What is known before anything runs, what it would take, and what --status tells."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import ConfigError, DataError, StoreError
from bench.core.records import record_id
from bench.sweep.cells import Cell, Places, cells_of
from bench.sweep.config import load_sweep
from bench.sweep.estimate import estimate_cells
from bench.sweep.folder import SweepFolder
from bench.sweep.planning import plan_cells
from bench.sweep.status import status_of
from tests.helpers import sweeping
from tests.helpers.engine import StandIn
from tests.sweep.conftest import Write
from transfer.api import TASKS, Estimate
from transfer.comparability import Devices
from transfer.run import execute, make_plan

ESTIMATE = Estimate(
    memory_bytes=3 * 2**30,
    memory_by_accumulation={},
    device_bytes=None,
    train_seconds=3000.0,
    test_seconds=600.0,
    disk_bytes=2**30,
    basis="made up",
)


def read(file: Path, tmp_path: Path) -> tuple[list[Cell], Places]:
    return cells_of(load_sweep(file), str(file)), Places(tmp_path / "runs", tmp_path / "results")


def test_ids_and_folders_are_those_of_bench_transfer(tmp_path: Path, write_file: Write) -> None:
    cells, places = read(write_file(tasks=("voc-det", "semseg")), tmp_path)
    planned = plan_cells(cells, places).cells
    assert len({cell.id for cell in planned}) == 8
    for cell in planned[1::3]:
        plan = make_plan(TASKS.get(cell.task), cell.cell.options(places))
        spec = plan.task.spec
        assert cell.id == record_id(plan.card.key, spec.name, spec.version, plan.identity, cell.cell.seed)
        assert Path(cell.known.run_dir) == plan.run_dir(cell.cell.seed)
        assert cell.known.iterations > 1


def test_the_data_is_read_once_a_column(
    tmp_path: Path, write_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, calls = TASKS.get("voc-det"), []
    real = type(task).load_data

    def counted(self: Any, root: Path, protocol: Any) -> Any:
        calls.append(root)
        return real(self, root, protocol)

    monkeypatch.setattr(type(task), "load_data", counted)
    cells, places = read(write_file(seeds="0-4"), tmp_path)
    assert len(plan_cells(cells, places).cells) == 10
    assert len(calls) == 1


def test_what_bench_transfer_recorded_is_done(tmp_path: Path, write_file: Write) -> None:
    cells, places = read(write_file(), tmp_path)
    execute(make_plan(TASKS.get("voc-det"), cells[1].options(places)), StandIn())
    planned = plan_cells(cells, places).cells
    assert [cell.record(places.results) is not None for cell in planned] == [False, True, False, False]


def test_it_plans_for_the_devices_of_a_node(tmp_path: Path, write_file: Write) -> None:
    cells, places = read(write_file(seeds="0"), tmp_path)
    wide = [replace(cell, column=replace(cell.column, num_devices=2)) for cell in cells]
    here = plan_cells(wide, places, devices_of=lambda column: Devices(2, 0)).cells
    fp32 = [replace(cell, column=replace(cell.column, num_devices=2, precision="fp32")) for cell in cells]
    on_cpus = plan_cells(fp32, places, devices_of=lambda column: Devices(2, 0)).cells
    on_gpus = plan_cells(fp32, places, devices_of=lambda column: Devices(2, 2)).cells
    assert here == []  # naiveSyncBN and bf16 do not go together: a problem of the column
    assert on_cpus[0].id != on_gpus[0].id, "naiveSyncBN stands in for SyncBN"


def test_all_problems_are_told_at_once(tmp_path: Path, write_file: Write) -> None:
    more = '[[weights]]\ncheckpoint = "nowhere.pth"\n'
    more += (
        '[[transfer]]\ntask = "voc-det"\nprotocols = "voc0712-r50fpn-24k"\ndata = "nodata"\nsmoke = true\n'
    )
    cells, places = read(write_file(seeds="0", more=more), tmp_path)
    planning = plan_cells(cells, places)
    assert len(planning.cells) == 2
    with pytest.raises(Exception, match=r"nowhere\.pth") as caught:
        planning.check()
    assert "nodata" in str(caught.value) and "Nothing was started" in str(caught.value)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()


def test_equal_weights_under_two_names_are_refused(
    tmp_path: Path, write_file: Write, checkpoint: Path
) -> None:
    more = f'[[weights]]\ncheckpoint = "{checkpoint}"\nname = "resnet50.b"\n'
    cells, places = read(write_file(seeds="0", more=more), tmp_path)
    with pytest.raises(ConfigError, match=r"the same weights, protocol and seed as resnet50\.a"):
        plan_cells(cells, places)


def test_an_estimate_adds_up_and_goes_on_past_a_problem(tmp_path: Path, write_file: Write) -> None:
    more = '[[transfer]]\ntask = "coco-instseg"\nprotocols = "coco-r50c4-1x"\ndata = "nodata"\nsmoke = true\n'
    cells, places = read(write_file(more=more), tmp_path)
    execute(make_plan(TASKS.get("voc-det"), cells[0].options(places)), StandIn())
    cost = estimate_cells(cells, places, room=lambda plan: ESTIMATE)
    assert (len(cost.todo), cost.num_todo, cost.num_done) == (3, 7, 1)
    assert cost.device_hours == 3.0
    assert cost.disk_bytes == 3 * 2**30 and cost.memory_bytes == 3 * 2**30
    voc, coco = cost.columns
    assert voc.estimate == ESTIMATE and not voc.why_not
    assert coco.estimate is None and "nodata" in coco.why_not
    with pytest.raises(DataError, match="nodata"):
        cost.planning.check()

    # Weights that are not there yet take as long as those that are.
    absent, _ = read(write_file(more='[[weights]]\ncheckpoint = "nowhere.pth"\n'), tmp_path)
    cost = estimate_cells(absent, places, room=lambda plan: ESTIMATE)
    assert (len(cost.todo), cost.num_todo, cost.device_hours) == (3, 5, 5.0)
    assert [what.label for what in cost.planning.problems] == ["nowhere.pth"]
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_status_before_and_after_a_start(tmp_path: Path, write_file: Write) -> None:
    file = write_file(seeds="0")
    cells, places = read(file, tmp_path)
    folder = SweepFolder.of(places.out, "tiny")
    before = status_of(cells, places, folder)
    assert before.counts()["missing"] == 2 and "not planned yet" in before.notes[0]

    planned, _, folder = sweeping.planned(file, tmp_path)
    (Path(planned[0].known.run_dir) / "checkpoints" / "step-00000050").mkdir(parents=True)
    after = status_of(cells, places, folder)
    assert [entry.state for entry in after.cells] == ["stopped", "missing"]
    assert "50 of 200 iterations" in after.cells[0].text
    assert after.notes == []

    # A cell that the last start did not know.
    wider, _ = read(write_file(seeds="0-1"), tmp_path)
    assert "new cells are not planned yet" in status_of(wider, places, folder).notes[0]


def test_status_says_when_an_input_changed(tmp_path: Path, write_file: Write, voc: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(voc, data)
    file = write_file(seeds="0")
    file.write_text(file.read_text().replace(str(voc), str(data)))
    sweeping.planned(file, tmp_path)
    cells, places = read(file, tmp_path)
    folder = SweepFolder.of(places.out, "tiny")
    assert status_of(cells, places, folder).notes == []
    os.utime(data, ns=(1, 1))
    (note,) = status_of(cells, places, folder).notes
    assert note.startswith(f"{data}: has changed")


@pytest.mark.parametrize("text", ["[]", "{", '{"cells": {"a": 1}}', '{"cells": {"a": {"x": 1}}}'])
def test_a_damaged_plan_is_told(tmp_path: Path, write_file: Write, text: str) -> None:
    file = write_file(seeds="0")
    _, places, folder = sweeping.planned(file, tmp_path)
    (folder.root / "plan.json").write_text(text)
    with pytest.raises(StoreError, match=r"plan\.json.*(Delete|deleted)"):
        status_of(cells_of(load_sweep(file), "x"), places, folder)
