"""`bench sweep` as it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import sweeping
from tests.helpers.engine import StandIn
from tests.helpers.slurm import Slurm
from tests.sweep.conftest import Write
from transfer.api import TASKS
from transfer.run import execute, make_plan


def bench(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    command = [sys.executable, "-m", "bench", "sweep", *arguments, *places]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_all_done_runs_nothing_and_is_0(tmp_path: Path, write_file: Write) -> None:
    file = write_file(seeds="0")
    cells, places, _ = sweeping.planned(file, tmp_path)
    for cell in cells:
        execute(make_plan(TASKS.get(cell.task), cell.cell.options(places)), StandIn())
    done = bench(tmp_path, str(file))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "2 cells, 2 recorded already" in done.stderr
    status = bench(tmp_path, str(file), "--status", "--json")
    found = json.loads(status.stdout)
    assert found["counts"]["done"] == 2
    assert {cell["value"] for cell in found["cells"]} == {10.0, 20.0}
    assert "2 cells: 2 done" in bench(tmp_path, str(file), "--status").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--status", "--dry-run"], 2, "one of them"),
        (["--launcher", "slurm", "--jobs", "2"], 2, "max_parallel"),
        (["--launcher", "slurm"], 6, "login node"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, write_file: Write, arguments: list[str], code: int, words: str
) -> None:
    done = bench(tmp_path, str(write_file(seeds="0")), *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    done = bench(tmp_path, "nowhere.toml")
    assert done.returncode == 3 and "nowhere.toml" in done.stderr


def test_absent_data_is_named_before_anything_starts(tmp_path: Path, write_file: Write) -> None:
    more = '[[transfer]]\ntask = "voc-det"\nprotocols = "voc0712-r50fpn-24k"\ndata = "nodata"\n'
    done = bench(tmp_path, str(write_file(seeds="0", more=more)))
    assert (done.returncode, done.stdout) == (4, "")
    assert "nodata" in done.stderr and "Nothing was started" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_slurm_from_the_command_line(
    tmp_path: Path, write_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = Slurm(tmp_path / "slurm")
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    (slurm.root / "hold").touch()
    try:
        file = str(write_file(seeds="0", more='[slurm]\ndevices = "cpu"\n'))
        first = bench(tmp_path, file, "--launcher", "slurm")
        assert first.returncode == 0, first.stderr
        assert "job 1000_0  resnet50.random, voc-det" in first.stdout
        assert "2 cells submitted; 0 are done" in first.stdout
        again = bench(tmp_path, file, "--launcher", "slurm")
        assert again.stdout == "0 cells submitted; 2 are done, run or in the queue already.\n"
        assert "2 cells: 2 queued" in bench(tmp_path, file, "--status").stdout
    finally:
        slurm.stop()
