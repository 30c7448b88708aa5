"""Kills, full disks and damaged checkpoints; each rig is proved by a writer that it must catch."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core import atomic
from bench.core import checkpoint as checkpoints
from bench.core.checkpoint import Checkpoint
from bench.core.errors import DiskError
from tests.faults import rig

OLD, NEW = b"old" * 30_000, b"newer" * 20_000


def run_rig(job: str, folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.faults.rig", job, str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sixty_kills_leave_the_file_whole(tmp_path: Path) -> None:
    assert run_rig("kill", tmp_path, "atomic", str(rig.MIB), "60") == {"whole": 60}
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "leftovers are swept"


@pytest.mark.parametrize(
    ("writer", "size", "caught"), [("in_place", 16 * rig.MIB, "torn"), ("delete", rig.MIB, "gone")]
)
def test_the_rig_catches_naive_writers(tmp_path: Path, writer: str, size: int, caught: str) -> None:
    assert run_rig("kill", tmp_path, writer, str(size), "40")[caught] >= 1


def test_a_file_size_limit_is_a_disk_error(tmp_path: Path) -> None:
    found = run_rig("limit", tmp_path)
    assert found.pop(str(rig.MIB)) == [0, "whole", 1]
    assert len(found) == 5
    assert all(left == [9, "old", 1] for left in found.values())


def write_over(folder: Path) -> None:
    atomic.write_bytes(folder / "x", NEW)


def write_new(folder: Path) -> None:
    atomic.write_bytes(folder / "sub" / "x", NEW)


def create(folder: Path) -> None:
    atomic.create_bytes(folder / "y", NEW)


def new_folder(folder: Path) -> None:
    with atomic.new_folder(folder / "f") as staged:
        staged.write("a", NEW)
        staged.write("b/c", NEW)


def replace_folder(folder: Path) -> None:
    with atomic.new_folder(folder / "old", replace=True) as staged:
        staged.write("a", NEW)
        staged.write("b/c", NEW)


WHOLE = {"a": NEW, "b/c": NEW}
WORKS: dict[str, tuple[Callable[[Path], None], dict[str, bytes]]] = {
    "write over": (write_over, {"x": NEW, "old/a": OLD}),
    "write new": (write_new, {"x": OLD, "sub/x": NEW, "old/a": OLD}),
    "create": (create, {"x": OLD, "y": NEW, "old/a": OLD}),
    "new folder": (new_folder, {"x": OLD, "f/a": NEW, "f/b/c": NEW, "old/a": OLD}),
    "replace folder": (replace_folder, {"x": OLD, "old/a": NEW, "old/b/c": NEW}),
}
BEFORE = {"x": OLD, "old/a": OLD}


def prepare(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "old").mkdir(parents=True)
    for name, data in BEFORE.items():
        (folder / name).write_bytes(data)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def visible(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if not name.startswith(atomic.TEMP_PREFIX)}


def look(folder: Path, after: dict[str, bytes], *more: dict[str, bytes]) -> str:
    found = visible(folder)
    atomic.sweep(folder)
    for part in folder.glob("*/"):
        atomic.sweep(part)
    if visible(folder) != content(folder):
        return "leftovers"
    # A leftover in a folder below is no part of what is compared.
    found = {name: data for name, data in found.items() if atomic.TEMP_PREFIX not in name}
    states = {"old": BEFORE, "new": after, **{f"other {index}": state for index, state in enumerate(more)}}
    return next((name for name, state in states.items() if found == state), "broken")


def all_points(folder: Path, name: str, *more: dict[str, bytes]) -> list[str]:
    work, after = WORKS[name]
    return rig.crash_points(lambda: prepare(folder), lambda: work(folder), lambda: look(folder, after, *more))


@pytest.mark.parametrize("name", WORKS)
def test_a_crash_at_any_call_leaves_old_or_new(tmp_path: Path, name: str) -> None:
    states = all_points(tmp_path / "place", name)
    assert set(states) == {"old", "new"}
    assert states == sorted(states, reverse=True), "old up to one point, then new"
    assert len(states) >= 8


def test_the_crash_points_catch_a_naive_writer(tmp_path: Path) -> None:
    def work() -> None:
        with rig.atomic.open(tmp_path / "place" / "x", "wb") as file:  # type: ignore[attr-defined]
            file.write(NEW)

    after = {"x": NEW, "old/a": OLD}
    states = rig.crash_points(
        lambda: prepare(tmp_path / "place"), work, lambda: look(tmp_path / "place", after)
    )
    assert "broken" in states


def test_where_there_are_no_links_a_crash_leaves_at_most_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", rig.no_links)
    states = all_points(tmp_path / "place", "create", {**BEFORE, "y": b""})
    assert set(states) == {"old", "new", "other 0"}


def test_where_names_cannot_be_swapped_a_crash_leaves_at_most_the_name_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda *_names: False)
    states = all_points(tmp_path / "place", "replace folder", {"x": OLD})
    assert set(states) == {"old", "new", "other 0"}
    assert states.count("other 0") == 1, "between the two renames"


@pytest.mark.parametrize("code", [errno.ENOSPC])
@pytest.mark.parametrize("variant", [*WORKS, "create without links", "replace without swap"])
def test_a_full_disk_at_any_call_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, code: int
) -> None:
    if variant == "create without links":
        monkeypatch.setattr(os, "link", rig.no_links)
    if variant == "replace without swap":
        monkeypatch.setattr(atomic, "_exchange", lambda *_names: False)
    name = {"create without links": "create", "replace without swap": "replace folder"}.get(variant, variant)
    work, after = WORKS[name]
    folder = tmp_path / "place"
    for point in range(1000):
        prepare(folder)
        left, failed = [point], []

        def fail(call: str, left: list[int] = left, failed: list[str] = failed) -> None:
            if call in rig.MAY_BE_FULL and not failed:
                left[0] -= 1
                if left[0] < 0:
                    failed.append(call)
                    raise OSError(code, os.strerror(code))

        try:
            with rig.hooked(fail):
                work(folder)
        except DiskError as error:
            assert str(folder) in str(error)  # noqa: PT017
            assert failed
            assert content(folder) in (BEFORE, after), f"call {point}, {failed}"
        else:
            # A failure that did not matter: to make a folder that is there, to clean up after success.
            assert visible(folder) == after, f"the failure of {failed}, call {point}, was not told"
        if not failed:
            assert point >= 5
            assert content(folder) == after
            return
    pytest.fail("the work does not end")


def test_a_kill_during_a_save_keeps_the_earlier_one(tmp_path: Path) -> None:
    found = run_rig("checkpoint", tmp_path)
    assert set(found["points"]["2"]) == {"2"}, "step 2 saved again: the old or the new one"
    assert set(found["points"]["3"]) == {"2", "3"}
    assert found["points"]["3"] == sorted(found["points"]["3"])
    assert found["kills"] == {"whole": 15}
    assert found["last"] > 2, "saves were finished between the kills"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for step in (1, 2):
        tensors = {"weight": torch.full((40, 50), float(step)), "queue_pointer": torch.tensor(step)}
        state = {"step": step, "log": [0.5] * 200}
        checkpoints.save(tmp_path, Checkpoint(step=step, tensors=tensors, state=state))
    return tmp_path


FILES = ("tensors.safetensors", "state.json", "manifest.json")


def assert_detected(root: Path, what: str) -> None:
    """Step 2 is passed over and named, step 1 is used."""
    found, damaged = checkpoints.newest(root)
    assert found is not None, what
    assert (found.step, found.state["step"]) == (1, 1), what
    assert len(damaged) == 1, what
    assert "step-00000002" in damaged[0], what


def test_every_flipped_bit_is_found_before_use(root: Path) -> None:
    draw = random.Random(0)
    for _ in range(100):
        path = root / "step-00000002" / draw.choice(FILES)
        good = path.read_bytes()
        offset, bit = draw.randrange(len(good)), 1 << draw.randrange(8)
        path.write_bytes(good[:offset] + bytes([good[offset] ^ bit]) + good[offset + 1 :])
        assert_detected(root, f"{path.name}, byte {offset}, bit {bit}")
        path.write_bytes(good)
    found, damaged = checkpoints.newest(root)
    assert found is not None
    assert (found.step, damaged) == (2, []), "negative control: the restored one is good"


def test_every_truncation_and_addition_is_found(root: Path) -> None:
    for name in FILES:
        path = root / "step-00000002" / name
        good = path.read_bytes()
        sizes = {0, 1, 8, len(good) // 2, len(good) - 2, *range(0, len(good) - 1, 1024)}
        for data in [*(good[:size] for size in sizes), good + b"\x00", b"\x00" * len(good), good * 2]:
            path.write_bytes(data)
            assert_detected(root, f"{name}, {len(data)} bytes")
        path.write_bytes(good)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / "manifest.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return apply


DAMAGES: dict[str, Callable[[Path], object]] = {
    "manifest gone": lambda folder: (folder / "manifest.json").unlink(),
    "tensors gone": lambda folder: (folder / "tensors.safetensors").unlink(),
    "state gone": lambda folder: (folder / "state.json").unlink(),
    "all gone": lambda folder: [path.unlink() for path in folder.iterdir()],
    "one file more": lambda folder: (folder / "more.bin").write_bytes(b""),
    "tensors of another step": lambda folder: shutil.copy(
        folder.parent / "step-00000001" / "tensors.safetensors", folder
    ),
    "manifest of another step": lambda folder: shutil.copy(
        folder.parent / "step-00000001" / "manifest.json", folder
    ),
    "all of another step": lambda folder: shutil.copytree(
        folder.parent / "step-00000001", folder, dirs_exist_ok=True
    ),
    "manifest is a list": lambda folder: (folder / "manifest.json").write_text("[]"),
    "manifest is a folder": lambda folder: (
        (folder / "manifest.json").unlink(),
        (folder / "manifest.json").mkdir(),
    ),
    "manifest is deep": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "another step": edit(lambda value: value.update(step=3)),
    "no step": edit(lambda value: value.pop("step")),
    "no files": edit(lambda value: value.pop("files")),
    "files is a list": edit(lambda value: value.update(files=[])),
    "one file less listed": edit(lambda value: value["files"].pop("state.json")),
    "one file more listed": edit(lambda value: value["files"].update(more=value["files"]["state.json"])),
    "a path listed": edit(lambda value: value["files"].update({"../x": value["files"].pop("state.json")})),
    "another size": edit(lambda value: value["files"]["state.json"].update(bytes=1)),
    "another hash": edit(lambda value: value["files"]["state.json"].update(sha256="0" * 64)),
    "no hash": edit(lambda value: value["files"]["state.json"].pop("sha256")),
    "an entry is a number": edit(lambda value: value["files"].update({"state.json": 3})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_other_damage_is_found(root: Path, damage: str) -> None:
    DAMAGES[damage](root / "step-00000002")
    assert_detected(root, damage)
