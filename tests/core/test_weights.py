"""Our own file: written whole and equal, and held against its card when read."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from bench.core.card import Card, InputSpec, hash_tensors
from bench.core.errors import DiskError, WeightsError
from bench.core.weights import (
    CARD_KEY,
    Weights,
    read_card,
    read_checkpoint,
    read_weights,
    sha256_file,
    write_weights,
)


def _weights() -> Weights:
    rng = np.random.default_rng(0)
    tensors = {
        "conv1.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "bn1.weight": np.asfortranarray(rng.normal(size=(4, 2)).astype(np.float32)),
        "scalar": np.array(3, dtype=np.float32),
    }
    card = Card(
        name="resnet50.x",
        layout="moco",
        encoder="module.encoder_q.",
        tensors_sha256=hash_tensors(tensors),
        input=InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
        notes=("naïve",),
    )
    return Weights(card, tensors)


def test_round_trip(tmp_path: Path) -> None:
    weights = _weights()
    write_weights(tmp_path / "a", weights)
    write_weights(tmp_path / "b", weights)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_weights(tmp_path / "a")
    assert again.card == weights.card == read_card(tmp_path / "a")
    assert again.tensors.keys() == weights.tensors.keys()
    for name, array in weights.tensors.items():
        assert np.array_equal(again.tensors[name], array)
        assert again.tensors[name].shape == array.shape
    # Any tool that reads safetensors reads it too.
    assert np.array_equal(
        safetensors.numpy.load_file(tmp_path / "a")["bn1.weight"], weights.tensors["bn1.weight"]
    )


def test_card_and_tensors_must_fit_when_written(tmp_path: Path) -> None:
    weights = _weights()
    with pytest.raises(ValueError, match="do not fit"):
        write_weights(
            tmp_path / "a", Weights(weights.card, {**weights.tensors, "more": np.ones(1, np.float32)})
        )
    double = {name: array.astype(np.float64) for name, array in weights.tensors.items()}
    with pytest.raises(ValueError, match="not float32"):
        write_weights(tmp_path / "a", Weights(weights.card, double))
    assert not (tmp_path / "a").exists()


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", _weights())
    data = (tmp_path / "a").read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for at in range(header, len(data), 7):
        (tmp_path / "b").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(WeightsError, match="are not those of the card"):
            read_weights(tmp_path / "b")
    for size in range(0, len(data), 11):
        (tmp_path / "b").write_bytes(data[:size])
        with pytest.raises(WeightsError):
            read_weights(tmp_path / "b")


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"name": 3}, "card: name: "),
        ({"name": "x", "layout": "y", "surprise": 1}, "card: surprise: "),
        ("{", "card: line 1"),
    ],
)
def test_a_card_that_is_none(tmp_path: Path, card: object, words: str) -> None:
    text = card if isinstance(card, str) else json.dumps(card)
    data = safetensors.numpy.save({"a": np.ones(2, np.float32)}, metadata={CARD_KEY: text})
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(WeightsError, match=words):
        read_weights(tmp_path / "a")


def test_files_without_a_card(tmp_path: Path) -> None:
    (tmp_path / "st").write_bytes(safetensors.numpy.save({"a": np.ones(2, np.float32)}))
    torch.save({"a": torch.ones(2)}, tmp_path / "pth")
    for name in ("st", "pth"):
        assert read_card(tmp_path / name) is None
        with pytest.raises(WeightsError, match="card"):
            read_weights(tmp_path / name)


def test_safetensors_of_others(tmp_path: Path) -> None:
    header = json.dumps(
        {
            "bf": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
            "half": {"dtype": "F16", "shape": [1, 2], "data_offsets": [4, 8]},
            "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [8, 8]},
        }
    ).encode()
    values = b"\x80\x3f\x00\xc0" + np.array([1, 2], dtype="<f2").tobytes()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header + values)
    read = read_checkpoint(tmp_path / "a")
    assert read["bf"].dtype == "bfloat16"
    assert read["bf"].read().tolist() == [1.0, -2.0]
    assert read["half"].read().dtype == np.float16
    assert read["half"].read().tolist() == [[1, 2]]
    assert read["none"].read().shape == (0, 3)


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none.pth: cannot be read: No such file"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="not a plain file"):
        sha256_file(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="cannot be written"):
        write_weights(tmp_path / "file" / "folder" / "x", _weights())


def test_the_name_says_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    assert read_checkpoint(tmp_path / "x.safetensors")["a"].read().tolist() == [1, 1]


def test_torch_is_not_imported() -> None:
    modules = "bench.core.weights, transfer.adapters.load, transfer.adapters.detectron2"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
