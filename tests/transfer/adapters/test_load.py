"""From a file to weights and their card, and back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from bench.core.card import InputSpec, hash_tensors
from bench.core.errors import UsageError, WeightsError
from bench.core.weights import sha256_file, write_weights
from tests.transfer.adapters.conftest import prefixed
from transfer.adapters.keymap import COUNTERS, SHAPES
from transfer.adapters.load import default_name, load_backbone


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_files_arrive_bit_equal(tmp_path: Path, torch_state: dict[str, torch.Tensor], container: str) -> None:
    path = tmp_path / "resnet50-19c8e357.pth"
    if container == "safetensors":
        safetensors.torch.save_file(torch_state, path)
    else:
        torch.save(torch_state, path, _use_new_zipfile_serialization=container == "zip")
    weights = load_backbone(path)
    assert list(weights.tensors) == list(SHAPES)
    for name, array in weights.tensors.items():
        assert array.tobytes() == torch_state[name].numpy().tobytes()
    card = weights.card
    assert (card.name, card.layout, card.encoder) == (
        "resnet50.resnet50-19c8e357",
        "torchvision",
        "(no prefix)",
    )
    assert (card.source_file, card.source_sha256) == (path.name, sha256_file(path))
    assert card.tensors_sha256 == hash_tensors(weights.tensors)
    assert sorted(card.dropped) == ["fc.* (2)", f"num_batches_tracked ({len(COUNTERS)})"]
    assert card.notes == ()
    assert card.input == InputSpec()


def test_checksums_that_were_switched_off_are_noted(
    tmp_path: Path, torch_state: dict[str, torch.Tensor]
) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(torch_state, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    weights = load_backbone(tmp_path / "x.pth")
    assert weights.card.notes == ("the file's checksums are all 0: read unverified",)
    assert weights.tensors["bn1.bias"].tobytes() == torch_state["bn1.bias"].numpy().tobytes()
    write_weights(tmp_path / "ours", weights)
    assert load_backbone(tmp_path / "ours").card.notes == weights.card.notes


def test_moco_from_file_to_ours_and_back(tmp_path: Path, torch_state: dict[str, torch.Tensor]) -> None:
    other = {name: tensor + 1 for name, tensor in torch_state.items()}
    state = prefixed("module.encoder_q.", torch_state) | prefixed("module.encoder_k.", other)
    state |= {"module.queue": torch.randn(128, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    path = tmp_path / "moco v2.pth.tar"
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}, path)
    bgr = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
    query, key = load_backbone(path), load_backbone(path, encoder="key", name="resnet50.key", input_spec=bgr)
    assert np.array_equal(query.tensors["bn1.bias"], torch_state["bn1.bias"].numpy())
    assert np.array_equal(key.tensors["bn1.bias"], other["bn1.bias"].numpy())
    assert (query.card.name, query.card.encoder) == ("resnet50.moco-v2", "state_dict:module.encoder_q.")
    assert (key.card.name, key.card.encoder, key.card.input) == (
        "resnet50.key",
        "state_dict:module.encoder_k.",
        bgr,
    )
    assert "module.encoder_k.* (320)" in query.card.dropped
    assert "optimizer (beside the container)" in query.card.dropped

    ours = tmp_path / "ours.safetensors"
    write_weights(ours, query)
    first = ours.read_bytes()
    again = load_backbone(ours)
    assert again.card == query.card
    write_weights(ours, again)
    assert ours.read_bytes() == first
    assert load_backbone(ours, name="resnet50.b", input_spec=bgr).card.input == bgr
    with pytest.raises(UsageError, match="one encoder"):
        load_backbone(ours, encoder="key")


def test_ours_must_still_be_a_resnet50(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    from bench.core.card import Card
    from bench.core.weights import Weights

    tensors = {"conv1.weight": arrays["conv1.weight"]}
    card = Card(name="x", layout="torchvision", tensors_sha256=hash_tensors(tensors))
    write_weights(tmp_path / "x", Weights(card, tensors))
    with pytest.raises(WeightsError, match="264 of 265 backbone tensors are missing"):
        load_backbone(tmp_path / "x")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("moco_v2_800ep_pretrain.pth.tar", "resnet50.moco_v2_800ep_pretrain"),
        ("resnet50.infomin_ep200.safetensors", "resnet50.infomin_ep200"),
        ("my weights (1).pth", "resnet50.my-weights-1"),
        (".pth", "resnet50.unnamed"),
        ("été.PTH", "resnet50.t"),
    ],
)
def test_names_from_files(file: str, name: str) -> None:
    assert default_name(Path("some/where") / file) == name


def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"name of weights '\.\./x'"):
        load_backbone(tmp_path / "none", name="../x")


def test_a_file_name_of_stray_bytes_reaches_no_record(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.pth")
    path.write_bytes(checkpoint.read_bytes())
    card = load_backbone(path).card
    assert (card.name, card.source_file) == ("resnet50.bad", "bad\\xff.pth")
    card.model_dump_json().encode()


@pytest.mark.parametrize("name", ["../../evil", "x\x1b]0;HACK\x07", "a\nb", ""])
def test_the_name_on_a_card_inside_is_a_name(tmp_path: Path, checkpoint: Path, name: str) -> None:
    weights = load_backbone(checkpoint)
    write_weights(tmp_path / "x", replace(weights, card=weights.card.model_copy(update={"name": name})))
    with pytest.raises(WeightsError, match="name on the card"):
        load_backbone(tmp_path / "x")
