"""The queue of cells on one machine: what runs, what fails, what is left to others, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core import lock
from bench.core.errors import EngineError
from bench.sweep.cells import cells_of
from bench.sweep.config import load_sweep
from bench.sweep.devices import Pool
from bench.sweep.local import run_local
from bench.sweep.status import status_of
from tests.helpers import sweeping
from tests.sweep.conftest import Write


def start(file: Path, out: Path, jobs: int = 2, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.helpers.sweeping", str(file), str(out), str(jobs)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, err
    return out if code == 0 else err


def wait_for(journal: Path, text: str, num: int, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while len(sweeping.lines(journal, text)) < num:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_two_sweeps_at_once_run_each_cell_once(tmp_path: Path, write_file: Write) -> None:
    file = write_file(tasks=("voc-det", "semseg"), seeds="0")
    both = [start(file, tmp_path, jobs=1), start(file, tmp_path, jobs=1)]
    ends = [json.loads(finish(process)) for process in both]
    journal = tmp_path / "journal"
    assert len(sweeping.lines(journal, "end")) == len(set(sweeping.lines(journal, "end"))) == 4
    assert not sweeping.lines(journal, "OVERLAP")
    # Both end only when all is done, whoever did it.
    assert [set(found.values()) for found in ends] == [{"done"}, {"done"}]
    assert len(list((tmp_path / "results").rglob("*.json"))) == 4


@pytest.mark.slow
def test_a_failed_cell_keeps_no_other_from_running(tmp_path: Path, write_file: Write) -> None:
    file = write_file(seeds="0-1")
    ends = json.loads(finish(start(file, tmp_path, BENCH_TEST_FAILING="voc0")))
    assert sorted(ends.values()) == ["done", "done", "failed", "failed"]
    cells, places, folder = sweeping.planned(file, tmp_path)
    listed = cells_of(load_sweep(file), str(file))
    status = status_of(listed, places, folder)
    assert status.counts()["failed"] == 2 and status.counts()["done"] == 2
    assert "loss is nan" in status.cells[0].text
    assert "loss is nan" in folder.log(cells[0].id).read_text()

    # The next start tries them again, and them alone.
    again = json.loads(finish(start(file, tmp_path)))
    assert set(again.values()) == {"done"} and len(again) == 2
    assert status_of(listed, places, folder).counts()["done"] == 4
    assert not list((folder.root / "failures").glob("*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_sweep_saves_and_goes_on(tmp_path: Path, write_file: Write, number: signal.Signals) -> None:
    file, journal = write_file(seeds="0"), tmp_path / "journal"
    process = start(file, tmp_path, BENCH_TEST_SECONDS="0.6")
    wait_for(journal, "from 0", 2)
    time.sleep(1.5)
    os.killpg(process.pid, number)  # as a keyboard does: the cells hear it, too
    assert "the same command goes on" in finish(process, 75)
    assert len(sweeping.lines(journal, "stopped")) == 2
    _, places, folder = sweeping.planned(file, tmp_path)
    status = status_of(cells_of(load_sweep(file), str(file)), places, folder)
    assert [entry.state for entry in status.cells] == ["stopped", "stopped"]
    assert "of 200 iterations" in status.cells[0].text
    assert set(json.loads(finish(start(file, tmp_path))).values()) == {"done"}
    assert len(sweeping.lines(journal, "from 0")) == 2, "nothing began anew"


@pytest.mark.slow
def test_what_another_process_runs_is_left_and_taken_over(tmp_path: Path, write_file: Write) -> None:
    file = write_file(seeds="0")
    cells, places, folder = sweeping.planned(file, tmp_path)
    with lock.hold(places.results / ".claims" / cells[0].id):
        process = start(file, tmp_path)
        wait_for(tmp_path / "journal", "end", 1)
        status = status_of(cells_of(load_sweep(file), str(file)), places, folder)
        assert status.cells[0].state == "running" and str(os.getpid()) in status.cells[0].text
        time.sleep(2.0)
        assert process.poll() is None, "it waits"
    assert set(json.loads(finish(process)).values()) == {"done"}
    assert len(sweeping.lines(tmp_path / "journal", "end")) == 2


@pytest.mark.slow
def test_a_killed_cell_is_a_failure_of_its_own(tmp_path: Path, write_file: Write) -> None:
    file, journal = write_file(seeds="0"), tmp_path / "journal"
    process = start(file, tmp_path, jobs=1, BENCH_TEST_SECONDS="0.3")
    wait_for(journal, "from 0", 1)
    (pid,) = sweeping.pids(journal)
    os.kill(pid, signal.SIGKILL)
    ends = json.loads(finish(process))
    assert sorted(ends.values()) == ["done", "failed"]
    _, places, folder = sweeping.planned(file, tmp_path)
    status = status_of(cells_of(load_sweep(file), str(file)), places, folder)
    assert "killed by SIGKILL" in status.cells[0].text


def test_devices_are_shared_wide_cells_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bench.sweep.devices.num_cores", lambda: 16)
    pool = Pool(("4", "5", "6", "7"), gpus=True)
    first, second = pool.take(1), pool.take(2)
    assert (first, second) == (["4"], ["5", "6"])
    assert pool.take(2) is None
    assert dict(pool.environment(second or []))["CUDA_VISIBLE_DEVICES"] == "5,6"
    assert dict(pool.environment(second or []))["OMP_NUM_THREADS"] == "8"
    pool.give_back(first or [])
    assert pool.take(2) == ["4", "7"]
    # On a CPU a cell of more processes than there are places takes them all.
    places = Pool(("0", "1"), gpus=False)
    assert places.take(8) == ["0", "1"]
    assert dict(places.environment(["0"]))["OMP_NUM_THREADS"] == "8"
    assert Pool(("0",), gpus=False).environment(["0"]) == ()


def test_more_gpus_than_there_are_is_told_before_anything_runs(tmp_path: Path, write_file: Write) -> None:
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    wide = replace(cells[0], cell=replace(cells[0].cell, column=replace(cells[0].cell.column, num_devices=4)))
    pool = Pool(("0", "1"), gpus=True)
    with pytest.raises(EngineError, match="devices = 4; there are 2"):
        run_local([wide], places, folder, pool, on_end=lambda planned, outcome: None)
