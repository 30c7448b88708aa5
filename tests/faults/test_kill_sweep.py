"""SIGKILL of a whole sweep, again and again: in the end each cell is recorded once, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.core import lock
from bench.core.store import Store
from tests.helpers import sweeping
from tests.helpers.known_network import colour_set
from tests.helpers.weights import make_checkpoint
from tests.sweep.conftest import *  # noqa: F403  (the fixture that writes the file)
from tests.sweep.conftest import Write
from tests.sweep.test_local import finish, start
from tests.transfer.engines.test_detectron2 import TOY as TOY_DETECTION
from tests.transfer.engines.test_segmentors import TOY as TOY_SEGMENTATION

_DETECTION = (
    *(word for word in TOY_DETECTION if not word.startswith(("solver.iterations", "solver.steps", "run."))),
    "solver.iterations=3",
    "solver.steps=[2]",
)
_SEGMENTATION = (
    *(word for word in TOY_SEGMENTATION if not word.startswith(("solver.iterations", "run."))),
    "solver.iterations=3",
)
_CROPS = ("input.test.resize_px=40", "input.test.crop_px=32", "input.train_view.crop_px=32")
_PROBE = ("solver.epochs=3", "solver.schedule.epochs=[2]", "solver.images_per_batch=12")
COLUMNS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("voc-det", "voc0712-r50c4-24k", "voc", _DETECTION),
    ("semseg", "voc12aug-fcn-d8", "voc", _SEGMENTATION),
    ("linear-probe", "in1k-linear-100ep", "colours", (*_CROPS, *_PROBE)),
    ("knn", "in1k-knn-k20", "colours", ("input.resize_px=40", "input.crop_px=32")),
)
"""Task, protocol, folder of the toy set, and what makes it short: the columns of the long test."""


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def wait_until_gone(pids: set[int], seconds: float = 20.0) -> set[int]:
    end = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < end:
        time.sleep(0.1)
    return alive(pids)


def children_of(root: int) -> set[int]:
    """Every process below one, that one left out."""
    found, todo = set(), [root]
    while todo:
        for path in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            try:
                more = {int(word) for word in path.read_text().split()} - found
            except OSError:
                continue
            found |= more
            todo += more
    return found


def claims_held(results: Path) -> list[str]:
    return [path.name for path in (results / ".claims").iterdir() if lock.holder(path)]


def test_a_killed_sweep_ends_with_each_cell_once(tmp_path: Path, write_file: Write) -> None:
    file, journal = write_file(seeds="0-1"), tmp_path / "journal"
    draw, seen = random.Random(7), set[int]()
    for kill in range(3):
        process = start(file, tmp_path, BENCH_TEST_SECONDS="0.3")
        began, end = len(sweeping.lines(journal, "start")), time.monotonic() + 240
        while len(sweeping.lines(journal, "start")) == began and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(draw.uniform(0.0, 2.0))
        below = children_of(process.pid)
        assert below or kill == 2
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen |= below
        assert wait_until_gone(below) == set(), "cells end with their sweep"
    finish(start(file, tmp_path))
    ended = sweeping.lines(journal, "end")
    assert len(ended) == len(set(ended)) == 4
    assert not sweeping.lines(journal, "OVERLAP")
    scan = Store(tmp_path / "results").scan()
    assert len(scan.records) == 4 and not scan.left_out
    assert claims_held(tmp_path / "results") == []
    assert wait_until_gone(seen | sweeping.pids(journal)) == set()
    assert [name for name in sweeping.lines(journal, "from 0") if name not in ended] == []
    assert len(sweeping.lines(journal, "start")) > 4, "the kills hit cells at work"


@pytest.mark.slow
def test_a_real_sweep_killed_twice_ends_with_each_cell_once(
    tmp_path: Path, voc: Path, checkpoint: Path
) -> None:
    """Three weights, four columns, two seeds in the real engines: 24 cells."""
    other = make_checkpoint(tmp_path / "other.pth", seed=3)
    folders = {"voc": voc, "colours": colour_set(tmp_path / "colours")}
    lines = ['name = "big"', 'seeds = "0-1"', '[[weights]]\ncheckpoint = "random"']
    lines += [
        f'[[weights]]\ncheckpoint = "{path}"\nname = "resnet50.{name}"'
        for name, path in (("one", checkpoint), ("other", other))
    ]
    for task, slug, folder, overrides in COLUMNS:
        lines.append(f'[[transfer]]\ntask = "{task}"\nprotocols = "{slug}"\ndata = "{folders[folder]}"')
        lines.append('smoke = true\nprecision = "fp32"')
        lines.append(f"overrides = {[*overrides, 'run.checkpoint_iterations=1']}")
    file = tmp_path / "big.toml"
    file.write_text("\n".join(lines) + "\n")

    results = tmp_path / "results"
    command = [sys.executable, "-m", "bench", "sweep", str(file), "--jobs", "2"]
    command += ["--out", str(tmp_path / "runs"), "--results", str(results)]
    draw, num = random.Random(20261127), 3 * len(COLUMNS) * 2

    def num_records() -> int:
        return len(list(results.rglob("*.json")))

    for kill in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 1800
        while num_records() < (num // 4) * (kill + 1) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(1.0)
        time.sleep(draw.uniform(0.0, 20.0))
        below = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_until_gone(below) == set()
        assert num_records() < num
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr
    scan = Store(results).scan()
    assert len(scan.records) == num and not scan.left_out
    cells = {(record.weights.name, record.protocol.identity, record.seed) for record in scan.records}
    assert len(cells) == num
    assert claims_held(results) == []
    status = subprocess.run(
        [*command[:5], *command[7:], "--status"], capture_output=True, text=True, timeout=120
    )
    assert f"{num} cells: {num} done" in status.stdout, status.stderr
