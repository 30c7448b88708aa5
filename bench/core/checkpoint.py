"""Checkpoints to go on from: a folder with tensors, a state and a manifest that is written last.

`<root>/step-00000120/{tensors.safetensors,state.json,manifest.json}`. A folder whose manifest does not match
does not exist for us. The newest valid one is found by reading, never by a pointer file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import atomic
from bench.core.errors import BenchError, CheckpointError
from bench.core.safe_json import read_json

if TYPE_CHECKING:
    from torch import Tensor

KEEP = 2
_NAME = re.compile(r"step-(\d{8})")
_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def _refuse_other_keys(value: Any) -> None:
    """Keys that are no text: JSON would make text of numbers, without a word."""
    if isinstance(value, dict):
        strange = [key for key in value if not isinstance(key, str)]
        if strange:
            raise TypeError(f"the key {strange[0]!r} in the state of a checkpoint is no text")
        value = list(value.values())
    for inner in value if isinstance(value, list | tuple) else ():
        _refuse_other_keys(inner)


def save(root: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and delete those that are older than the newest two valid ones.

    Raises:
        DiskError: disk full or not writable; the earlier checkpoints are untouched.
        CheckpointError: what was written cannot be read back; the earlier checkpoints are untouched.
        TypeError: the state would come back as another one.
    """
    from safetensors.torch import save as to_bytes

    _refuse_other_keys(checkpoint.state)

    path = root / f"step-{checkpoint.step:08d}"
    files = {
        _TENSORS: to_bytes({name: value.contiguous() for name, value in checkpoint.tensors.items()}),
        _STATE: atomic.json_text(checkpoint.state).encode(),
    }
    manifest = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    atomic.make_folder(root)
    atomic.sweep(root)
    with atomic.new_folder(path, replace=True) as folder:
        for name, data in files.items():
            folder.write(name, data)
        folder.write(_MANIFEST, atomic.json_text({"step": checkpoint.step, "files": manifest}).encode())
    _read(path, checkpoint.step)  # older ones go only after the new one has been read back
    _delete_old(root, path)
    return path


def _delete_old(root: Path, new: Path) -> None:
    # A damaged folder is not among those that are kept: it may be all that hides the last good one.
    num_valid = 0
    for step, path in _folders(root):
        if num_valid < KEEP:
            num_valid += path == new or _is_whole(path, step)
        elif path != new:
            with atomic.disk_errors(path):
                shutil.rmtree(path)


def _is_whole(path: Path, step: int) -> bool:
    try:
        _read(path, step)
    except CheckpointError:
        return False
    return True


def newest(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each damaged one that was passed over."""
    damaged: list[str] = []
    for step, path in _folders(root):
        try:
            return _read(path, step), damaged
        except BenchError as error:
            damaged.append(str(error))
    return None, damaged


def newest_step(root: Path) -> int | None:
    """The step of the newest checkpoint folder, without reading it; None if there is none."""
    folders = _folders(root)
    return folders[0][0] if folders else None


def _folders(root: Path) -> list[tuple[int, Path]]:
    found = []
    for path in root.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def _read(path: Path, step: int) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    manifest = read_json(path / _MANIFEST, error=CheckpointError)
    if not isinstance(manifest, dict) or manifest.get("step") != step:
        raise CheckpointError(f"{path}: its manifest is of another step")
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != {_TENSORS, _STATE}:
        raise CheckpointError(f"{path}: its manifest does not list the files of a checkpoint")
    strange = {entry.name for entry in path.iterdir()} - {_TENSORS, _STATE, _MANIFEST}
    if strange:
        raise CheckpointError(f"{path}: holds {min(strange)!r}, which is no part of a checkpoint")
    content = {}
    for name, entry in files.items():
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path / name}: cannot be read: {error.strerror}") from None
        if entry != {"bytes": len(data), "sha256": _sha256(data)}:
            raise CheckpointError(f"{path / name}: damaged: not what its manifest says")
        content[name] = data
    state = read_json(path / _STATE, error=CheckpointError)
    try:
        return Checkpoint(step=step, tensors=from_bytes(content[_TENSORS]), state=state)
    except SafetensorError as error:
        raise CheckpointError(f"{path / _TENSORS}: not safetensors: {error}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
