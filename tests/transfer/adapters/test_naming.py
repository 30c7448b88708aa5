"""What tensors are called elsewhere: one name for one tensor, for every depth, matched whole."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torchvision

from tests.helpers.layout_files import renames
from transfer.adapters.keymap import COUNTERS, DETECTRON2_NAMES, SHAPES, names_of
from transfer.adapters.namings import NAMINGS

DEEPEST = names_of((3, 8, 36, 3))
SECOND_RULES: dict[str, Any] = {
    "torchvision": dict,
    "detectron2": renames.to_detectron2,
    "caffe2": renames.to_msra,
    "caffe2-blobs": renames.to_blobs,
    "huggingface": renames.to_huggingface,
    "simclr2": renames.to_simclr2,
    "mmdet-c4": renames.to_c4,
    "mmdet-c4-key": lambda state: renames.to_c4(state, "_k"),
    "obow": lambda state: {
        key.removeprefix("_feature_blocks."): value for key, value in renames.to_obow(state).items()
    },
}


@pytest.mark.parametrize("name", NAMINGS)
def test_each_tensor_has_one_name_of_its_own(name: str) -> None:
    naming = NAMINGS[name]
    assert len(DEEPEST) == len(set(DEEPEST)) > 900
    assert len({naming.rename(tensor) for tensor in DEEPEST}) == len(DEEPEST)
    assert {naming.names[naming.rename(tensor)] for tensor in DEEPEST} == set(DEEPEST)
    assert "/" in naming.source


def test_every_naming_has_a_second_rule() -> None:
    # haiku's is nested: see test_haiku.py.
    assert {*SECOND_RULES, "haiku"} == set(NAMINGS)


@pytest.mark.parametrize("name", SECOND_RULES)
def test_the_names_are_those_of_a_second_rule(name: str) -> None:
    state = {tensor: tensor for tensor in (*SHAPES, *COUNTERS)}
    assert SECOND_RULES[name](state) == {NAMINGS[name].rename(tensor): tensor for tensor in state}


@pytest.mark.parametrize("name", ["caffe2", "caffe2-blobs"])
def test_caffe2_names_are_those_that_detectron2_reads(name: str) -> None:
    if find_spec("detectron2") is None:
        pytest.skip("Detectron2 is not installed")
    from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names

    read = convert_basic_c2_names([NAMINGS[name].rename(tensor) for tensor in SHAPES])
    assert read == [DETECTRON2_NAMES[tensor] for tensor in SHAPES]


def test_obow_names_are_those_of_its_modules() -> None:
    with torch.device("meta"):
        net = torchvision.models.resnet50(weights=None)
    stem = torch.nn.Sequential()
    stem.add_module("Conv", net.conv1)
    stem.add_module("bn", net.bn1)
    blocks = torch.nn.ModuleList([stem, net.layer1, net.layer2, net.layer3, net.layer4])
    assert {NAMINGS["obow"].rename(tensor) for tensor in (*SHAPES, *COUNTERS)} == set(blocks.state_dict())


@pytest.mark.parametrize("name", NAMINGS)
@pytest.mark.parametrize("prefix", ["", "module.", "a.b.c."])
def test_a_key_splits_into_prefix_and_name(name: str, prefix: str) -> None:
    naming = NAMINGS[name]
    for tensor in DEEPEST:
        assert (prefix, tensor) in naming.splits(f"{prefix}{naming.rename(tensor)}")


@pytest.mark.parametrize("name", NAMINGS)
def test_a_name_is_matched_whole_behind_a_dot(name: str) -> None:
    naming = NAMINGS[name]
    for tensor in SHAPES:
        theirs = naming.rename(tensor)
        assert (f"{theirs}x" in naming.names) is (f"x{theirs}" in naming.names) is False
        assert not list(naming.splits(f"{theirs}.more"))
        # Without a dot between, what is in front is no prefix; behind one of its own dots another may begin.
        assert all(split[1] != tensor for split in naming.splits(f"x{theirs}"))


def test_a_short_name_also_ends_a_longer_one() -> None:
    assert set(NAMINGS["torchvision"].splits("net.layer1.0.conv1.weight")) == {
        ("net.", "layer1.0.conv1.weight"),
        ("net.layer1.0.", "conv1.weight"),
    }
