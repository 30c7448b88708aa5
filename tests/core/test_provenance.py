"""Provenance: the commit that runs, what is installed, how long it took."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import bench
from bench.core import provenance
from bench.core.atomic import json_text


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_commit_and_whether_it_is_clean(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance.git_state() == (commit, False)
    (checkout / "new").write_text("results and notes of the user")
    assert provenance.git_state() == (commit, False)
    (checkout / "file").write_text("2")
    assert provenance.git_state() == (commit, True)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.git_state() == (None, None)


def test_an_installed_copy_is_not_the_checkout_above_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = checkout / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(provenance, "ROOT", inner)
    assert provenance.git_state() == (None, None)


def test_without_git_or_with_a_damaged_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git" / "HEAD").write_text("nonsense")
    assert provenance.git_state() == (None, None)
    monkeypatch.setenv("PATH", str(checkout))
    assert provenance.git_state() == (None, None)


def test_a_checkout_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git(tmp_path, "init", "-q")
    assert provenance.git_state() == (None, None)


def test_versions_of_what_is_installed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    assert provenance.package_versions()["numpy"] == numpy.__version__
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-of-anybody"))
    assert provenance.package_versions() == {"numpy": numpy.__version__}


def test_every_package_that_moves_numbers_is_asked_for() -> None:
    asked = set(provenance.PACKAGES)
    assert asked >= {"torch", "torchvision", "numpy", "pillow", "opencv-python-headless", "pycocotools"}
    assert asked >= {"pb1-detectron2", "onedl-mmsegmentation", "onedl-mmcv", "onedl-mmengine"}


def test_hardware_is_text_and_names_the_processor() -> None:
    found = provenance.hardware()
    assert found["cpu"]
    assert int(found["cores"]) >= 1
    assert all(isinstance(value, str) for value in found.values())


def test_asking_for_hardware_does_not_import_torch() -> None:
    code = "import sys; from bench.core.provenance import *; hardware(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stopwatch_counts_what_came_before_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "transfer", "a b"])
    monkeypatch.setattr(provenance, "git_state", lambda: ("0" * 40, True))
    watch = provenance.Stopwatch(started=time.monotonic() - 10.0)
    found = watch.provenance(earlier_seconds=100.0)
    assert 110.0 <= found.wall_seconds < 120.0
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found.created)).total_seconds()) < 10
    assert found.created.endswith("+00:00")
    assert found.command == ("bench", "transfer", "a b")
    assert (found.git_commit, found.git_dirty) == ("0" * 40, True)
    assert found.bench_version == bench.__version__
    assert json_text(found.model_dump(mode="json")).endswith("}\n")


def test_the_watch_does_not_follow_the_clock_of_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: (None, None))
    watch = provenance.Stopwatch()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= watch.provenance().wall_seconds < 10
