"""The main job as a user starts it: `bench demo`, with real Detectron2 and real MMSegmentation."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def bench(*arguments: str, threads: int, timeout: float) -> subprocess.CompletedProcess[str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)


def records(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(results.rglob("*.json"))]


def test_the_fast_demo_goes_from_nothing_to_a_table(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = bench("demo", "--fast", "--out", str(out), threads=1, timeout=600)
    assert first.returncode == 0, first.stderr
    assert "random" in first.stdout
    assert "supervised_embedded" in first.stdout
    assert "infomin_embedded" in first.stdout
    found = records(out / "results")
    tasks = ("coco-instseg", "semseg", "voc-det")
    names = ("resnet50.infomin_embedded", "resnet50.random", "resnet50.supervised_embedded")
    assert [(record["weights"]["name"], record["task"]) for record in found] == [
        (name, task) for name in names for task in tasks
    ]
    for record in found:
        assert record["protocol"]["status"] == "custom"
        assert record["provenance"]["packages"]["pb1-detectron2"]
    for pretrained in (*found[:3], *found[6:]):
        assert pretrained["details"]["verified"]["backbone"].startswith("265 of 265")
    assert len({record["protocol"]["identity"] for record in found}) == len(tasks)

    started = time.monotonic()
    again = bench("demo", "--fast", "--out", str(out), threads=1, timeout=600)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert records(out / "results") == found
    assert time.monotonic() - started < 180

    # The toy run's data and weights must not pass for the full demo's.
    full = bench("demo", "--out", str(out), threads=1, timeout=120)
    assert full.returncode == 4
    assert full.stdout == ""
    assert "Traceback" not in full.stderr


@pytest.mark.slow
def test_supervised_weights_beat_random_ones(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = bench("demo", "--seeds", "0,1", "--out", str(out), threads=2, timeout=3600)
    assert done.returncode == 0, done.stderr
    ap50 = {
        (record["weights"]["name"], record["seed"]): record["metrics"]["AP50"]["value"]
        for record in records(out / "results")
        if record["task"] == "voc-det"
    }
    assert len(ap50) == 6
    for seed in (0, 1):
        assert ap50["resnet50.supervised_embedded", seed] > ap50["resnet50.random", seed] + 2.0
