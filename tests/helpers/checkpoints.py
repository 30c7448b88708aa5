"""Whole checkpoints for the tests of reading and converting them, as their authors' code writes them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.card_file import card_path
from tests.helpers.weights import make_state
from transfer.adapters.namings import NAMINGS

BGR = {
    "channel_order": "bgr",
    "mean": [103.53, 116.28, 123.675],
    "std": [1.0, 1.0, 1.0],
    "stride_in": "1x1",
}


@cache
def _state() -> dict[str, torch.Tensor]:
    return make_state()


def backbone() -> dict[str, torch.Tensor]:
    """The 265 tensors and the counters. Not to be changed in place."""
    return {name: value for name, value in _state().items() if not name.startswith("fc.")}


def make_moco(path: Path) -> Path:
    """A file of MoCo v2: two encoders with heads, the queue, and the optimizer's momentum.

    The encoders differ in one tensor and share the others' values, which halves the file.
    """
    query = backbone()
    key = {**query, "bn1.bias": query["bn1.bias"] + 1}
    state: dict[str, Any] = {}
    for encoder, tensors in (("module.encoder_q", query), ("module.encoder_k", key)):
        state |= {f"{encoder}.{name}": value for name, value in tensors.items()}
        for layer, size in ((0, 2048), (2, 128)):
            state[f"{encoder}.fc.{layer}.weight"] = torch.zeros(size, 8)
            state[f"{encoder}.fc.{layer}.bias"] = torch.zeros(size)
    state |= {"module.queue": torch.zeros(128, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(64)}}, "param_groups": [{"params": [0]}]}
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": optimizer}, path)
    return path


def make_students(path: Path, prefixes: tuple[str, ...] = ("net.student.", "net.teacher.")) -> Path:
    """Two encoders at places that no layout knows."""
    state = backbone()
    torch.save({f"{prefix}{name}": value for prefix in prefixes for name, value in state.items()}, path)
    return path


def make_caffe2(path: Path, *, obow: bool) -> Path:
    """A pickle of arrays under Caffe2's names: OBoW's converter's file, or Detectron2's `R-50.pkl`."""
    naming = NAMINGS["caffe2-blobs" if obow else "caffe2"]
    blobs: dict[str, np.ndarray] = {
        naming.rename(name): value.numpy()
        for name, value in backbone().items()
        if obow or not name.endswith("num_batches_tracked")
    }
    path.write_bytes(pickle.dumps({"blobs": blobs} if obow else blobs, protocol=4))
    return path


def make_half(path: Path) -> Path:
    """A ResNet-50 of half the width: its stem has 32 filters."""
    halves = {
        name: value[tuple(slice(size // 2 if size >= 64 else size) for size in value.shape)].clone()
        for name, value in backbone().items()
    }
    torch.save({"state_dict": halves}, path)
    return path


def linked(source: Path, folder: Path, card: Mapping[str, Any] | None = None, *, name: str = "") -> Path:
    """The same file in another folder, without a copy, and a card beside it."""
    path = folder / (name or source.name)
    os.link(source, path)
    if card is not None:
        card_path(path).write_text(json.dumps(card))
    return path
