"""Cells as jobs, with submitit's local executor and with a stand-in for Slurm on the PATH."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core import lock
from bench.core.errors import EngineError
from bench.sweep.cells import cells_of
from bench.sweep.config import SlurmTable, load_sweep
from bench.sweep.slurm import _parameters, submit
from bench.sweep.squeue import queued_jobs
from bench.sweep.status import status_of
from tests.helpers import sweeping
from tests.helpers.slurm import Slurm
from tests.sweep.conftest import Write

TABLE = SlurmTable(
    partition="gpu", account="us", devices="cpu", time_limit_minutes=60, setup=("export SEEN=1",)
)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(sweeping.JOURNAL, str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Path) -> Iterator[Slurm]:
    found = Slurm(tmp_path / "slurm")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    yield found
    found.stop()


def wait_for(journal: Path, text: str, num: int, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while len(sweeping.lines(journal, text)) < num:
        assert time.monotonic() < end, (journal / "lines").read_text() if journal.exists() else "nothing"
        time.sleep(0.05)


def test_an_array_runs_each_cell_once(tmp_path: Path, write_file: Write, slurm: Slurm, journal: Path) -> None:
    file = write_file()
    cells, places, folder = sweeping.planned(file, tmp_path)
    (slurm.root / "hold").touch()
    jobs = submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)
    assert jobs.keys() == {cell.id for cell in cells}
    assert sorted(jobs.values()) == ["1000_0", "1000_1", "1000_2", "1000_3"]
    assert queued_jobs() == dict.fromkeys(jobs.values(), "PENDING")
    flags = slurm.jobs()["1000_0"]["flags"]
    assert flags["partition"] == "gpu" and flags["account"] == "us"
    assert flags["signal"].startswith("USR2@") and flags["time"] == "60"
    assert flags["mem"] == "48GB" and flags["cpus-per-task"] == "8" and "requeue" in flags
    assert "gpus-per-node" not in flags

    # What is in the queue is not submitted again; --status sees it there.
    assert submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine) == {}
    status = status_of(cells_of(load_sweep(file), "x"), places, folder)
    assert status.counts()["queued"] == 4

    (slurm.root / "hold").unlink()
    slurm.wait(until="COMPLETED")
    assert len(sweeping.lines(journal, "end")) == 4
    assert all(cell.record(places.results) for cell in cells)
    assert submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine) == {}
    assert status_of(cells_of(load_sweep(file), "x"), places, folder).counts()["done"] == 4


@pytest.mark.parametrize(
    "user_signal", [True, False], ids=["told by SIGUSR2", "killed and put back by Slurm"]
)
@pytest.mark.slow
def test_a_preempted_job_saves_and_goes_on(
    tmp_path: Path,
    write_file: Write,
    slurm: Slurm,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    user_signal: bool,
) -> None:
    monkeypatch.setenv(sweeping.SECONDS, "0.5")
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    submit(cells[:1], places, folder, TABLE, name="tiny", engine=sweeping.engine)
    wait_for(journal, "from 0", 1)
    time.sleep(1.2)  # two iterations
    slurm.preempt("1000", user_signal=user_signal)
    jobs = slurm.wait(until="COMPLETED")
    assert jobs["1000"]["restarts"] == 1
    assert len(sweeping.lines(journal, "stopped")) == 1, "saved, not killed"
    assert len(sweeping.lines(journal, "start")) == 2
    assert len(sweeping.lines(journal, "from 0")) == 1, "the second time from what was saved"
    assert len(sweeping.lines(journal, "end")) == 1
    assert cells[0].record(places.results)


@pytest.mark.slow
def test_a_failed_job_says_why_and_is_submitted_again(
    tmp_path: Path, write_file: Write, slurm: Slurm, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_file(seeds="0")
    monkeypatch.setenv(sweeping.FAILING, "voc0")
    cells, places, folder = sweeping.planned(file, tmp_path)
    submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)
    slurm.wait(until="FAILED")
    status = status_of(cells_of(load_sweep(file), "x"), places, folder)
    assert [entry.state for entry in status.cells] == ["failed", "failed"]
    assert status.cells[0].text == "iteration 2: loss is nan"
    again = submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)
    assert sorted(again.values()) == ["1001_0", "1001_1"]


def test_what_a_claim_holds_is_not_submitted(
    tmp_path: Path, write_file: Write, slurm: Slurm, journal: Path
) -> None:
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    (slurm.root / "hold").touch()
    with lock.hold(places.results / ".claims" / cells[0].id):
        jobs = submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)
    assert jobs == {cells[1].id: "1000"}


@pytest.mark.parametrize(
    ("fault", "words"), [("refuse", "Invalid account"), ("deaf", "squeue: slurm_load_jobs error")]
)
def test_a_cluster_that_refuses_is_told(
    tmp_path: Path, write_file: Write, slurm: Slurm, fault: str, words: str
) -> None:
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    (slurm.root / fault).touch()
    with pytest.raises(EngineError, match=words):
        submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)


def test_without_slurm_it_says_where_to_go(
    tmp_path: Path, write_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    with pytest.raises(EngineError, match="login node"):
        submit(cells, places, folder, TABLE, name="tiny", engine=sweeping.engine)


@pytest.mark.slow
def test_submitits_own_signal_and_requeue(
    tmp_path: Path, write_file: Write, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local executor of submitit: its controller runs the job, hears SIGUSR2, and runs it again."""
    from submitit.local.local import _PROCESSES, LocalJob

    monkeypatch.setenv(sweeping.SECONDS, "0.5")
    cells, places, folder = sweeping.planned(write_file(seeds="0"), tmp_path)
    (number,) = submit(
        cells[:1], places, folder, TABLE, name="tiny", cluster="local", engine=sweeping.engine
    ).values()
    wait_for(journal, "from 0", 1)
    time.sleep(1.2)
    # The job is a child of the controller, whose number is that of the job.
    (child,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    os.kill(int(child), signal.SIGUSR2)
    wait_for(journal, "end", 1)
    assert len(sweeping.lines(journal, "stopped")) == 1
    assert len(sweeping.lines(journal, "from 0")) == 1
    job = LocalJob[str](folder=folder.jobs_root.absolute(), job_id=number, process=_PROCESSES.get(number))
    end = time.monotonic() + 240
    while not job.paths.result_pickle.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert cells[0].record(places.results)


def test_a_job_asks_for_what_its_cell_needs() -> None:
    asked = _parameters(SlurmTable(cpus_per_device=6, memory_gib_per_device=20), 8, "x")
    assert (asked["gpus_per_node"], asked["cpus_per_task"], asked["mem_gb"]) == (8, 48, 160)
    assert (asked["nodes"], asked["tasks_per_node"], asked["timeout_min"]) == (1, 1, 1440)
    assert "slurm_partition" not in asked and "slurm_setup" not in asked
    assert _parameters(SlurmTable(devices="cpu"), 2, "x")["gpus_per_node"] is None
