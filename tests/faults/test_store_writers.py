"""One store, sixteen writers, hundreds of kills; the rig is proved by three writers that it must catch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import store_rig
from tests.helpers.often import often


def run_rig(folder: Path, add: str, num_kills: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.faults.store_rig", str(folder), add, str(num_kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["kills"] == num_kills, "every writer was killed, none ended by itself"
    return found


@pytest.mark.parametrize("num_kills", often([50, 200], [50]))
def test_no_kill_loses_or_tears_a_record(tmp_path: Path, num_kills: int) -> None:
    found = run_rig(tmp_path, "store", num_kills)
    assert found["acknowledged"] > num_kills, "writers got on between the kills"
    assert (found["lost"], found["wrong"], found["problems"]) == (0, 0, 0)
    assert found["good"] == found["records"] >= found["acknowledged"]
    assert found["seen"] == [] and found["scans"] > 10, "readers never saw a broken record"
    assert found["leftovers"]["temporary"] > 0, "kills fell into the writing"
    again = found["again"]
    assert again["codes"] == [0] and again["left"] == [], "nothing is left when all have gone on, and a sweep"
    assert again["good"] >= found["good"]


@pytest.mark.slow
def test_the_rig_catches_a_writer_that_writes_in_place(tmp_path: Path) -> None:
    found = run_rig(tmp_path, "in_place", 40)
    assert found["problems"] > 0
    assert found["seen"] != []


@pytest.mark.slow
def test_the_rig_catches_a_record_that_comes_before_its_file(tmp_path: Path) -> None:
    found = run_rig(tmp_path, "record_first", 40)
    assert found["problems"] > 0
    assert any("is missing" in line for line in found["seen"])


@pytest.mark.slow
def test_the_rig_catches_a_writer_that_acknowledges_too_early(tmp_path: Path) -> None:
    assert run_rig(tmp_path, "told_early", 60)["lost"] > 0


def test_trials_are_the_same_at_each_start() -> None:
    assert store_rig.trial(3, 5) == store_rig.trial(3, 5)
    assert store_rig.trial(3, 4) == store_rig.trial(7, 4), "shared by all"
    assert store_rig.trial(3, 5) != store_rig.trial(7, 5)
