"""Checkpoints: what was saved comes back bit for bit; the newest valid one is found by reading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core import checkpoint as checkpoints
from bench.core.checkpoint import Checkpoint
from bench.core.errors import CheckpointError, DiskError

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
STATE = {"seed": 2**63, "loss": 0.1 + 0.2, "queue_pointer": 0, "nested": {"list": [1, None, "ü", True]}}


def make(step: int) -> Checkpoint:
    return Checkpoint(step=step, tensors={"weight": torch.full((2, 3), float(step))}, state={"step": step})


def steps(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_keys_that_json_would_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no text"):
        checkpoints.save(tmp_path, Checkpoint(step=1, tensors={}, state={"schedule": [{"steps": {2: 1}}]}))
    assert not list(tmp_path.iterdir())


def test_round_trip_of_every_dtype_and_shape(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.empty(0, 4)
    tensors["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 5e-324])
    tensors["transposed"] = torch.arange(6.0).reshape(2, 3).T
    checkpoints.save(tmp_path, Checkpoint(step=7, tensors=tensors, state=STATE))
    found, damaged = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, found.state, damaged) == (7, STATE, [])
    assert found.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].shape == value.shape
        assert torch.equal(
            found.tensors[name].reshape(-1).view(torch.uint8) if value.dim() else found.tensors[name],
            value.contiguous().reshape(-1).view(torch.uint8) if value.dim() else value,
        )


def test_equal_checkpoints_are_equal_bytes(tmp_path: Path) -> None:
    paths = [checkpoints.save(tmp_path / name, make(1)) for name in ("a", "b")]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in paths]
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) == (None, [])
    assert checkpoints.newest(tmp_path / "missing") == (None, [])


def test_the_newest_is_by_number_and_two_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 100, 99_999_999):
        checkpoints.save(tmp_path, make(step))
        found, _ = checkpoints.newest(tmp_path)
        assert found is not None
        assert found.step == step
    assert steps(tmp_path) == ["step-00000100", "step-99999999"]


def test_a_step_saved_again_is_the_new_one(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    checkpoints.save(tmp_path, Checkpoint(step=1, tensors={}, state={"again": True}))
    found, _ = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.state == {"again": True}
    assert steps(tmp_path) == ["step-00000001"]


def test_other_names_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    for name in ("old-step-00000900", "step-900", "step-00000900.bak", "step-0000090x"):
        shutil.copytree(tmp_path / "step-00000001", tmp_path / name)
    (tmp_path / "step-00000800").write_text("a file")
    found, damaged = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, damaged) == (1, [])


def test_leftovers_of_a_killed_save_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".bench-tmp-abc" / "x").mkdir(parents=True)
    checkpoints.save(tmp_path, make(1))
    assert steps(tmp_path) == ["step-00000001"]


def test_a_folder_under_another_number_is_refused(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000002")
    found, damaged = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(damaged) == 1
    assert "step-00000002" in damaged[0]


def test_damaged_folders_do_not_push_out_the_good_ones(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    for step in (50, 60, 70):
        path = checkpoints.save(tmp_path / "aside", make(step))
        (path / "state.json").write_text("{}")
        shutil.move(path, tmp_path / path.name)
    shutil.rmtree(tmp_path / "aside")
    checkpoints.save(tmp_path, make(2))
    found, damaged = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, len(damaged)) == (2, 3)
    (tmp_path / "step-00000002" / "state.json").unlink()
    found, _ = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.step == 1, "the one before is kept, too"


def test_what_cannot_be_read_back_costs_no_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, make(step))
    monkeypatch.setattr("safetensors.torch.save", lambda _tensors: b"not what a reader takes")
    with pytest.raises(CheckpointError, match="step-00000003"):
        checkpoints.save(tmp_path, make(3))
    found, damaged = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, len(damaged)) == (2, 1)
    assert len(steps(tmp_path)) == 3


@pytest.mark.parametrize("state", [{"loss": float("nan")}, {"loss": float("inf")}])
def test_a_state_that_is_no_number_is_not_saved(tmp_path: Path, state: dict[str, Any]) -> None:
    checkpoints.save(tmp_path, make(1))
    with pytest.raises(ValueError):
        checkpoints.save(tmp_path, Checkpoint(step=2, tensors={}, state=state))
    assert steps(tmp_path) == ["step-00000001"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DiskError):
        checkpoints.save(tmp_path / "file", make(1))
    assert checkpoints.newest(tmp_path / "file") == (None, [])


def test_the_manifest_names_every_file_with_its_size(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, make(3))
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["step"] == 3
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    on_disk = {file.name: file.stat().st_size for file in path.iterdir()}
    assert on_disk.pop("manifest.json") > 0
    assert sizes == on_disk
