"""The containers of torch against torch itself: honest, cut off, and with a bit turned."""

from __future__ import annotations

import argparse
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.data import AttributeDict
from mmengine.logging import HistoryBuffer
from omegaconf import OmegaConf
from yacs.config import CfgNode

from bench.core.errors import WeightsError
from bench.core.pickle_values import Inert
from bench.core.tensor_ref import TensorRef
from bench.core.weights import read_checkpoint
from tests.helpers.forge import state, tensor, torch_zip

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
]
YOUNG_DTYPES = [torch.uint16, torch.uint32, torch.uint64]  # only with untyped storages, since the zip format


def _values() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    tensors: dict[str, Any] = {str(kind): (torch.randn(3, 4) * 50).to(kind) for kind in DTYPES}
    tensors |= {
        "view": base[1:4, 2:7],
        "transposed": base.t(),
        "strided": base[::2, ::3],
        "shared": base,
        "expanded": torch.tensor([1.5]).expand(3, 5),
        "channels_last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "zero_dim_inside": torch.zeros(3, 0, 2),
        "parameter": torch.nn.Parameter(torch.randn(5)),
        "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    return tensors


def _numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    return np.ascontiguousarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def _assert_same(read: dict[Any, Any], expected: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(expected)
    for name, value in expected.items():
        assert isinstance(read[name], TensorRef), name
        assert f"torch.{read[name].dtype}" == str(value.dtype)
        array, wanted = read[name].read(), _numpy(value)
        assert (array.shape, array.dtype) == (value.shape, wanted.dtype), name
        assert array.tobytes() == wanted.tobytes(), name
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_equals_torch_load(tmp_path: Path, container: str) -> None:
    values = _values()
    if container != "legacy":
        values |= {str(kind): torch.arange(5).to(kind) for kind in YOUNG_DTYPES}
    torch.save(values, tmp_path / "x.bin", _use_new_zipfile_serialization=container != "legacy")
    read = read_checkpoint(tmp_path / "x.bin")
    _assert_same(read, torch.load(tmp_path / "x.bin", weights_only=True))
    assert not any(ref.checksum_off for ref in read.values())


def test_a_file_without_checksums_is_read_and_says_so(tmp_path: Path) -> None:
    values = _values() | {str(kind): torch.arange(5).to(kind) for kind in YOUNG_DTYPES}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(values, tmp_path / "x.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    read = read_checkpoint(tmp_path / "x.bin")
    _assert_same(read, torch.load(tmp_path / "x.bin", weights_only=True))
    assert all(ref.checksum_off for ref in read.values())


def test_a_big_endian_file(tmp_path: Path) -> None:
    values = np.arange(4, dtype=">f4")
    (tmp_path / "x.pth").write_bytes(
        torch_zip(state(tensor()), values.tobytes(), extra={"a/byteorder": b"big"})
    )
    assert read_checkpoint(tmp_path / "x.pth")["w"].read().tolist() == [0, 1, 2, 3]


def test_harmless_objects_are_inert(tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.03, arch="resnet50")
    torch.save({"opt": options, "device": torch.device("cpu"), "size": torch.Size([2, 3])}, tmp_path / "x")
    read = read_checkpoint(tmp_path / "x")
    assert isinstance(read["opt"], Inert)
    assert read["opt"].state == vars(options)
    assert read["device"].name == "torch.device"
    assert read["size"] == (2, 3)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_with_configs_and_logs(tmp_path: Path, new_format: bool) -> None:
    content = {
        "state_dict": AttributeDict(w=torch.ones(2)),
        "hyper_parameters": OmegaConf.create({"optimizer": {"lr": 0.1}, "gpus": [0, 1]}),
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer([0.5], [1]))},
        "config": CfgNode({"MODEL": CfgNode({"DROP": 0.1})}),
        "callbacks": {"ModelCheckpoint": {"dirpath": Path("/runs"), "best": torch.tensor(3.0)}},
    }
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=new_format)
    read = read_checkpoint(tmp_path / "x.ckpt")
    assert read["state_dict"]["w"].read().tolist() == [1, 1]
    assert read["hyper_parameters"].name == "omegaconf.dictconfig.DictConfig"
    assert read["config"] == {"MODEL": {"DROP": 0.1}}
    assert read["message_hub"]["log_scalars"]["loss"].state["_log_history"].read().tolist() == [0.5]
    assert read["callbacks"]["ModelCheckpoint"]["best"].read() == 3


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        torch._neg_view(torch.ones(3)),
        torch.nn.Parameter(torch._neg_view(torch.ones(3))),
        torch.complex(torch.zeros(3), torch.ones(3)).conj(),
        torch.complex(torch.zeros(3), torch.ones(3)).conj().imag,
    ],
    ids=["negated", "parameter", "conjugated", "imaginary"],
)
def test_bits_that_turn_the_values_are_refused(tmp_path: Path, value: torch.Tensor, new_format: bool) -> None:
    # The file has the numbers before they are turned.
    torch.save({"w": value}, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(WeightsError, match="negated or conjugated"):
        read_checkpoint(tmp_path / "x.pth")


def test_turned_values_that_are_written_out_are_read(tmp_path: Path) -> None:
    torch.save({"w": torch._neg_view(torch.ones(3)).resolve_neg()}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth")["w"].read().tolist() == [-1, -1, -1]


@pytest.mark.parametrize("new_format", [True, False])
def test_a_whole_model_is_refused(tmp_path: Path, new_format: bool) -> None:
    model = {"model": torch.nn.Sequential(torch.nn.Linear(2, 2))}
    torch.save(model, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(WeightsError, match=r"asks for torch\.nn\.modules\.container\.Sequential.*state dict"):
        read_checkpoint(tmp_path / "x.pth")


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4), "b": torch.zeros(4)}, tmp_path / "x.pth")
    refs = read_checkpoint(tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(data + b"!")
    with pytest.raises(WeightsError, match="changed while it was read"):
        refs["a"].read()


def test_truncation_is_always_noticed(tmp_path: Path) -> None:
    values = {f"t{i}": torch.randn(7) for i in range(3)}
    path = tmp_path / "cut.bin"
    for new_format in (True, False):
        torch.save(values, tmp_path / "x", _use_new_zipfile_serialization=new_format)
        data = (tmp_path / "x").read_bytes()
        for size in [*range(0, len(data), 13), len(data) - 1]:
            path.write_bytes(data[:size])
            with pytest.raises(WeightsError):
                read_checkpoint(path)


def test_a_flipped_bit_is_never_a_wrong_number(tmp_path: Path) -> None:
    values = {f"t{i}": torch.randn(30) for i in range(4)}
    torch.save(values, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    expected = {key: value.numpy() for key, value in values.items()}
    rng = random.Random(0)
    detected = 0
    for _ in range(400):
        at = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        (tmp_path / "f.pth").write_bytes(flipped)
        try:
            found = {key: ref.read() for key, ref in read_checkpoint(tmp_path / "f.pth").items()}
        except WeightsError:
            detected += 1
        else:  # padding, dates, and the fields that nobody reads
            assert {key: array.tobytes() for key, array in found.items()} == {
                key: array.tobytes() for key, array in expected.items()
            }
    assert detected > 100
