"""One cell's process: what it refuses, and what it keeps from Slurm's variables."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core import lock
from bench.core.errors import ConfigError, EngineError
from bench.sweep.child import _RANK_VARIABLES, Order, run_order
from bench.sweep.slurm import _remove_leftovers
from tests.helpers import sweeping
from tests.helpers.engine import StandIn
from tests.sweep.conftest import Write


def order_of(tmp_path: Path, file: Path) -> Order:
    cells, places, folder = sweeping.planned(file, tmp_path)
    return Order(cells[0], places, folder, cwd=str(tmp_path))


def test_it_runs_once(tmp_path: Path, write_file: Write) -> None:
    order, engine = order_of(tmp_path, write_file(seeds="0")), StandIn()
    assert run_order(order, engine).end == "done"
    assert run_order(order, engine).text == "recorded already"
    assert len(engine.jobs) == 1 and engine.jobs[0].resume


def test_the_claim_comes_before_the_plan(tmp_path: Path, write_file: Write) -> None:
    order = order_of(tmp_path, write_file(seeds="0"))
    gone = replace(order.planned.cell, column=replace(order.planned.cell.column, data="nowhere"))
    order = replace(order, planned=replace(order.planned, cell=gone))
    with lock.hold(order.places.results / ".claims" / order.planned.id), pytest.raises(lock.InUse):
        run_order(order)


def test_what_changed_since_the_plan_is_refused(tmp_path: Path, write_file: Write, voc: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(voc, data)
    file = write_file(seeds="0")
    file.write_text(file.read_text().replace(str(voc), str(data)))
    order = order_of(tmp_path, file)
    (path,) = list(data.rglob("ImageSets/Main/test.txt"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    engine = StandIn()
    with pytest.raises(ConfigError, match="others than when the sweep began"):
        run_order(order, engine)
    assert engine.jobs == []


def test_a_node_without_its_gpus_refuses(tmp_path: Path, write_file: Write) -> None:
    order = replace(order_of(tmp_path, write_file(seeds="0")), num_gpus=1000)
    with pytest.raises(EngineError, match="1000 were asked for"):
        run_order(order)


@pytest.mark.parametrize("left", [(), _RANK_VARIABLES])
def test_fabric_takes_a_task_of_slurm_for_no_rank(
    monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...]
) -> None:
    """With the variables of a step as they are (by `bench transfer` in a job), and as a cell leaves them."""
    from lightning_fabric import Fabric

    variables = {
        "SLURM_JOB_ID": "100001",
        "SLURM_ARRAY_JOB_ID": "1000",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_NAME": "bench",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "node-1",
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_SRUN_COMM_PORT": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in left:
        monkeypatch.delenv(name)
    fabric = Fabric(accelerator="cpu", devices=1, strategy="auto")
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (1, 0, True)


def test_what_a_kill_left_of_submitits_saving_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": "7",
        "SUBMITIT_LOCAL_GLOBALID": "0",
        "SUBMITIT_FOLDER": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    leftover = tmp_path / "7_submitted.pkl.save_tmp"
    leftover.write_bytes(b"half")
    _remove_leftovers()
    assert not leftover.exists()
