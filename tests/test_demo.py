"""The main job as a user starts it: `bench demo`, with real Detectron2 and real MMSegmentation."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.commands import demo


def bench(*arguments: str, threads: int, timeout: float) -> subprocess.CompletedProcess[str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)


def records(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(results.rglob("*.json"))]


TASKS = ("coco-instseg", "semseg", "voc-det")
NAMES = ("resnet50.infomin_embedded", "resnet50.random", "resnet50.supervised_embedded")


def check_records(results: Path, tasks: tuple[str, ...]) -> list[dict[str, Any]]:
    """One of each weights and task, all of them marked, all proven but the random ones."""
    found = records(results)
    assert [(record["weights"]["name"], record["task"]) for record in found] == [
        (name, task) for name in NAMES for task in tasks
    ]
    for record in found:
        assert record["protocol"]["status"] == "custom"
        assert record["provenance"]["packages"]["pb1-detectron2"]
        if record["weights"]["name"] != "resnet50.random":
            assert record["details"]["verified"]["backbone"].startswith("265 of 265")
    assert len({record["protocol"]["identity"] for record in found}) == len(tasks)
    return found


def test_the_fast_demo_goes_from_nothing_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one of its tasks, in this process; with all of them below."""
    only = {"voc-det": demo.TRANSFERS["voc-det"]}
    monkeypatch.setattr(demo, "TRANSFERS", only)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "demo", "--out", str(tmp_path / "demo"), *arguments])
        code = 0
        try:
            main()
        except SystemExit as caught:
            code = int(caught.code or 0)
        return code, capsys.readouterr().out

    code, printed = run("--fast")
    assert code == 0
    assert all(name.partition(".")[2] in printed for name in NAMES)
    found = check_records(tmp_path / "demo" / "results", tuple(only))
    page = tmp_path / "demo" / "leaderboard" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in NAMES)
    assert text.count("data:image") >= len(NAMES), "what each of them found"
    assert run("--fast") == (0, printed)
    assert page.read_text(encoding="utf-8") == text
    assert records(tmp_path / "demo" / "results") == found
    # The toy run's data and weights must not pass for the full demo's.
    assert run() == (4, "")


@pytest.mark.slow
def test_the_fast_demo_has_every_task(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = bench("demo", "--fast", "--out", str(out), threads=1, timeout=1200)
    assert first.returncode == 0, first.stderr
    check_records(out / "results", TASKS)
    again = bench("demo", "--fast", "--out", str(out), threads=1, timeout=600)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    full = bench("demo", "--out", str(out), threads=1, timeout=120)
    assert (full.returncode, full.stdout) == (4, "")
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
